# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations that cannot be meant: what sets a balancer up refuses them, and what keeps one
going warns of them. All cases: tests/unit/test_checks.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, plan, saved, traces
from tests.fleet.rig.clients import works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import ansible, l4lb, playbook
from tests.fleet.rig.services import VIP, WEB, service, wanted
from tests.fleet.there import library

OWN, OWN6, OWN_MAC = "203.0.113.11", "2001:db8:2::11", "02:00:cb:00:71:0b"


BEHIND_A_ROUTER = "198.51.100.9"


PREFIX, PREFIX6 = "198.18.0.0/28", "2001:db8:5::/112"


def ran(lab: Lab, name: str, *arguments: str, **variables: Any) -> tuple[int, str]:
    """Run a playbook of the collection for lb1: exit code, and what it says in one line."""
    done = playbook(lab, name, *arguments, **variables)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@contextlib.contextmanager
def configured(host: Host, *commands: str) -> Iterator[None]:
    """What `ip ... add ...` adds, for a while."""
    for command in commands:
        host.run(["ip", *command.split()])
    try:
        yield
    finally:
        for command in reversed(commands):
            host.run(["ip", *command.replace(" add ", " del ").split()], check=False)


def restored(host: Host) -> list[str]:
    """What `l4lb restore` warns of."""
    outcome = python(host, library.restore)
    assert "error" not in outcome, outcome
    warnings: list[str] = outcome["warnings"]
    return warnings


# Refused, in check mode and for real, before anything changes.

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "own address": (
        {"services": [service(1, address=OWN)]},
        f"services[web].address: '{OWN}': this host's own",
    ),
    "own address, of IPv6": (
        {"services": [service(1, address=OWN6)]},
        f"services[web].address: '{OWN6}': this host's own",
    ),
    "own address of another interface": (
        {"services": [service(1, address="10.77.0.2")]},
        "services[web].address: '10.77.0.2': this host's own",
    ),
    "loopback": (
        {"services": [service(1, address="127.0.0.2")]},
        "services[web].address: '127.0.0.2': a loopback address; give one that is routed",
    ),
    "broadcast address": (
        {"services": [service(1, address="203.0.113.255")]},
        "services[web].address: '203.0.113.255': the broadcast address of 203.0.113.0/24",
    ),
    "network address, of IPv6": (
        {"services": [service({"address": "2001:db8:2::"})]},
        "services[web].backends[2001:db8:2::].address: '2001:db8:2::': the network address of",
    ),
    "the host as a backend": (
        {"services": [service({"address": OWN})]},
        f"services[web].backends[{OWN}].address: '{OWN}': this host's own",
    ),
    "a service as a backend": (
        {"services": [service({"address": VIP})]},
        f"services[web].backends[{VIP}].address: '{VIP}': the address of the service web",
    ),
    "l2 behind a router": (
        {"services": [service({"address": BEHIND_A_ROUTER}, encapsulation="l2")]},
        f"services[web].encapsulation: 'l2': {BEHIND_A_ROUTER} is behind the router 203.0.113.1",
    ),
    "l2 with a gateway's MAC address": (
        {"services": [service(1, encapsulation="l2")], "gateway_mac": "02:00:cb:00:71:01"},
        "services[web].encapsulation: 'l2': ",
    ),
    "own MAC address": (
        {"services": [service(1)], "gateway_mac": OWN_MAC},
        f"gateway_mac: '{OWN_MAC}': the balancer's own",
    ),
    "no source address of the host": (
        {"services": [service(1)], "source_address": "198.18.0.1"},
        "source_address: '198.18.0.1': no address of this host",
    ),
    "source prefix that is not routed to the host": (
        {"services": [service(1)], "source_address6": PREFIX6},
        f"source_address6: '{PREFIX6}': not routed to this host",
    ),
    "lo": ({"interface": "lo", "services": [service(1)]}, "interface: 'lo': "),
}


