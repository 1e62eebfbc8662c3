# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How frames leave by the interface that a route names: by which one below it, and with which tags.
Here that is written by hand, as this needs no VLAN devices, bonds and bridges.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.egress_record import (
    Egress,
    EgressKey,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Receivers

from tests.packet.harness import VIPS, Balancer, Namespace, service
from tests.packet.model import Address, Hop, Host, Outcome, Verdict
from tests.packet.packets import frame, mac, tcp

OWN_MAC, SERVER_MAC, OTHER_MAC = "52:54:00:01:00:01", "52:54:00:01:00:0b", "52:54:00:01:00:0c"
SERVERS = {4: "198.18.0.11", 6: "2001:db8:18::11"}
OTHERS = {4: "198.18.0.12", 6: "2001:db8:18::12"}
MTU = 1500
INTERFACES = ("named", "below", "beside")
NETWORK = f"""
    link set lo up
    {
    "".join(
        f'''
    link add {name} type veth peer name {name}-peer
    link set {name} up
    link set {name}-peer up
    '''
        for name in INTERFACES
    )
}
    link set named address {OWN_MAC}
    address add 198.18.0.1/24 dev named
    address add 2001:db8:18::1/64 dev named nodad
    {
    "".join(
        f'''
    neighbour add {server} lladdr {mac_} dev named nud permanent
    '''
        for servers, mac_ in ((SERVERS, SERVER_MAC), (OTHERS, OTHER_MAC))
        for server in servers.values()
    )
}
"""
CUSTOMER, PROVIDER = 0x8100, 0x88A8
TAGS: dict[str, list[tuple[int, int]]] = {
    "none": [],
    "one": [(CUSTOMER, 100)],
    "two": [(PROVIDER, 200), (CUSTOMER, 100)],
}
"""As frames come, or leave."""
CAME_WITH: list[Sequence[int | tuple[int, int]]] = [
    *TAGS.values(),
    [0],
    [0x2000],
    [0, 100],
    [100, 200],
]


@pytest.fixture(scope="module")
def network(routed_namespace: Namespace) -> Namespace:
    """NETWORK."""
    for command in filter(str.strip, NETWORK.split("\n")):
        routed_namespace.ip(command)
    routed_namespace.write("net/ipv4/ip_forward", "1")
    routed_namespace.write("net/ipv6/conf/all/forwarding", "1")
    return routed_namespace


def index(network: Namespace, name: str) -> int:
    return network.call(socket.if_nametoindex, name)


def hop(
    mac_: str = SERVER_MAC, *, transmits: bool = False, mtu: int = MTU, tags: str = "none"
) -> Hop:
    return Hop(mac(mac_), mac(OWN_MAC), same_interface=transmits, mtu=mtu, tags=TAGS[tags])


@pytest.fixture(scope="module")
def versatile(network: Namespace) -> Balancer:
    """A balancer with every feature; its routes and egresses are for a test to set."""
    return Balancer(network, every_feature=True, flags=["-DFILL_HEADROOM"])


def set_up(
    balancer: Balancer, fib: dict[str, Hop | str], egresses: dict[EgressKey, Egress]
) -> None:
    """Nothing is remembered from before."""
    balancer.fib = {ip_address(address): one for address, one in fib.items()}
    balancer.egresses = egresses
    balancer.configure(service(backends=[]))


WAYS = [
    (inner, outer, encapsulation)
    for inner, outer in itertools.product((4, 6), (4, 6))
    for encapsulation in ("ipip", "gue", "gre", "l2")
]


@pytest.mark.parametrize("target", ["", "named", "below"], ids=["transmit", "itself", "redirect"])
@pytest.mark.parametrize("leaves_with", TAGS)
def test_a_frame_leaves_with_the_tags_of_its_egress(
    versatile: Balancer, leaves_with: str, target: str
) -> None:
    """Whatever it came with."""
    network = versatile.namespace
    tags = tuple(TAGS[leaves_with])
    below = index(network, target) if target else 0
    there = hop(transmits=not target, tags=leaves_with)
    set_up(
        versatile,
        {SERVERS[4]: there, SERVERS[6]: there},
        {(index(network, "named"), ""): Egress(below, tags)},
    )
    versatile.configure(
        *(
            service(
                f"{inner} in {outer} by {encapsulation}",
                address=VIPS[inner],
                port=port,
                encapsulation=encapsulation,
                backends=[{"address": SERVERS[outer]}],
            )
            for port, (inner, outer, encapsulation) in enumerate(WAYS, 1)
        )
    )
    outcomes = versatile.send_all(
        frame(tcp(port=port, data=bytes(size)), destination=VIPS[inner], tags=came_with)
        for port, (inner, _outer, _encapsulation) in enumerate(WAYS, 1)
        for came_with in CAME_WITH
        for size in (0, 300)
    )
    assert {outcome.verdict for outcome in outcomes} == {Verdict.REDIRECT if target else Verdict.TX}
    shims = b"".join(kind.to_bytes(2, "big") + tag.to_bytes(2, "big") for kind, tag in tags)
    for outcome in outcomes:
        assert outcome.frame is not None
        assert outcome.frame[12 : 12 + len(shims)] == shims
        assert outcome.frame[12 + len(shims) :][:2] in (b"\x08\x00", b"\x86\xdd")
    versatile.check()


@pytest.mark.parametrize("came_with", TAGS)
def test_with_a_given_mac_a_frame_keeps_the_tags_that_it_came_with(
    versatile: Balancer, came_with: str
) -> None:
    """Even where the same backend is routed for another service."""
    network = versatile.namespace
    set_up(
        versatile,
        {SERVERS[4]: hop(transmits=True, tags="two")},
        {(index(network, "named"), ""): Egress(0, tuple(TAGS["two"]))},
    )
    given = {"address": SERVERS[4], "mac": OTHER_MAC}
    routed = {"address": SERVERS[4]}
    tags = TAGS[came_with]
    for backend in (routed, given, routed):  # of one number
        versatile.configure(service(backends=[backend]))
        outcome = versatile.send(frame(tcp(), destination=VIPS[4], tags=tags))
        assert outcome.verdict is Verdict.TX
        versatile.check()


def test_an_interface_that_was_not_settled(versatile: Balancer) -> None:
    """As one that appeared later: nobody knows whether it would take frames."""
    network = versatile.namespace
    set_up(
        versatile,
        {SERVERS[4]: "no_egress"},
        {(index(network, "below"), ""): Egress(), (index(network, "named"), OTHER_MAC): Egress()},
    )
    versatile.configure(service(backends=[{"address": SERVERS[4]}]))
    for _second in range(2):
        outcomes = versatile.send_all([frame(tcp(), destination=VIPS[4])] * 3)
        assert outcomes == [Outcome(Verdict.DROP, None)] * 3
        time.sleep(1.1)
    assert versatile.check().drops == {"no_egress": 6}


@pytest.mark.parametrize("version", [4, 6])
def test_frames_of_a_vlan_that_the_host_is_not_in(network: Namespace, version: int) -> None:
    """They are others', unless a MAC address is given, which needs no device."""
    balancer = Balancer(
        network,
        fib={ip_address(SERVERS[version]): hop(transmits=True)},
        egresses={(index(network, "named"), ""): Egress()},
        host=Host(vlans=frozenset({100})),
        receivers=Receivers(by_vlan={0: 1, 100: index(network, "below")}),
    )
    balancer.configure(
        service("routed", address=VIPS[version], port=1, backends=[{"address": SERVERS[version]}]),
        service(
            "given",
            address=VIPS[version],
            port=2,
            backends=[{"address": "192.0.2.9", "mac": OTHER_MAC}],
        ),
    )

    def verdicts(*tags: int | tuple[int, int]) -> list[Verdict]:
        frames = [frame(tcp(port=port), destination=VIPS[version], tags=tags) for port in (1, 2)]
        return [outcome.verdict for outcome in balancer.send_all(frames)]

    for known in ((), (0,), (0x2000,), (100,), (100, 200), (0x6064,)):
        assert verdicts(*known) == [Verdict.TX, Verdict.TX]
    for unknown in ((200,), (200, 100), ((PROVIDER, 200), (CUSTOMER, 100))):
        assert verdicts(*unknown) == [Verdict.PASS, Verdict.TX]
    balancer.check()


def test_the_next_hop_decides_where_it_matters(versatile: Balancer) -> None:
    """As for a bridge: each is behind a port of its own, and all others behind one."""
    network = versatile.namespace
    named, below, beside = (index(network, name) for name in INTERFACES)
    set_up(
        versatile,
        {SERVERS[4]: hop(tags="one"), OTHERS[4]: hop(OTHER_MAC, transmits=True)},
        {
            (named, SERVER_MAC): Egress(beside, tuple(TAGS["one"])),
            (named, ""): Egress(),
            (below, SERVER_MAC): Egress(below),
        },
    )
    versatile.configure(
        service("server", port=1, backends=[{"address": SERVERS[4]}]),
        service("other", port=2, backends=[{"address": OTHERS[4]}]),
    )
    outcomes = versatile.send_all(frame(tcp(port=port), destination=VIPS[4]) for port in (1, 2, 1))
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.REDIRECT,
        Verdict.TX,
        Verdict.REDIRECT,
    ]
    versatile.check()


