# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that fails, or is killed, wherever that strikes it."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import Host
from tests.fleet.test_lifecycle import (
    OTHER_VIP,
    SEED,
    background,
    echoes,
    leftovers,
    second,
    topology,
    traffic,
)
from tests.fleet.test_module import (
    STATE,
    WEB,
    WORKERS,
    apply,
    cleaned,
    python,
    traces,
    wanted,
)


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


STRIKE = (
    f"""
import errno, pathlib, signal, time
from ipaddress import ip_address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import rtnetlink
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import Order, operate
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
{STATE}
"""
    """
def doors():
    '''All by which the library reaches the kernel, and how each of them fails.'''
    yield bpf, "_check", errors.KernelError("struck", errno.EIO)
    for name in "rename", "replace", "unlink", "mkdir", "rmdir", "write_text":
        yield pathlib.Path, name, OSError(errno.ENOSPC, "struck")
    for name in "open", "fsync", "ftruncate", "pwrite":
        yield os, name, OSError(errno.ENOSPC, "struck")
    yield rtnetlink, "_received", OSError(errno.ENOBUFS, "struck")
    yield IPRoute, "nlm_request", NetlinkError(errno.ENOBUFS)

calls = 0

def strike(at, how):
    '''Have the call of this number fail; late: when it is done; interrupted: by Ctrl-C, which
    may wait; killed: be the last.'''
    def watched(original, error):
        def call(*arguments, **options):
            global calls
            calls += 1
            if calls != at:
                return original(*arguments, **options)
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "interrupted":
                os.kill(os.getpid(), signal.SIGINT)
            if how != "fails":
                answer = original(*arguments, **options)
            if how == "interrupted":
                return answer
            raise error
        return call
    for owner, name, error in doors():
        setattr(owner, name, watched(getattr(owner, name), error))

def struck(at, how, run):
    '''How a process ends that is struck in `run`, and what it says.'''
    log = pathlib.Path("/tmp/struck")
    log.write_text("")
    child = os.fork()
    if not child:
        said = log.open("w")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            code, message = 0, ""
            strike(at, how)
            try:
                message = run()
                code = 0 if calls >= at else 3
            except errors.L4lbError as e:
                code, message = 1, str(e)
            except KeyboardInterrupt:
                code, message = 1, "interrupted"
            except BaseException:
                code, message = 2, traceback.format_exc()
            said.write(message)
            said.flush()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return status, log.read_text()

def differing(before, after):
    return {name: [before[name], after[name]] for name in before if before[name] != after[name]}

def apply(config):
    return "; ".join(Balancer("eth0", files).apply(config).plan.warnings)

files = sources()
"""
)
CHANGES = f"""{STRIKE}
def wishes():
    for weight in given["weights"]:
        yield Order(ip_address("203.0.113.22"), weight=weight)
    yield from map(config_of, given["configs"])

def fulfil(wish):
    return "; ".join(operate(wish).warnings) if isinstance(wish, Order) else apply(wish)

def completed(wish):
    if isinstance(wish, Order):
        return {{"steps": operate(wish).steps}}
    return attempt(Balancer("eth0", files).apply, wish)

sequence = list(wishes())
result = []
for at in given["calls"]:
    start = time.monotonic()
    wish = sequence[len(result) % len(sequence)]
    before = state()
    status, message = struck(at, given["how"], lambda: fulfil(wish))
    changed = differing(before, state())
    repaired, again = (completed(wish) for _ in range(2))
    result.append([at, status, message, changed, repaired, again, start, time.monotonic()])
    if given["anew"]:
        apply(None)
    if status == 3 << 8:
        break
"""
REMOVALS = f"""{STRIKE}
keep = config_of(given["keep"])
result = []
for at in given["calls"]:
    apply(keep)
    before = state()
    status, message = struck(at, given["how"], lambda: apply(None))
    changed = differing(before, state())
    wish = None if changed else keep
    repaired, again = (attempt(Balancer("eth0", files).apply, wish) for _ in range(2))
    result.append([at, status, message, changed, repaired, again])
    if status == 3 << 8:
        break
"""
SURVIVED, FAILED, CRASHED, UNHURT, KILLED = 0, 1 << 8, 2 << 8, 3 << 8, 9
HOW = ["fails", "late", "interrupted", "killed"]


