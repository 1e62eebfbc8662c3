# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a forwarded frame goes: to a MAC address that was given, else by routes and neighbours."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any, NamedTuple

import pytest

from tests.packet.harness import GATEWAY_MAC, VIP, Balancer, Namespace, service
from tests.packet.model import Hop, Verdict
from tests.packet.packets import BALANCER_MAC, frame, mac, tcp

BACKEND_MAC = "52:54:00:00:00:0b"
OTHER_MAC = "52:54:00:00:00:0c"
PLAIN = {"address": "10.0.0.1"}
WITH_MAC = {"address": "10.0.0.1", "mac": BACKEND_MAC}


@pytest.mark.parametrize(
    ("backend", "options", "expected"),
    [
        pytest.param(PLAIN, {}, GATEWAY_MAC, id="the gateway's"),
        pytest.param(WITH_MAC, {}, BACKEND_MAC, id="the backend's before the gateway's"),
        pytest.param(WITH_MAC, {"gateway_mac": None}, BACKEND_MAC, id="the backend's alone"),
    ],
)
def test_given_mac(
    balancer: Balancer, backend: dict[str, Any], options: dict[str, Any], expected: str
) -> None:
    balancer.configure(service(backends=[backend]), **options)
    outcome = balancer.send(frame(tcp(), destination=VIP))
    assert outcome.verdict is Verdict.TX
    assert outcome.frame is not None
    assert outcome.frame[:12] == mac(expected) + mac(BALANCER_MAC)


def test_a_backend_may_have_another_mac_in_another_service(balancer: Balancer) -> None:
    balancer.configure(
        service("one", port=1, backends=[{"address": "10.0.0.1", "mac": BACKEND_MAC}]),
        service("two", port=2, backends=[{"address": "10.0.0.1", "mac": OTHER_MAC}]),
        service("three", port=3, backends=[{"address": "10.0.0.1"}]),
    )
    outcomes = balancer.send_all(frame(tcp(port=port), destination=VIP) for port in (1, 2, 3))
    destinations = [outcome.frame[:6] for outcome in outcomes if outcome.frame]
    assert destinations == [mac(BACKEND_MAC), mac(OTHER_MAC), mac(GATEWAY_MAC)]


def test_the_interface_s_mac_is_the_source(namespace: Namespace) -> None:
    balancer = Balancer(namespace, mac_address="02:a1:b2:c3:d4:e5")
    balancer.configure(service())
    outcome = balancer.send(frame(tcp(), destination=VIP))
    assert outcome.frame is not None
    assert outcome.frame[6:12] == mac("02:a1:b2:c3:d4:e5")


INGRESS_MAC, FIRST_MAC, SECOND_MAC = "02:00:00:00:00:01", "02:00:00:00:01:01", "02:00:00:00:02:01"

# A test run has its frames come in by the loopback interface.
NETWORK = f"""
    link set lo address {INGRESS_MAC}
    link set lo up
    link add first address {FIRST_MAC} type veth peer name first-peer
    link add second address {SECOND_MAC} type veth peer name second-peer
    link set first up
    link set first-peer up
    link set second up
    link set second-peer up
    address add 198.18.0.1/24 dev first
    address add 198.18.1.1/24 dev second
    route add 203.0.113.0/24 via 198.18.0.254
    route add 203.0.113.128/25 via 198.18.1.254
    route add 203.0.113.7/32 via 198.18.0.253
    route add unreachable 203.0.113.64/32
    route add blackhole 203.0.113.65/32
    route add prohibit 203.0.113.66/32
    route add 198.51.100.200/32 dev lo
    neighbour add 198.18.0.11 lladdr 52:54:00:01:00:0b dev first nud permanent
    neighbour add 198.18.0.12 lladdr 52:54:00:01:00:0c dev first nud stale
    neighbour add 198.18.0.254 lladdr 52:54:00:01:00:fe dev first nud permanent
    neighbour add 198.18.1.11 lladdr 52:54:00:02:00:0b dev second nud permanent
    neighbour add 198.18.1.254 lladdr 52:54:00:02:00:fe dev second nud permanent
    neighbour add 198.51.100.200 lladdr 52:54:00:00:00:c8 dev lo nud permanent
"""