def test_an_interface_below_that_goes(network: Namespace) -> None:
    """Then the next hop is looked for where all others are; if that goes too, it has none."""
    network.ip("link add short type veth peer name lived")
    network.ip("link set short up")
    named, beside = index(network, "named"), index(network, "beside")
    short = index(network, "short")
    address = ip_address(SERVERS[4])
    fib: dict[Address, Hop | str] = {address: hop(tags="one")}
    egresses = {
        (named, SERVER_MAC): Egress(short, tuple(TAGS["one"])),
        (named, ""): Egress(beside),
    }
    balancer = Balancer(network, fib=fib, egresses=egresses)
    balancer.configure(service(backends=[{"address": SERVERS[4]}]))
    sent = frame(tcp(), destination=VIPS[4], tags=[7])
    assert balancer.send(sent).verdict is Verdict.REDIRECT
    network.ip("link delete short")
    time.sleep(1.1)
    fib[address] = hop()
    assert balancer.send(sent).verdict is Verdict.REDIRECT
    network.ip("link delete beside")
    time.sleep(1.1)
    fib[address] = "no_egress"
    assert balancer.send(sent).verdict is Verdict.DROP
    assert balancer.check().drops == {"no_egress": 1}
    network.ip("link add beside type veth peer name beside-peer")


