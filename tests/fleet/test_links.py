# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VLAN devices, bonds and cards that take redirects only while they have a program: what counts as
sent leaves, with the tags of the network that its server is in. `make kernels` has all of these.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import Lab, LabError
from lab.traffic.stream import Stream
from tests.fleet.rig.exits import Balancer
from tests.fleet.rig.families import ECHO, FAILOVER
from tests.fleet.rig.labs import laboratory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Host

TOPOLOGY = Path(__file__).resolve().parents[2] / "lab/topologies/trunk.yml"
VIP = "192.0.2.10"
FLOWS = 48  # of which each server gets some
SERVERS = {
    "web0": "203.0.113.2",
    "web1": "203.0.113.66",
    "web2": "203.0.113.130",
    "web3": "203.0.113.194",
}
OWN = {
    "plain": "203.0.113.3",
    "red": "203.0.113.67",
    "blue": "203.0.113.131",
    "green": "203.0.113.195",
}
"""The balancer's address in each network."""
VLANS = {"red": 100, "blue": 200}
PROVIDER, CUSTOMER = 300, 400
"""The green network has two tags."""
CARD = "52:54:00:4c:34"
"""MAC addresses of virtio cards that tools/kernels connects two by two."""


def trunk(device: str, masters: bool) -> list[str]:
    """Commands for the VLAN devices on a device; ports of the networks' bridges, or addresses."""

    def plugged(name: str, network: str) -> list[str]:
        if masters:
            return [f"link set {name} master {network}", f"link set {name} up"]
        return [f"link set {name} up", f"address add {OWN[network]}/26 dev {name}"]

    commands = plugged(device, "plain")
    for network, number in VLANS.items():
        name = f"{device}.{number}"
        commands += [f"link add link {device} name {name} type vlan id {number}"]
        commands += plugged(name, network)
    outer, inner = f"{device}.{PROVIDER}", f"{device}.{CUSTOMER}"
    return [
        *commands,
        f"link add link {device} name {outer} type vlan proto 802.1ad id {PROVIDER}",
        f"link set {outer} up",
        f"link add link {outer} name {inner} type vlan id {CUSTOMER}",
        *plugged(inner, "green"),
    ]


