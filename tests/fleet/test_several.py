# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several balancers of one host, and runs on them at once: what they share lasts as long as any of
them needs it, and no longer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import Host
from lab.traffic import Stream
from tests.fleet.test_lifecycle import (
    ECHO,
    OTHER_VIP,
    SEED,
    VIP,
    echoes,
    leftovers,
    second,
    topology,
    traffic,
)
from tests.fleet.test_module import WEB, WORKERS, apply, cleaned, python, traces, wanted


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(f"s{os.getpid()}")
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


def hops(host: Host) -> set[str]:
    """The next hops that the kernel keeps resolved."""
    found = host.run(["ip", "neigh", "show", "nud", "all", "proto", "214"]).stdout
    return {line.split()[0] for line in found.splitlines()}


def forwarding(host: Host) -> str:
    return host.run(["cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]).stdout.strip()


# An apply stops before it compiles, and goes on after another run.
MEANWHILE = """
ready, go = os.pipe(), os.pipe()
load = compiler.load
def load_later(*arguments):
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    if given["fails"]:
        raise errors.CompileError("clang is not in the mood", "")
    return load(*arguments)
child = os.fork()
if not child:
    compiler.load = load_later
    outcome = attempt(Balancer("eth1", sources()).apply, config_of(given["slow"]))
    os._exit("error" in outcome)
os.close(ready[1])
assert os.read(ready[0], 1), "it does not compile"
other = attempt(Balancer("eth0", sources()).apply, config_of(given["meanwhile"]))
os.write(go[1], b"x")
result = [other, os.waitpid(child, 0)[1] >> 8]
"""


def apply_meanwhile(
    host: Host, slow: dict[str, Any], meanwhile: dict[str, Any] | None, fails: bool = False
) -> Any:
    """Apply `slow` to eth1, and while it compiles `meanwhile` to eth0; what came of that."""
    other, failed = python(host, MEANWHILE, slow=slow, meanwhile=meanwhile, fails=fails)
    assert failed == fails
    return other


def test_removal_while_another_interface_compiles(lab: Lab, lb1: Host) -> None:
    """Its first run has pinned nothing yet, but needs what they share."""
    apply(lb1, wanted(*echoes("web1", "web2")))
    assert "error" not in apply_meanwhile(lb1, second("web2", "web3"), None)
    assert forwarding(lb1) == "1"
    assert hops(lb1) == {WEB["web2"], WEB["web3"]}
    with Stream(lab.host("client"), (OTHER_VIP, ECHO)) as stream:
        stream.await_answers()
    assert leftovers(lb1, "eth1") == []


def test_a_change_while_another_interface_compiles(lb1: Host) -> None:
    """A backend leaves the one and comes to the other."""
    apply(lb1, wanted(*echoes("web1", "web2")))
    apply_meanwhile(lb1, second("web2"), wanted(*echoes("web1")))
    assert hops(lb1) == {WEB["web1"], WEB["web2"]}


def test_what_a_failing_run_wanted_is_not_kept(lb1: Host) -> None:
    apply(lb1, wanted(*echoes("web1", "web2")))
    apply_meanwhile(lb1, second("web2", "web3"), wanted(*echoes("web1")), fails=True)
    assert hops(lb1) == {WEB["web1"]}
    assert forwarding(lb1) == "1"
    apply_meanwhile(lb1, second("web2", "web3"), None, fails=True)
    assert traces(lb1) == []


# Many runs at once.

STRESS = """
import random, time
from ipaddress import ip_address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import Order, operate

# what an order may meet where a balancer has just gone
EXPECTED = "no balancer is attached to", "this host does not balance", "eth0 has no such backend"

def come_and_go(name, chance):
    options = chance.choice(given["configs"][name])
    Balancer(name, sources()).apply(config_of(options))

def order(name, chance):
    operate(Order(ip_address(given["address"]), weight=chance.randrange(1, 9)))

def work(number, kind, name, log):
    chance = random.Random(given["seed"] + number)
    while time.monotonic() < end:
        try:
            kind(name, chance)
            os.write(log, b"+")
        except errors.L4lbError as e:
            if not str(e).startswith(EXPECTED):
                os.write(log, f" {name}: {e} ".encode())
        except BaseException:
            os.write(log, traceback.format_exc().encode())

end = time.monotonic() + given["seconds"]
path = "/tmp/stress"
log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
children = []
for number, name in enumerate(given["workers"]):
    children.append(os.fork())
    if not children[-1]:
        work(number, order if name == "orders" else come_and_go, name, log)
        os._exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
result = Path(path).read_text()
"""


def stress(host: Host, workers: list[str], **configs: list[dict[str, Any] | None]) -> None:
    """Several processes at once that apply these configurations of an interface in any order, or
    give web2 other weights. None of them fails."""
    print(f"seed {SEED}")
    log = python(
        host,
        STRESS,
        seed=SEED,
        seconds=20,
        workers=workers,
        configs=configs,
        address=WEB["web2"],
    )
    print(f"{len(log)} runs")
    assert len(log) > len(workers)
    assert set(log) == {"+"}, log


def test_one_stays_while_the_other_comes_and_goes(lab: Lab, lb1: Host) -> None:
    """Its packets do not notice, whoever changes what at the same time."""
    apply(lb1, second("web2", "web3"))
    first = [wanted(*echoes("web1", "web2")), None, wanted(*echoes("web2", "web3", "web4"))]
    with traffic(lab, OTHER_VIP) as running:
        stress(lb1, ["eth0", "eth0", "orders", "orders"], eth0=first)
    assert running.connections.broken == {}
    apply(lb1, None)
    assert hops(lb1) == {WEB["web2"], WEB["web3"]}
    assert leftovers(lb1, "eth1") == []


def test_both_come_and_go(lab: Lab, lb1: Host) -> None:
    both = {
        "eth0": [wanted(*echoes("web1", "web2")), None],
        "eth1": [second("web2", "web3"), None],
    }
    stress(lb1, ["eth0", "eth1", "eth0", "eth1"], **both)
    apply(lb1, wanted(*echoes("web1", "web2")), second("web2", "web3"))
    assert hops(lb1) == {WEB[name] for name in ("web1", "web2", "web3")}
    assert forwarding(lb1) == "1"
    for vip in (VIP, OTHER_VIP):
        with Stream(lab.host("client"), (vip, ECHO)) as stream:
            stream.await_answers()
    assert leftovers(lb1, "eth0", "eth1") == []


def test_no_removal_of_the_last_leaves_anything(lb1: Host) -> None:
    """Both at once, so that each finds the other one still there, or not."""
    code = """
children = []
for name in "eth0", "eth1":
    children.append(os.fork())
    if not children[-1]:
        Balancer(name).apply(None)
        os._exit(0)
result = [os.waitpid(child, 0)[1] for child in children]
"""
    for _ in range(5):
        apply(lb1, wanted(*echoes("web1", "web2")), second("web2", "web3"))
        assert python(lb1, code) == [0, 0]
        assert traces(lb1) == []