def checked(how: str, found: list[Any]) -> list[Any]:
    """After a failure all is as it was before, or done, if somebody pressed Ctrl-C at the end; and
    in any case the next run completes what is left. These calls are all that there are."""
    for at, status, message, changed, repaired, again, *_ in found:
        harm = {KILLED} if how == "killed" else {FAILED, SURVIVED}
        assert status in {UNHURT, *harm}, (at, status, message)
        if status == FAILED:
            assert message
            done = how == "interrupted" and repaired.get("steps") == []
            assert done or changed == {}, (at, message)
        assert "error" not in repaired, (at, message, repaired)
        assert again.get("steps") == [], (at, message, again)
    outcomes = Counter(status for _at, status, *_ in found)
    print(f"{len(found)} calls, {outcomes[FAILED]} failed, {outcomes[SURVIVED]} survived")
    assert outcomes[UNHURT] == 1
    return found


def strikes(
    host: Host,
    how: str,
    *configs: dict[str, Any],
    calls: Iterable[int] = range(1, 1000),
    weights: Iterable[int] = (),
    anew: bool = False,
) -> list[Any]:
    """Apply these in turns, or give web2 these weights, and be struck at these calls into the
    kernel; anew: on a host without a balancer."""
    found = python(
        host,
        CHANGES,
        how=how,
        configs=configs,
        calls=list(calls),
        weights=list(weights),
        anew=anew,
    )
    return checked(how, found)


def sampled(every: int) -> Iterable[int]:
    """The numbers of some calls, others each time."""
    print(f"seed {SEED}")
    return range(1 + random.Random(SEED).randrange(every), 1000, every)


@pytest.mark.parametrize("how", HOW)
def test_a_change_is_struck_at_every_call(lab: Lab, lb1: Host, how: str) -> None:
    configs = [
        wanted(*echoes("web1", "web2", "web3", web3={"weight": 5})),
        wanted(*echoes(*WEB), {**background(random.Random(1), 3), "scheduler": "maglev"}),
    ]
    apply(lb1, configs[1])
    with traffic(lab) as running:
        found = strikes(lb1, how, *configs)
        running.taken += [(start, end, {"web4"}) for *_, start, end in found]
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("how", HOW)
def test_a_change_of_the_mode_is_struck_at_every_call(lb1: Host, how: str) -> None:
    """And of the backends in the same run."""
    configs = [
        wanted(*echoes("web1", "web2"), mode="generic"),
        wanted(*echoes("web3", "web4"), mode="native"),
    ]
    apply(lb1, configs[1])
    strikes(lb1, how, *configs)
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("how", HOW)
def test_an_order_for_two_interfaces_is_struck_at_every_call(lab: Lab, lb1: Host, how: str) -> None:
    """Both are changed, or none."""
    apply(lb1, wanted(*echoes(*WEB)), second(*WEB))
    with traffic(lab), traffic(lab, OTHER_VIP):
        strikes(lb1, how, calls=sampled(4), weights=[2, 3])
    assert leftovers(lb1, "eth0", "eth1") == []


@pytest.mark.parametrize("how", HOW)
def test_a_removal_is_struck(lab: Lab, lb1: Host, how: str) -> None:
    """Beside another balancer. Where none is there after it one must be made first, so that is not
    at every call."""
    apply(lb1, wanted(*echoes("web1", "web2")), second("web2", "web3"))
    calls = sampled(10) if how == "killed" else range(1, 1000)
    keep = wanted(*echoes("web1", "web2"))
    with traffic(lab, OTHER_VIP):
        found = python(lb1, REMOVALS, how=how, keep=keep, calls=list(calls))
    checked(how, found)
    assert leftovers(lb1, "eth1") == []


# Where a program is compiled each time, not every call is struck.


@pytest.mark.parametrize("how", ["fails", "killed"])
def test_a_replacement_is_struck(lb1: Host, how: str) -> None:
    """With other features, another mode and other backends."""
    configs = [
        wanted(*echoes("web1", "web2", encapsulation="gue"), mode="generic"),
        wanted(*echoes("web2", "web3"), mode="native"),
    ]
    apply(lb1, configs[1])
    strikes(lb1, how, *configs, calls=sampled(12))
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("how", ["fails", "killed"])
def test_a_first_run_is_struck(lb1: Host, how: str) -> None:
    strikes(lb1, how, wanted(*echoes("web1", "web2")), calls=sampled(12), anew=True)
    assert traces(lb1) == []


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
