# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers that announce their VIPs to a router, which spreads flows over them.

Every test finds both announcing, and all backends healthy, and leaves them so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab import Lab
from lab.build import LAB
from lab.fleet.laboratory import TOPOLOGY, start_bird
from lab.host import Host
from lab.traffic.connections import Connections
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.play import changed, playbook, role
from tests.fleet.rig.services import ECHO, VIP

PATIENCE = 60.0
VIP6 = "2001:db8:ffff::10"
BALANCERS = {
    "lb1": ("203.0.113.11", "2001:db8:2::11"),
    "lb2": ("203.0.113.12", "2001:db8:2::12"),
}
SPARE = {"lb3": ("203.0.113.13", "2001:db8:2::13")}
"""One more, on which no BIRD runs."""
SERVERS = ("web1", "web2")
ARP = {"ignore": 1, "announce": 2}
"""Nobody is told of a VIP on lo."""
ROUTER = ("203.0.113.1", "2001:db8:2::1")
KEY = "not a secret"  # as in lab/servers/bird.conf
BGP: dict[str, Any] = {
    "bgp_asn": 64512,
    "bgp_med": 50,
    "bgp_communities": ["64512:7", "64512:1:2"],
    "bgp_peers": [
        {"name": "router", "address": ROUTER[0], "asn": 64500, "password": KEY},
        {"name": "router6", "address": ROUTER[1], "asn": 64500},
    ],
}
CHECK = {"type": "tcp", "interval": 0.5, "timeout": 0.5}


def services(**options: Any) -> list[dict[str, Any]]:
    """The echo service at both VIPs."""
    one = {"port": ECHO, "protocol": "tcp", "check": CHECK, "min_healthy": 0, **options}
    return [
        {**one, "name": name, "address": vip, "backends": [{"address": each} for each in backends]}
        for name, vip, backends in (
            ("echo", VIP, ["203.0.113.21", "203.0.113.22"]),
            ("echo6", VIP6, ["2001:db8:2::21", "2001:db8:2::22"]),
        )
    ]


DEPLOYED: dict[str, Any] = {"interface": "eth0", "announce": True, "services": services()}


def speaking(lab: Lab, *arguments: str, limit: str = "balancers", **variables: Any) -> str:
    """Run the role for balancers; what Ansible writes, whatever its exit code."""
    return role(lab, "l4lb_bgp", *arguments, limit=limit, **{**BGP, **variables})


class Fleet:
    """The laboratory, and what the router knows."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.client, self.router = lab.host("client"), lab.host("router")
        self.balancers = [lab.host(name) for name in BALANCERS]

    def hops(self, vip: str = VIP) -> set[str]:
        """The balancers that the router sends packets for a VIP to."""
        text = self.router.run(["ip", "-6" if ":" in vip else "-4", "route", "show", vip]).stdout
        words = text.split()
        found = {words[at + 1] for at, word in enumerate(words) if word == "via"}
        return {name for name, addresses in BALANCERS.items() if found.intersection(addresses)}

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                for host in (self.router, *self.balancers):
                    for path in sorted(host.log("agent").parent.glob("*.log")):
                        print(f"{host.name}: {path.name}: {path.read_text()}")
                raise AssertionError("it has not come to pass")
            time.sleep(0.05)

    def agree(self) -> bool:
        """Whether all backends are healthy to both balancers: until then they pick others."""
        states = [json.loads(l4lb(host, "status", "--json")) for host in self.balancers]
        health = [one["health"] for state in states for one in state.values()]
        return not any(
            backend.get("reason")
            for found in health
            for backends in found.values()
            for backend in backends.values()
        )

    def until_hops(self, *names: str) -> None:
        self.until(lambda: self.hops() == self.hops(VIP6) == set(names))


@contextmanager
def connections(fleet: Fleet) -> Iterator[None]:
    """Open ones over both balancers, none of which is lost."""
    with (
        Connections(fleet.client, (VIP, ECHO), 24) as four,
        Connections(fleet.client, (VIP6, ECHO), 24) as six,
    ):
        four.await_rounds()
        yield
        for each in (four, six):
            each.await_rounds(4)
            assert each.broken == {}


def announced(host: Host) -> list[str]:
    """The routes to VIPs of a balancer."""
    shown = [host.run(["ip", f"-{version}", "route", "show", "table", "214"], check=False).stdout
             for version in (4, 6)]  # fmt: skip
    return "".join(shown).splitlines()


def start_agent(host: Host, *arguments: str) -> None:
    host.start("agent", ["l4lb", "agent", *arguments])


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """That of make demo-fleet, with two servers, for which the laboratory unpacks."""
    topology = plan(TOPOLOGY)
    hosts = topology["hosts"]
    for name in ("web3", "web4", "web5", "web6"):
        del hosts[name]
    for name in SERVERS:
        hosts[name] = {
            **hosts[name],
            "loopback": [f"{VIP}/32", f"{VIP6}/128"],
            "sysctls": {f"net.ipv4.conf.all.arp_{key}": value for key, value in ARP.items()},
            "decapsulate": "eth0",
            "balancers": [one for two in {**BALANCERS, **SPARE}.values() for one in two],
            "services": {"nginx": hosts[name]["services"]["nginx"]},
        }
    with laboratory("bg", topology) as lab:
        for name in SERVERS:
            start_echo(lab.host(name))
        yield lab


def start_echo(server: Host) -> None:
    listen = [VIP, VIP6, server.address, server.address6]
    server.start("echo", ["python3", str(LAB / "servers/echo.py"), str(ECHO), *listen])


@pytest.fixture(scope="session")
def deployed(lab: Lab) -> Iterator[Fleet]:
    fleet = Fleet(lab)
    done = playbook(lab, "deploy", limit="balancers", **DEPLOYED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed(speaking(lab)) == [2, 2]
    for host in fleet.balancers:
        start_bird(host)
        start_agent(host)
    yield fleet
    for host in fleet.balancers:
        host.stop("agent")
        assert "Traceback" not in host.log("agent").read_text()


@pytest.fixture
def fleet(deployed: Fleet) -> Iterator[Fleet]:
    deployed.until_hops(*BALANCERS)
    deployed.until(deployed.agree)
    yield deployed
    deployed.until_hops(*BALANCERS)
    deployed.until(deployed.agree)


@pytest.fixture
def lb1(fleet: Fleet) -> Host:
    return fleet.balancers[0]


def told(host: Host) -> list[str]:
    """What status says of VIPs."""
    return [line for line in l4lb(host, "status").splitlines() if " announced" in line]