def without(device: str) -> list[str]:
    """Commands that remove them."""
    return [f"link delete {device}.{number}" for number in (*VLANS.values(), PROVIDER)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("l", TOPOLOGY) as lab:
        router = lab.host("router")
        # Tags are in the frames, as on a wire.
        for host, name in (("router", "lb"), ("router", "lb-b")):
            off = ["ethtool", "-K", name, "tx-vlan-offload", "off", "tx-vlan-stag-hw-insert", "off"]
            lab.host(host).run(off)
        try:
            router.ip(trunk("lb", masters=True))
        except LabError:
            pytest.skip("cannot run here: the kernel has no VLAN devices")
        yield lab


@pytest.fixture
def vlans(lab: Lab) -> Iterator[Balancer]:
    """lb1 with VLAN devices on eth0. A program that is there stays."""
    lb1 = lab.host("lb1")
    lb1.ip([*trunk("eth0", masters=False), "route add default via 203.0.113.1"])
    strip(lb1, "eth0", "off")
    yield Balancer(lb1, "eth0")
    lb1.ip([*without("eth0"), "address flush dev eth0"])


def strip(host: Host, name: str, state: str) -> None:
    features = ("rx-vlan-offload", "rx-vlan-stag-hw-parse")
    host.run(["ethtool", "-K", name, *(word for one in features for word in (one, state))])


def config(interface: str, *servers: str, **options: Any) -> dict[str, Any]:
    service = {
        "name": "echo",
        "address": VIP,
        "port": ECHO,
        "protocol": "udp",
        "backends": [{"address": SERVERS[server]} for server in servers],
    }
    return {
        "interface": interface,
        "source_address": OWN["plain"],
        "services": [service],
        **options,
    }


def works(lab: Lab, lb1: Balancer, network: str, *servers: str) -> None:
    """Packets come to the balancer by a network, and all servers answer."""
    router = lab.host("router")
    router.run(["ping", "-c1", "-W9", OWN[network]])
    router.ip([f"route replace {VIP}/32 via {OWN[network]}"])
    sent, dropped = lb1.counted()
    with Stream(lab.host("client"), (VIP, ECHO), flows=FLOWS, interval=0.2) as stream:
        stream.await_answers()
    found = {server for flow in range(FLOWS) for server in stream.servers(flow)}
    assert found == set(servers)
    now, dropped_now = lb1.counted()
    assert dropped_now == dropped
    assert now - sent == stream.numbers * FLOWS
    lost = {flow: (stream.servers(flow), stream.lost(flow)) for flow in range(FLOWS)}
    assert {flow: said for flow, said in lost.items() if said[1]} == {}, stream.numbers


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_frames_leave_with_the_tags_of_their_server_s_network(
    lab: Lab, vlans: Balancer, mode: str
) -> None:
    """By whichever network they came: untagged, in a VLAN, or in one inside another."""
    wanted = config("eth0", *SERVERS, mode=mode)
    assert "error" not in vlans.do("apply", wanted)
    assert vlans.do("apply", wanted)["steps"] == []
    for network in OWN:
        works(lab, vlans, network, *SERVERS)
    assert vlans.outdated() == []


def test_a_driver_that_takes_tags_off_is_warned_of(vlans: Balancer) -> None:
    wanted = config("eth0", *SERVERS)
    command = "ethtool -K eth0 rx-vlan-offload off"
    assert not any(command in warning for warning in vlans.do("plan", wanted)["warnings"])
    strip(vlans.host, "eth0", "on")
    assert any(command in warning for warning in vlans.do("plan", wanted)["warnings"])
    strip(vlans.host, "eth0", "off")


def test_a_route_moves_to_another_vlan(lab: Lab, vlans: Balancer) -> None:
    """A server moves to another network, and routing says so: within two seconds."""
    wanted = config("eth0", "web1")
    vlans.do("apply", wanted)
    works(lab, vlans, "red", "web1")
    router, address = lab.host("router"), SERVERS["web1"]
    router.ip(["link set web1 master blue", f"route add {address} dev blue"])
    lab.host("web1").ip(
        [
            f"route replace {SERVERS['web2']} dev eth0",
            "route replace 203.0.113.131 dev eth0",
            "neigh flush dev eth0",  # as with a cable that is plugged in elsewhere
        ]
    )
    vlans.host.ip([f"route add {address} dev eth0.200 src {OWN['blue']}"])
    try:
        vlans.host.run(["ping", "-c1", "-W5", address])
        time.sleep(FAILOVER)
        works(lab, vlans, "red", "web1")
        assert vlans.outdated() == []
    finally:
        vlans.host.ip([f"route delete {address} dev eth0.200"])
        router.ip(["link set web1 master red", f"route delete {address} dev blue"])
        lab.host("web1").ip(["neigh flush dev eth0"])  # else it asks for its router in blue first


def test_vlans_on_a_bridge_that_knows_them(lab: Lab, vlans: Balancer) -> None:
    """eth0 becomes a trunk port of a bridge that filters VLANs; addresses are on the bridge."""
    lb1 = vlans.host
    vlans.do("apply", None)
    lb1.ip([*without("eth0"), "address flush dev eth0"])
    lb1.ip(
        [
            "link add br0 type bridge vlan_filtering 1 mcast_snooping 0",
            "link set eth0 master br0",
            "link set br0 up",
            f"address add {OWN['plain']}/26 dev br0",
            "route add default via 203.0.113.1",
        ]
    )
    for device, own in (("eth0", ""), ("br0", "self")):
        for number in VLANS.values():
            lb1.run(["bridge", "vlan", "add", "dev", device, "vid", str(number), *own.split()])
    for network, number in VLANS.items():
        lb1.ip(
            [
                f"link add link br0 name br0.{number} type vlan id {number}",
                f"link set br0.{number} up",
                f"address add {OWN[network]}/26 dev br0.{number}",
            ]
        )
    try:
        servers = ("web0", "web1", "web2")
        assert "error" not in vlans.do("apply", config("eth0", *servers, mode="native"))
        for network in ("plain", "red"):
            works(lab, vlans, network, *servers)
        assert vlans.outdated() == []
    finally:
        vlans.do("apply", None)
        lb1.ip(["link set eth0 nomaster", "link delete br0"])
        lb1.ip([*trunk("eth0", masters=False), "route add default via 203.0.113.1"])


@pytest.fixture
def bond(lab: Lab) -> Iterator[Host]:
    """lb1 with a bond of both interfaces, and VLAN devices on it."""
    lb1 = lab.host("lb1")
    try:
        lb1.ip(["link add bond0 type bond mode active-backup miimon 100"])
    except LabError:
        pytest.skip("cannot run here: the kernel has no bonds")
    lb1.ip(
        [
            "link set eth0 down",
            "link set eth1 down",
            "link set eth0 master bond0",
            "link set eth1 master bond0",
            *trunk("bond0", masters=False),
            "route add default via 203.0.113.1",
        ]
    )
    lb1.ip(["link set bond0 type bond active_slave eth0"])
    lab.host("router").ip(["link set lb-b master plain", "link set lb-b up"])
    yield lb1
    lb1.ip(["link delete bond0", "link set eth0 up"])


@pytest.mark.parametrize("interface", ["eth0", "bond0"])
def test_bond(lab: Lab, bond: Host, interface: str) -> None:
    """The balanced interface is a part of it, or the bond itself."""
    for name in ("eth0", "eth1"):
        strip(bond, name, "off")
    lb1 = Balancer(bond, interface)
    try:
        assert "error" not in lb1.do("apply", config(interface, *SERVERS, mode="native"))
        for network in ("plain", "red"):
            works(lab, lb1, network, *SERVERS)
        assert lb1.outdated() == []
    finally:
        lb1.do("apply", None)


# Cards that tools/kernels connects.


def card(number: int) -> str:
    """The name of a virtio card by the last byte of its MAC address."""
    for path in Path("/sys/class/net").iterdir():
        if path.is_dir() and (path / "address").read_text().strip() == f"{CARD}:{number:02x}":
            return path.name
    pytest.skip("cannot run here: there are no virtio cards that belong to the tests")


def move(number: int, host: Host, name: str) -> None:
    """Put a card into a host."""
    command = f"ip link set {card(number)} netns {host.network} name {name}"
    subprocess.run(command.split(), check=True)
    host.ip([f"link set {name} up"])


@pytest.fixture(scope="module")
def cards(lab: Lab) -> Iterator[Balancer]:
    """lb1 with two cards to the router, and one whose driver takes no program, as its MTU is such
    that frames do not fit a page."""
    lb1, router = lab.host("lb1"), lab.host("router")
    networks = {0: "198.18.0", 2: "198.18.1", 4: "198.18.2"}
    card(0)
    for number, network in networks.items():
        move(number, lb1, f"card{number}")
        move(number + 1, router, f"far{number}")
        lb1.ip([f"address add {network}.2/24 dev card{number}"])
        router.ip([f"address add {network}.1/24 dev far{number}"])
    lb1.ip(["link set card4 mtu 9000", "route add default via 198.18.0.1"])
    router.ip([f"route replace {VIP}/32 via 198.18.0.2"])
    yield Balancer(lb1, "card0")
    for host, name in ((lb1, "card"), (router, "far")):
        host.ip([f"link set {name}{number} netns 1" for number in networks])


def given_programs(host: Host) -> list[str]:
    """The interfaces that have some."""
    lines = host.run(["ip", "-o", "link"]).stdout.splitlines()
    return [line.split()[1].partition("@")[0].rstrip(":") for line in lines if "prog/xdp" in line]


def test_a_card_that_takes_redirects_only_with_a_program(lab: Lab, cards: Balancer) -> None:
    lb1 = cards.host
    lb1.ip([f"route add {SERVERS['web1']} via 198.18.1.1"])
    wanted = config("card0", "web0", "web1", mode="native", source_address="198.18.0.2")
    step = "attach a program to card2 that passes everything"
    assert any(line.startswith(step) for line in cards.do("plan", wanted)["steps"])
    assert given_programs(lb1) == []
    outcome = cards.do("apply", wanted)
    assert any(line.startswith(step) for line in outcome["steps"])
    assert cards.do("apply", wanted)["steps"] == []
    assert set(given_programs(lb1)) == {"card0", "card2"}
    OWN["card"] = "198.18.0.2"
    works(lab, cards, "card", "web0", "web1")
    assert cards.outdated() == []
    lb1.ip([f"route delete {SERVERS['web1']}"])
    detached = "detach the program from card2 that passes everything"
    assert detached in cards.do("apply", wanted)["steps"]
    assert given_programs(lb1) == ["card0"]


def test_a_card_that_takes_no_program(cards: Balancer) -> None:
    """That shows only when one is attached: the run fails, and all is as it was."""
    lb1 = cards.host
    lb1.ip([f"route add {SERVERS['web1']} via 198.18.1.1"])
    lb1.ip([f"route add {SERVERS['web2']} via 198.18.2.1"])
    wanted = config("card0", "web0", mode="native", source_address="198.18.0.2")
    cards.do("apply", wanted)
    more = config("card0", "web0", "web1", "web2", mode="native", source_address="198.18.0.2")
    try:
        assert "card4" in cards.do("apply", more)["error"]
        assert given_programs(lb1) == ["card0"]
        assert len(cards.do("facts")["services"][0]["backends"]) == 1
    finally:
        lb1.ip([f"route delete {SERVERS[name]}" for name in ("web1", "web2")])


def test_two_balancers_that_redirect_to_each_other(lab: Lab, cards: Balancer) -> None:
    """Each card has a balancer. When one goes, the other still redirects to its card."""
    lb1 = cards.host
    lb1.ip([f"route add {SERVERS['web1']} via 198.18.1.1"])
    other = Balancer(lb1, "card2")
    wanted = config("card0", "web0", "web1", mode="native", source_address="198.18.0.2")
    try:
        cards.do("apply", wanted)
        mine = config("card2", "web0", "web1", mode="native", source_address="198.18.1.2")
        assert "error" not in other.do("apply", mine)
        assert other.do("facts")["mode"] == "native"
        works(lab, cards, "card", "web0", "web1")
        generic = config("card2", "web0", "web1", mode="generic", source_address="198.18.1.2")
        told = "packets of the balancer on card0 leave by card2, which takes them in mode"
        assert any(line.startswith(told) for line in other.do("plan", generic)["warnings"])
        assert "error" not in other.do("apply", None)
        assert set(given_programs(lb1)) == {"card0", "card2"}
        works(lab, cards, "card", "web0", "web1")
        assert "error" not in cards.do("apply", None)
        assert given_programs(lb1) == []
    finally:
        lb1.ip([f"route delete {SERVERS['web1']}"])
