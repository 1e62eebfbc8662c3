# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that fails, or is killed, wherever that strikes it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import Host
from tests.fleet.test_lifecycle import (
    SEED,
    background,
    echoes,
    leftovers,
    topology,
    traffic,
)
from tests.fleet.test_module import WEB, WORKERS, apply, cleaned, python, traces, wanted


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(f"f{os.getpid()}")
    plan = tmp_path_factory.mktemp("lab") / "topology.yml"
    plan.write_text(yaml.safe_dump(topology()))
    lab.up(plan)
    try:
        yield lab
    finally:
        for worker in WORKERS.values():
            worker.communicate("")
        WORKERS.clear()
        left = lab.down()
    assert left == {}


@pytest.fixture
def lb1(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb1"))


STRIKE = """
import errno, pathlib, signal, time
from ansible_collections.xdp.l4lb.plugins.module_utils import rtnetlink
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

def doors():
    '''All by which the library reaches the kernel, and how each of them fails.'''
    yield bpf, "_check", errors.KernelError("struck", errno.EIO)
    for name in "rename", "replace", "unlink", "mkdir", "rmdir", "write_text":
        yield pathlib.Path, name, OSError(errno.ENOSPC, "struck")
    for name in "open", "fsync":
        yield os, name, OSError(errno.ENOSPC, "struck")
    yield rtnetlink, "_received", OSError(errno.ENOBUFS, "struck")
    yield IPRoute, "nlm_request", NetlinkError(errno.ENOBUFS)

calls = 0

def strike(at, kill):
    '''Have the call of this number fail, or be the last.'''
    def watched(original, error):
        def call(*arguments, **options):
            global calls
            calls += 1
            if calls == at:
                if kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise error
            return original(*arguments, **options)
        return call
    for owner, name, error in doors():
        setattr(owner, name, watched(getattr(owner, name), error))

def told(number):
    path = pathlib.Path(f"/tmp/struck.{number}")
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text

files = sources(**given["others"])
result = []
for at in given["calls"]:
    start = time.monotonic()
    options = given["configs"][len(result) % len(given["configs"])]
    child = os.fork()
    if not child:
        code, message = 0, ""
        log = os.open(f"/tmp/struck.{at}", os.O_WRONLY | os.O_CREAT)
        try:
            strike(at, given["kill"])
            Balancer("eth0", files).apply(config_of(options))
            code = 0 if calls >= at else 3
        except errors.L4lbError as e:
            code, message = 1, str(e)
        except BaseException:
            code, message = 2, traceback.format_exc()
        os.write(log, message.encode())
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    repaired = attempt(Balancer("eth0", files).apply, config_of(options))
    again = attempt(Balancer("eth0", files).apply, config_of(options))
    result.append([at, status, told(at), repaired, again, start, time.monotonic()])
    if status == 3 << 8:
        break
"""
SURVIVED, FAILED, CRASHED, UNHURT, KILLED = 0, 1 << 8, 2 << 8, 3 << 8, 9


def strikes(host: Host, configs: list[dict[str, Any]], calls: list[int], kill: bool) -> list[Any]:
    """Apply, and fail or be killed at these calls into the kernel; each time the next run repairs
    what is left. Stops where there are no more calls."""
    found = python(host, STRIKE, configs=configs, calls=calls, kill=kill, others={})
    for at, status, message, repaired, again, _start, _end in found:
        harm = {KILLED} if kill else {FAILED, SURVIVED}
        assert status in {UNHURT, *harm}, (at, status, message)
        assert message or status != FAILED
        assert "error" not in repaired, (at, message, repaired)
        assert again.get("steps") == [], (at, message, again)
    return list(found)


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
def test_a_change_is_struck_at_every_call(lab: Lab, lb1: Host, kill: bool) -> None:
    configs = [
        wanted(*echoes("web1", "web2", "web3", web3={"weight": 5})),
        wanted(*echoes(*WEB), {**background(random.Random(1), 3), "scheduler": "maglev"}),
    ]
    apply(lb1, configs[1])
    with traffic(lab) as running:
        found = strikes(lb1, configs, list(range(1, 1000)), kill)
        running.taken += [(start, end, {"web4"}) for *_, start, end in found]
    assert found[-1][1] == UNHURT
    print(f"{len(found)} calls")
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
def test_a_removal_is_struck(lb1: Host, kill: bool) -> None:
    """At some calls, as each time a balancer must be made first. It is done again, and nothing is
    left in the end."""
    config = wanted(*echoes(*WEB))
    for at in range(5 if kill else 10, 1000, 10):
        apply(lb1, config)
        status = python(lb1, REMOVE, at=at, kill=kill)
        assert status in {UNHURT, *({KILLED} if kill else {FAILED, SURVIVED})}
        again = python(lb1, "result = attempt(Balancer('eth0').apply, None)")
        assert "error" not in again
        assert traces(lb1) == []
        if status == UNHURT:
            break
    print(f"{at} calls")


REMOVE = f"""
{STRIKE.split("files = ")[0]}
child = os.fork()
if not child:
    code = 2
    try:
        strike(given["at"], given["kill"])
        Balancer("eth0").apply(None)
        code = 0 if calls >= given["at"] else 3
    except errors.L4lbError:
        code = 1
    finally:
        os._exit(code)
result = os.waitpid(child, 0)[1]
"""


def test_kills_at_any_moment(lab: Lab, lb1: Host) -> None:
    """Changes and replacements alike; traffic goes on, and the next run repairs what is left."""
    print(f"seed {SEED}")
    changes = [wanted(*echoes(*WEB, web3={"weight": n})) for n in range(1, 60)]
    others = [{"scheduler": "jhash"}, {"encapsulation": "gue"}, {}]
    replacements = [wanted(*echoes(*WEB, **others[n % 3])) for n in range(12)]
    apply(lb1, wanted(*echoes(*WEB)))
    with traffic(lab) as running:
        for configs in (changes, replacements):
            done = python(lb1, KILL, configs=configs, seed=SEED)
            print(f"{sum(killed for killed, *_ in done)} of {len(done)} killed")
            for killed, repaired, again in done:
                assert "error" not in repaired, repaired
                assert killed or repaired["steps"] == []
                assert again["steps"] == []
    assert running.connections.broken == {}
    assert leftovers(lb1, "eth0") == []


KILL = """
import random, signal, time
chance = random.Random(given["seed"])
longest, result = None, []
for options in given["configs"]:
    start = time.monotonic()
    child = os.fork()
    if not child:
        Balancer("eth0", sources()).apply(config_of(options))
        os._exit(0)
    if longest:
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
    killed = os.waitpid(child, 0)[1] == signal.SIGKILL
    longest = longest or time.monotonic() - start
    both = [attempt(Balancer("eth0", sources()).apply, config_of(options)) for _ in range(2)]
    result.append([killed, *both])
"""
