# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers of which keepalived makes one the master, as docs/keepalived.md has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.build import LAB
from lab.host import CHECKOUT, Host
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.exits import Balancer
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.play import playbook
from tests.fleet.rig.readme import blocks
from tests.fleet.rig.services import ECHO, VIP

PATIENCE = 60.0
VIP6 = "2001:db8:ffff::10"
PAGE = (CHECKOUT / "docs/keepalived.md").read_text()
FOLDER = "/etc/keepalived"
FILE, OF_IPV4, OF_IPV6 = blocks("text", PAGE)
SCRIPT, ROUTES = blocks("sh", PAGE)
GIVEN: dict[str, Any] = {
    name.removeprefix("l4lb_"): value
    for block in blocks("yaml", PAGE)
    for name, value in yaml.safe_load(block).items()
}
"""The variables on the page, without their prefix."""
WAYS = ["addresses", "addresses, use_vmac", "next hop"]
"""What keepalived moves."""
BACKENDS = {
    VIP: ["203.0.113.21", "203.0.113.22"],
    VIP6: ["2001:db8:2::21", "2001:db8:2::22"],
}


def wanted(way: str) -> dict[str, Any]:
    """What a balancer is told."""
    without = set()
    if "use_vmac" not in way:
        without.add("own_macs")
    check = {"type": "tcp", "interval": 0.5, "timeout": 0.5}
    if "next hop" in way:
        without.add("allow_own_address")
    else:
        check["via"] = "address"
    services = [
        {
            "name": f"{protocol} to {vip}",
            "address": vip,
            "port": ECHO,
            "protocol": protocol,
            "check": {**check, "port": ECHO, "type": "tcp"},
            "backends": [{"address": address} for address in backends],
        }
        for vip, backends in BACKENDS.items()
        for protocol in ("tcp", "udp")
    ]
    return {**{key: GIVEN[key] for key in GIVEN.keys() - without}, "services": services}


def of_keepalived(way: str, priority: int) -> str:
    """Its configuration, as the page has it."""
    text = FILE.replace("priority 150", f"priority {priority}")
    if "use_vmac" in way:
        text = text.replace("    advert_int", "    use_vmac\n    advert_int")
    if "next hop" in way:
        for block in (OF_IPV4, OF_IPV6):
            heading, addresses = block.split("\n", 1)
            before, instance = text.split(f"vrrp_{heading.removeprefix('# in the ')} {{\n")
            begin, end = instance.index("    virtual_ipaddress"), instance.index("    track_script")
            instance = instance[:begin] + addresses + instance[end:]
            text = f"{before}vrrp_{heading.removeprefix('# in the ')} {{\n{instance}"
    return text


class Pair:
    """The laboratory, and who is the master in it."""

    def __init__(self, lab: Lab) -> None:
        self.client, self.router = lab.host("client"), lab.host("router")
        self.balancers = {name: lab.host(name) for name in ("lb1", "lb2")}
        self.way = ""

    def masters(self) -> list[str]:
        """Who has an address that keepalived moves, IPv4 and then IPv6."""
        moved = ("203.0.113.10", "2001:db8:2::10") if "next hop" in self.way else (VIP, VIP6)
        return [
            name
            for address in moved
            for name, host in self.balancers.items()
            if host.run(["ip", "-oneline", "address", "show", "to", address]).stdout
        ]

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                for host in self.balancers.values():
                    for name in ("agent", "keepalived"):
                        print(f"{host.name}: {name}: {host.log(name).read_text()}")
                raise AssertionError("it has not come to pass")
            time.sleep(0.2)

    def until_master(self, name: str) -> None:
        self.until(lambda: self.masters() == [name, name])

    def start(self, host: Host) -> None:
        host.start("keepalived", ["keepalived", "--dont-fork", "--log-console"])

    def begin(self, way: str) -> None:
        """Have balancers and router do as the page says."""
        self.way = way
        for host, priority in zip(self.balancers.values(), (150, 120)):
            l4lb(host, "apply", "-", given=wanted(way))
            configuration = of_keepalived(way, priority)
            host.run(["sh", "-ec", f"cat >{FOLDER}/keepalived.conf"], input=configuration)
            self.start(host)
        routes = ROUTES if "next hop" in way else f"{LINK.format(VIP)}\n{LINK.format(VIP6)}"
        self.router.run(["sh", "-ec", routes])
        self.until_master("lb1")
        self.until(self.settled)

    def settled(self) -> bool:
        """Whether a deploy would change nothing on either: check mode says so."""
        given = wanted(self.way)
        plans = [Balancer(host, "eth0").do("plan", given) for host in self.balancers.values()]
        return all(plan.get("steps") == [] for plan in plans)

    def end(self) -> None:
        for host in self.balancers.values():
            host.stop("keepalived")
        prefixes = ("192.0.2.0/24", "2001:db8:ffff::/64", VIP, VIP6)
        commands = [f"ip route delete {one} 2>/dev/null" for one in prefixes]
        self.router.run(["sh", "-c", "; ".join(commands)], check=False)


LINK = "ip route replace {} dev servers"
"""The services' addresses are on the router's link."""


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    topology = plan()
    hosts = topology["hosts"]
    del hosts["web3"], hosts["web4"], hosts["router"]["routes"]
    # TCP would look for another way by itself, and hide an outage
    hosts["client"]["sysctls"] = {"net.core.txrehash": 0}
    with laboratory("va", topology) as lab:
        for name in ("lb1", "lb2", "web1", "web2"):  # a bridge would send what is for one to all
            lab.host("router").run(["bridge", "link", "set", "dev", name, "flood", "off"])
        for name in ("web1", "web2"):
            server = lab.host(name)
            listen = [VIP, VIP6, server.address, server.address6]
            server.start("echo", ["python3", str(LAB / "servers/echo.py"), str(ECHO), *listen])
        yield lab


@pytest.fixture(scope="session")
def deployed(lab: Lab) -> Iterator[Pair]:
    """Balancers with their agents."""
    pair, quick = Pair(lab), ("--skip-tags", "packages")
    done = playbook(lab, "deploy", *quick, limit="balancers", serial="100%", **wanted(WAYS[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    for host in pair.balancers.values():
        path = f"{FOLDER}/l4lb-announces"
        host.run(["sh", "-ec", f"cat >{path}; chmod 755 {path}"], input=SCRIPT)
        host.start("agent", ["l4lb", "agent"])
    yield pair
    for host in pair.balancers.values():
        host.stop("agent")
        assert "Traceback" not in host.log("agent").read_text()


@pytest.fixture(params=WAYS)
def pair(deployed: Pair, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """lb1 is the master of it."""
    deployed.begin(request.param)
    yield deployed
    deployed.end()
