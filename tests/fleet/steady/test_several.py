# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several balancers of one host, and runs on them at once: what they share lasts as long as any of
them needs it, and no longer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import Lab
from lab.host import Host
from lab.traffic.stream import Stream
from tests.fleet.rig.balancers import (
    apply,
    counters,
    forwarding,
    hops,
    leftovers,
    program,
    renamed,
    traces,
)
from tests.fleet.rig.clients import SEED, traffic
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import ansible, stats
from tests.fleet.rig.services import (
    ECHO,
    OTHER_VIP,
    VIP,
    WEB,
    echo,
    echoes,
    second,
    wanted,
)
from tests.fleet.there import damage, many


def test_another_balancer_of_the_host_is_left_alone(lab: Lab, lb1: Host) -> None:
    """Whatever becomes of the first one, the second one's packets do not notice."""
    apply(lb1, second(*WEB))
    loaded = program(lb1, "eth1")
    before = counters(lb1, "eth1")
    with traffic(lab, OTHER_VIP) as running:
        for config in (
            wanted(*echoes(*WEB)),
            wanted(*echoes("web1", encapsulation="gue")),
            None,
            wanted(*echoes("web2")),
            wanted(*echoes("web2"), mode="generic"),
            None,
        ):
            assert "error" not in apply(lb1, config)
    assert running.connections.broken == {}
    assert program(lb1, "eth1") == loaded
    assert apply(lb1, second(*WEB))["steps"] == []
    assert counters(lb1, "eth1")["drops"] == before["drops"]
    assert leftovers(lb1, "eth1") == []


def test_a_balancer_that_cannot_be_read_keeps_its_neighbours(lb1: Host) -> None:
    apply(lb1, wanted(*echoes("web1", "web2")), second("web2", "web3"))
    python(lb1, damage.the_manifest, interface="eth1")
    for config in (wanted(*echoes("web4")), None):
        apply(lb1, config)
        hops = lb1.run(["ip", "neigh", "show", "proto", "214"]).stdout
        assert {WEB["web2"], WEB["web3"]} <= {line.split()[0] for line in hops.splitlines()}
    assert lb1.run(["cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]).stdout == "1\n"


def test_counters_while_an_interface_has_gone(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """Those of the others are there, and a warning says what happened."""
    apply(lb1, wanted(*echoes("web1")), second("web2"))
    with renamed(lb1, "eth1", "gone1"):
        everything, one, sampled, service = ansible(
            lab,
            tmp_path,
            stats(),
            stats(interface="eth1"),
            stats(interval=0.1),
            stats(service="nope"),
        )
    for each in (everything, sampled):
        assert each["ansible_facts"]["l4lb"].keys() == {"eth0"}
        (warning,) = each["warnings"]
        assert "'eth1': no such interface; its balancer is on gone1 now" in warning
    assert one["failed"]
    assert service["msg"] == "service: 'nope': eth0 has no such service, but tcp, udp"


def test_counters_of_a_service_that_one_interface_has(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    other = echo("udp", "web2", vip=OTHER_VIP)
    apply(lb1, wanted(*echoes("web1")), {**wanted({**other, "name": "dns"}), "interface": "eth1"})
    found, missing = ansible(lab, tmp_path, stats(service="dns"), stats(service="nope"))
    assert found["ansible_facts"]["l4lb"].keys() == {"eth1"}
    assert missing["msg"] == (
        "service: 'nope': eth0 has no such service, but tcp, udp; eth1 has no such service, but dns"
    )


# While an apply compiles.


def apply_meanwhile(
    host: Host, slow: dict[str, Any], meanwhile: dict[str, Any] | None, fails: bool = False
) -> Any:
    """Apply `slow` to eth1, and while it compiles `meanwhile` to eth0; what came of that."""
    other, failed = python(host, many.meanwhile, slow=slow, other=meanwhile, fails=fails)
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


def stress(host: Host, workers: list[str], **configs: list[dict[str, Any] | None]) -> None:
    """Several processes at once that apply these configurations of an interface in any order, or
    give web2 other weights. None of them fails."""
    print(f"seed {SEED}")
    log = python(
        host,
        many.stress,
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
    for _turn in range(5):
        apply(lb1, wanted(*echoes("web1", "web2")), second("web2", "web3"))
        assert python(lb1, many.removals, interfaces=["eth0", "eth1"]) == [0, 0]
        assert traces(lb1) == []
