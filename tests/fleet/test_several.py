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
from tests.fleet.test_lifecycle import ECHO, OTHER_VIP, echoes, leftovers, second, topology
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