def test_refused(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    tasks = [
        l4lb(check, **wrong) for wrong, _message in REFUSED.values() for check in (True, False)
    ]
    results = ansible(lab, tmp_path, *tasks)
    for (name, (_wrong, message)), pair in zip(REFUSED.items(), zip(results[::2], results[1::2])):
        for result in pair:
            assert result["failed"], name
            assert message in result["msg"], name
            assert "\n" not in result["msg"] and "Traceback" not in str(result)
    assert traces(lb1) == []


def test_much_like_it(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """And yet as it should be: in a connected subnet, beside its own addresses, on the link."""
    near = {"address": BEHIND_A_ROUTER, "mac": "02:00:cb:00:71:16"}
    routes = [f"route add local {prefix} dev lo" for prefix in (PREFIX, PREFIX6)]
    with configured(lb1, *routes):
        results = ansible(
            lab,
            tmp_path,
            l4lb(True, services=[service(1, address="203.0.113.200")]),
            l4lb(True, services=[service(1, address=OWN6)], allow_own_address=True),
            l4lb(True, services=[service(1, near, encapsulation="l2")]),
            l4lb(True, services=[service(1)], source_address=PREFIX, source_address6=PREFIX6),
            l4lb(True, services=[service(1)], source_address="10.77.0.2"),
            l4lb(True, services=[service(1, address="240.0.0.1")]),
        )
    assert [one["failed"] for one in results] == [False] * len(results)
    *others, class_e = [one.get("warnings", []) for one in results]
    assert others == [[]] * len(others)
    assert class_e == ["services[web].address: '240.0.0.1': of class E, which many systems drop"]
    assert traces(lb1) == []


def test_the_role_refuses_before_it_installs_anything(lab: Lab, lb1: Host) -> None:
    """What the configuration says by itself, even before it looks at the host."""
    installed = ["find", "/usr/lib/l4lb", "/usr/sbin/l4lb", "/etc/l4lb"]
    for services, told, looked in (
        ([service(1, address="127.0.0.2")], "l4lb_services[web].address: '127.0.0.2': a", False),
        ([service(1, address=OWN)], f"services[web].address: '{OWN}': this host's own", True),
    ):
        for arguments in (["--check"], []):
            code, output = ran(lab, "deploy", *arguments, interface="eth0", services=services)
            assert code == 2
            assert told in output
            assert ("Look at the host" in output) == looked
            assert lb1.run(installed, check=False).stdout == ""
            assert traces(lb1) == []


# Accepted once: a failover, a boot, an operator and an upgrade lose nothing.


def test_a_failover_puts_the_service_s_address_here(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """What was set up goes on, is restored and edited, with a warning; a deploy is refused, before
    the host loses SSH at this address, unless it is told that this is meant."""
    plain: dict[str, Any] = {"services": [service(1, 2)]}
    allowed = {**plain, "allow_own_address": True}
    apply(lb1, wanted(**plain))
    disable = {"address": WEB["web2"], "state": "disabled"}
    with configured(lb1, f"address add {VIP}/32 dev eth0"):
        works(lab, 1, 2)
        (warning,) = restored(lb1)
        assert warning.startswith(f"services[web].address: '{VIP}': this host's own")
        lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
        assert warning in restored(lb1), "after a reboot"
        works(lab, 1, 2)
        edited, checked, refused, changed, enabled = ansible(
            lab,
            tmp_path,
            {"xdp.l4lb.l4lb_backend": disable},
            l4lb(True, **plain),
            l4lb(**plain),
            l4lb(**allowed),
            {"xdp.l4lb.l4lb_backend": {**disable, "state": "enabled"}},
        )
        assert edited["changed"] and edited["warnings"] == [warning]
        assert checked["msg"] == refused["msg"] == warning
        assert changed["changed"] and not any(warning in one for one in changed["warnings"])
        assert enabled["changed"] and not enabled.get("warnings")
        works(lab, 1, 2)
    assert plan(lb1, wanted(**allowed))["steps"] == []


def test_what_an_earlier_version_accepted(lb1: Host) -> None:
    """It is read as it was, restored and edited."""
    odd = wanted(service(1, {"address": "127.0.0.1"}, {"address": OWN}))
    assert plan(lb1, odd)["error"] == "ConfigError"
    assert "error" not in apply(lb1, odd, accepted=True)
    where = "services[web].backends"
    own = "this host's own, and what it balances does not come to itself"
    warnings = [
        f"{where}[127.0.0.1].address: '127.0.0.1': a loopback address; give the server's own",
        f"{where}[{OWN}].address: '{OWN}': {own}; have other hosts balance, or be the backends",
    ]
    assert [one for one in restored(lb1) if where in one] == warnings
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    assert [one for one in restored(lb1) if where in one] == warnings
    assert saved(lb1)["eth0.json"]["services"][0]["backends"][0]["address"] == "127.0.0.1"


# Where tunnels come from, if nobody says: on both of two balancers that share an address by VRRP.


def addressed(host: Host, *addresses: str) -> None:
    """Let eth1 have just these, added in this order."""
    host.run(["ip", "address", "flush", "dev", "eth1", "scope", "global"])
    for address in addresses:
        options = ["nodad"] if ":" in address else []
        host.run(["ip", "address", "add", address, "dev", "eth1", *options])


ETH1 = ("10.77.0.2/30", "2001:db8:7::2/64")


SHARED, SHARED6 = "192.0.2.129", "2001:db8:ffff::129"


VRRP = {
    "backup": ETH1,
    "master": (*ETH1, f"{SHARED}/32", f"{SHARED6}/128"),
    "master, with prefixes": (*ETH1, f"{SHARED}/24", f"{SHARED6}/64"),
    "master, whose own addresses came later": (f"{SHARED}/24", f"{SHARED6}/64", *ETH1),
    "master of others' services": (*ETH1, "192.0.2.77/24", "2001:db8:ffff::77/64"),
    "master of others' services, before": ("192.0.2.77/32", "2001:db8:ffff::77/128", *ETH1),
}
"""The addresses of eth1, in the order in which they came."""


def test_the_source_of_tunnels_is_no_service(lb1: Host) -> None:
    """Backends have the address of the service themselves, and drop all that comes from it."""
    six = service({"address": "2001:db8:7::9"}, name="six", address=SHARED6)
    config = wanted(
        service({"address": "10.77.0.1"}, address=SHARED),
        six,
        interface="eth1",
        allow_own_address=True,
    )
    try:
        for before in VRRP.values():
            addressed(lb1, *before)
            outcome = apply(lb1, config)
            assert outcome["after"]["source_address"] == "10.77.0.2"
            assert outcome["after"]["source_address6"] == "2001:db8:7::2"
            for role, after in VRRP.items():
                addressed(lb1, *after)
                lb1.run(["sh", "-c", "ip neigh flush dev eth1"])
                predicted = plan(lb1, config)
                assert predicted["after"] == outcome["after"], role
                assert not [step for step in predicted["steps"] if "source" in step], role
                assert "error" not in apply(lb1, config)
            python(lb1, library.remove, interfaces=["eth1"])
    finally:
        addressed(lb1, ETH1[0])


def test_only_services_have_addresses(lb1: Host) -> None:
    config = wanted(
        service({"address": "10.77.0.1"}, address=SHARED), interface="eth1", allow_own_address=True
    )
    try:
        addressed(lb1, f"{SHARED}/24")
        outcome = apply(lb1, config)
    finally:
        addressed(lb1, ETH1[0])
    assert outcome["message"].startswith("source_address: None: eth1 has no IPv4 address, other")


# Services that nobody serves.


def test_the_playbook_drains_the_last_one_only_by_force(lb1: Host, lab: Lab) -> None:
    apply(lb1, wanted(service(1)))
    order = {"backend": WEB["web1"], "wait": False}
    for arguments in (["--check"], []):
        code, output = ran(lab, "drain", *arguments, **order)
        assert code == 2
        assert f"web on eth0: {WEB['web1']} is the last backend that takes new flows" in output
    works(lab, 1)
    code, output = ran(lab, "drain", **order, force=True)
    assert code == 0
    assert "web: no backend takes new flows; they are dropped" in output
    assert "- 'web: 1 backend drained (203.0.113.21), hold " in output


@pytest.mark.parametrize(
    "backends",
    [
        [],
        [{"address": WEB["web1"], "weight": 0}, {"address": WEB["web2"], "weight": 0}],
        [{"address": WEB["web1"], "state": "disabled"}, {"address": WEB["web2"], "weight": 0}],
        [{"address": WEB["web1"], "state": "drained"}],
    ],
    ids=["none", "all weights 0", "disabled", "the last one drained"],
)
def test_a_service_that_drops_new_flows(
    lab: Lab, lb1: Host, tmp_path: Path, backends: list[dict[str, Any]]
) -> None:
    """It may be meant, so it is told: in words of what changes, and as long as it lasts."""
    apply(lb1, wanted(service(1, 2)))
    nobody: dict[str, Any] = {"services": [service(*backends)]}
    checked, applied, again = ansible(
        lab, tmp_path, l4lb(True, **nobody), l4lb(**nobody), l4lb(**nobody)
    )
    for result in (checked, applied, again):
        assert result["warnings"] == ["web: no backend takes new flows; they are dropped"]
    assert checked["steps"] == applied["steps"]
    (step,) = applied["steps"]
    assert ", new flows are dropped, " in step
    assert applied["moves"][0]["new_flows_percent"] == 100.0
    assert not again["changed"]
    assert restored(lb1) == again["warnings"]