class Route(NamedTuple):
    """A backend in NETWORK and where frames to it go: neighbour and interface, or why nowhere."""

    backend: str
    neighbour_mac: str = ""
    interface_mac: str = ""
    reason: str = ""


ROUTES = {
    "on the first link": Route("198.18.0.11", "52:54:00:01:00:0b", FIRST_MAC),
    "on the second link": Route("198.18.1.11", "52:54:00:02:00:0b", SECOND_MAC),
    "a neighbour not heard of lately": Route("198.18.0.12", "52:54:00:01:00:0c", FIRST_MAC),
    "behind a router": Route("203.0.113.9", "52:54:00:01:00:fe", FIRST_MAC),
    "behind another by the longer prefix": Route("203.0.113.129", "52:54:00:02:00:fe", SECOND_MAC),
    "behind the ingress interface": Route("198.51.100.200", "52:54:00:00:00:c8", INGRESS_MAC),
    "no such neighbour": Route("198.18.0.99", reason="no_neighbour"),
    "no such router": Route("203.0.113.7", reason="no_neighbour"),
    "no route": Route("198.51.100.9", reason="no_route"),
    "unreachable": Route("203.0.113.64", reason="no_route"),
    "blackhole": Route("203.0.113.65", reason="no_route"),
    "prohibited": Route("203.0.113.66", reason="no_route"),
}


@pytest.fixture(scope="module")
def routed(routed_namespace: Namespace) -> Balancer:
    """A balancer in NETWORK."""
    for command in NETWORK.split("\n"):
        if command.strip():
            routed_namespace.ip(command)
    routed_namespace.write("net/ipv4/ip_forward", "1")
    fib: dict[IPv4Address, Hop | str] = {
        IPv4Address(route.backend): route.reason
        or Hop(
            mac(route.neighbour_mac),
            mac(route.interface_mac),
            same_interface=route.interface_mac == INGRESS_MAC,
        )
        for route in ROUTES.values()
    }
    return Balancer(routed_namespace, fib=fib)


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_route(routed: Balancer, route: Route) -> None:
    """More than one frame: an answer of the kernel's may be kept for the next."""
    routed.configure(service(backends=[{"address": route.backend}]))
    outcomes = routed.send_all([frame(tcp(), destination=VIP)] * 5)
    if route.reason:
        expected = Verdict.DROP
    else:
        expected = Verdict.TX if route.interface_mac == INGRESS_MAC else Verdict.REDIRECT
    assert {outcome.verdict for outcome in outcomes} == {expected}
    assert routed.counted() == routed.model.statistics
    assert routed.counted().drops == ({route.reason: 5} if route.reason else {})


def test_routes_and_given_macs_side_by_side(routed: Balancer) -> None:
    """Every backend its own way, however frames to them follow each other."""
    routed.configure(
        service(
            backends=[
                *({"address": route.backend} for route in ROUTES.values()),
                {"address": "198.51.100.10", "mac": BACKEND_MAC},
                {"address": "198.18.0.13", "mac": OTHER_MAC},
            ]
        )
    )
    outcomes = routed.send_all(
        frame(tcp(source_port=port), destination=VIP) for port in range(2000)
    )
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX, Verdict.REDIRECT, Verdict.DROP}
    assert routed.counted() == routed.model.statistics
    assert set(routed.counted().drops) == {"no_route", "no_neighbour"}


def test_a_gateway_s_mac_makes_routes_needless(routed: Balancer) -> None:
    routed.configure(service(backends=[{"address": "198.51.100.9"}]), gateway_mac=GATEWAY_MAC)
    assert routed.send(frame(tcp(), destination=VIP)).verdict is Verdict.TX


def test_without_forwarding(namespace: Namespace) -> None:
    """The kernel tells no routes then: that has a reason of its own, for its remedy is another."""
    namespace.ip("link set lo up")
    namespace.write("net/ipv4/ip_forward", "0")
    balancer = Balancer(namespace, fib={IPv4Address("10.0.0.1"): "forwarding_off"})
    balancer.configure(service())
    assert balancer.send(frame(tcp(), destination=VIP)).verdict is Verdict.DROP
    assert balancer.counted().drops == {"forwarding_off": 1}