@pytest.mark.parametrize(
    ("named", "below", "tags", "most"),
    [
        (1500, 1500, "none", 1500),
        (1400, 1500, "none", 1400),
        (1500, 1400, "none", 1400),
        (1500, 1500, "one", 1500),
        (1500, 1500, "two", 1496),  # the kernel leaves room for one tag
        (1496, 1500, "two", 1496),
    ],
)
def test_the_mtu_is_that_of_both_interfaces(
    versatile: Balancer, named: int, below: int, tags: str, most: int
) -> None:
    network = versatile.namespace
    set_up(
        versatile,
        {SERVERS[4]: hop(mtu=most, tags=tags)},
        {(index(network, "named"), ""): Egress(index(network, "below"), tuple(TAGS[tags]))},
    )
    network.ip(f"link set named mtu {named}")
    network.ip(f"link set below mtu {below}")
    try:
        versatile.configure(service(port=1, backends=[{"address": SERVERS[4]}]))
        for length, verdict in ((most - 20, Verdict.REDIRECT), (most - 19, Verdict.TX)):
            sent = frame(tcp(port=1, data=bytes(length - 40)), destination=VIPS[4], tags=[5, 6])
            assert versatile.send(sent).verdict is verdict
        assert versatile.check().answers == {"packet_too_big": 1}
    finally:
        network.ip(f"link set named mtu {MTU}")
        network.ip(f"link set below mtu {MTU}")
