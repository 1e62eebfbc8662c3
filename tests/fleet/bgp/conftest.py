# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers that announce their VIPs to a router, which spreads flows over them.

Every test finds both announcing, and leaves them so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import Lab
from lab.build import LAB
from lab.host import Host
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.play import playbook
from tests.fleet.rig.services import ECHO, VIP

PATIENCE = 20.0
VIP6 = "2001:db8:ffff::10"
BALANCERS = {
    "lb1": ("203.0.113.11", "2001:db8:2::11"),
    "lb2": ("203.0.113.12", "2001:db8:2::12"),
}
ROUTER = ("203.0.113.1", "2001:db8:2::1")
BFD = "interface * { interval 100 ms; multiplier 3; };"
CHECK = {"type": "tcp", "interval": 0.3, "timeout": 0.3}


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


def of_router() -> str:
    """The configuration of its BIRD: what is on its way out comes last."""
    peers = "".join(
        f"protocol bgp {name}v{version} from balancer {{ neighbor {address} as 64512; }}\n"
        for name, addresses in BALANCERS.items()
        for version, address in zip((4, 6), addresses)
    )
    return f"""
        log stderr all;
        router id {ROUTER[0]};
        protocol device {{ }}
        protocol kernel {{ merge paths on; ipv4 {{ export all; }}; }}
        protocol kernel {{ merge paths on; ipv6 {{ export all; }}; }}
        protocol bfd {{ interface "*" {{ interval 100 ms; multiplier 3; }}; }}
        filter from_balancers {{
            if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
            accept;
        }}
        template bgp balancer {{
            local as 64500;
            bfd on;
            connect retry time 1;
            connect delay time 1;
            error wait time 1, 2;
            ipv4 {{ import filter from_balancers; export none; }};
            ipv6 {{ import filter from_balancers; export none; }};
        }}
        {peers}"""


def of_balancer(name: str) -> str:
    """That of a balancer's BIRD."""
    addresses = BALANCERS[name]
    peers = "".join(
        f"""
        protocol bgp router{version} {{
            router id {addresses[0]};
            local {address} as 64512;
            neighbor {peer} as 64500;
            bfd on;
            connect delay time 1;
            error wait time 1, 2;
            ipv{version} {{
                table l4lb{version}; import none; export filter leaving; next hop self;
            }};
        }}"""
        for version, address, peer in zip((4, 6), addresses, ROUTER)
    )
    tables = "".join(
        f"""
        ipv{version} table l4lb{version};
        protocol kernel {{
            kernel table 214; learn;
            ipv{version} {{ table l4lb{version}; import all; export none; }};
        }}"""
        for version in (4, 6)
    )
    return f"""
        log stderr all;
        protocol device {{ }}
        protocol bfd {{ interface "*" {{ interval 100 ms; multiplier 3; }}; }}
        filter leaving {{
            if krt_metric = 65535 then bgp_community.add((65535, 0));
            accept;
        }}
        {tables}
        {peers}"""


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

    def until_hops(self, *names: str) -> None:
        self.until(lambda: self.hops() == self.hops(VIP6) == set(names))


def announced(host: Host) -> list[str]:
    """The routes to VIPs of a balancer."""
    shown = [host.run(["ip", f"-{version}", "route", "show", "table", "214"], check=False).stdout
             for version in (4, 6)]  # fmt: skip
    return "".join(shown).splitlines()


def start_agent(host: Host) -> None:
    host.start("agent", ["l4lb", "agent"])


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    topology = plan()
    hosts = topology["hosts"]
    del hosts["web3"], hosts["web4"], hosts["router"]["routes"]
    # TCP would look for another way by itself, and hide an outage
    hosts["client"]["sysctls"] = {"net.core.txrehash": 0}
    with laboratory("bg", topology) as lab:
        router = lab.host("router")
        for name in (*BALANCERS, "web1", "web2"):  # a bridge would flood frames for one that is cut
            router.run(["bridge", "link", "set", "dev", name, "flood", "off"])
        for name in ("web1", "web2"):
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
    for host, text in (
        (fleet.router, of_router()),
        *((one, of_balancer(one.name)) for one in fleet.balancers),
    ):
        host.run(["sh", "-ec", "mkdir -p /run/bird; cat >/etc/bird/bird.conf"], input=text)
        host.start("bird", ["bird", "-f"])
    for host in fleet.balancers:
        start_agent(host)
    yield fleet
    for host in fleet.balancers:
        host.stop("agent")
        assert "Traceback" not in host.log("agent").read_text()


@pytest.fixture
def fleet(deployed: Fleet) -> Iterator[Fleet]:
    deployed.until_hops(*BALANCERS)
    yield deployed
    deployed.until_hops(*BALANCERS)


@pytest.fixture
def lb1(fleet: Fleet) -> Host:
    return fleet.balancers[0]


def told(host: Host) -> list[str]:
    """What status says of VIPs."""
    return [line for line in l4lb(host, "status").splitlines() if " announced" in line]
