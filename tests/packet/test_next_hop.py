# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a forwarded frame goes: to a MAC address that was given, else by routes and neighbours."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, NamedTuple

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.egress_record import Egress
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.routes import routes

from tests.packet.harness import GATEWAY_MAC, VIP, VIPS, Balancer, Namespace, service
from tests.packet.model import Address, Fib, Hop, Outcome, Verdict
from tests.packet.packets import BALANCER_MAC, ROUTER_MAC, frame, mac, tcp, too_big, udp

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
    own = "02:a1:b2:c3:d4:e5"
    balancer = Balancer(namespace, mac_address=own)
    balancer.configure(service())
    outcome = balancer.send(frame(tcp(), destination=VIP, macs=(own, ROUTER_MAC)))
    assert outcome.frame is not None
    assert outcome.frame[6:12] == mac(own)


INGRESS_MAC, FIRST_MAC, SECOND_MAC = "02:00:00:00:00:01", "02:00:00:00:01:01", "02:00:00:00:02:01"
INGRESS_MTU, FIRST_MTU, SECOND_MTU, ROUTE_MTU = 65536, 1500, 1400, 1340

# A test run has its frames come in by the loopback interface.
NETWORK = f"""
    link set lo address {INGRESS_MAC}
    link set lo up
    link add first address {FIRST_MAC} type veth peer name first-peer
    link add second address {SECOND_MAC} mtu {SECOND_MTU} type veth peer name second-peer
    link set first up
    link set first-peer up
    link set second up
    link set second-peer up
    address add 198.18.0.1/24 dev first
    address add 198.18.1.1/24 dev second
    route add 203.0.113.0/24 via 198.18.0.254
    route add 203.0.113.128/25 via 198.18.1.254
    route add 203.0.113.7/32 via 198.18.0.253
    route add 203.0.113.8/32 via 198.18.0.254 mtu lock {ROUTE_MTU}
    route add 203.0.113.10/32 via 198.18.0.254 mtu {ROUTE_MTU}
    route add 203.0.113.11/32 via 198.18.0.254 mtu 9000
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
    address add 2001:db8:18::1/64 dev first nodad
    address add 2001:db8:19::1/64 dev second nodad
    route add 2001:db8:71::/48 via 2001:db8:18::fe
    route add 2001:db8:71:8000::/49 via 2001:db8:19::fe
    route add 2001:db8:71::7/128 via 2001:db8:18::fd
    route add 2001:db8:71::8/128 via 2001:db8:18::fe mtu lock {ROUTE_MTU}
    route add 2001:db8:71::a/128 via 2001:db8:18::fe mtu {ROUTE_MTU}
    route add unreachable 2001:db8:71::40/128
    route add blackhole 2001:db8:71::41/128
    route add prohibit 2001:db8:71::42/128
    neighbour add 2001:db8:18::11 lladdr 52:54:00:01:06:0b dev first nud permanent
    neighbour add 2001:db8:18::12 lladdr 52:54:00:01:06:0c dev first nud stale
    neighbour add 2001:db8:18::fe lladdr 52:54:00:01:06:fe dev first nud permanent
    neighbour add 2001:db8:19::11 lladdr 52:54:00:02:06:0b dev second nud permanent
    neighbour add 2001:db8:19::fe lladdr 52:54:00:02:06:fe dev second nud permanent
"""


class Route(NamedTuple):
    """A backend in NETWORK and where frames to it go: neighbour and interface, or why nowhere."""

    backend: str
    neighbour_mac: str = ""
    interface_mac: str = ""
    mtu: int = 0
    on_link: bool = True
    route_mtu: int = 0
    reason: str = ""

    @property
    def version(self) -> int:
        return ip_address(self.backend).version

    @property
    def hop(self) -> Hop | str:
        """As the model wants it."""
        return self.reason or Hop(
            mac(self.neighbour_mac),
            mac(self.interface_mac),
            same_interface=self.interface_mac == INGRESS_MAC,
            mtu=self.mtu,
            route_mtu=self.route_mtu,
            on_link=self.on_link,
        )


def no(backend: str, reason: str) -> Route:
    return Route(backend, reason=reason)


ROUTES = {
    "on the first link": Route("198.18.0.11", "52:54:00:01:00:0b", FIRST_MAC, FIRST_MTU),
    "on the second link": Route("198.18.1.11", "52:54:00:02:00:0b", SECOND_MAC, SECOND_MTU),
    "a neighbour not heard of lately": Route(
        "198.18.0.12", "52:54:00:01:00:0c", FIRST_MAC, FIRST_MTU
    ),
    "behind a router": Route("203.0.113.9", "52:54:00:01:00:fe", FIRST_MAC, FIRST_MTU, False),
    "behind another by the longer prefix": Route(
        "203.0.113.129", "52:54:00:02:00:fe", SECOND_MAC, SECOND_MTU, False
    ),
    "a route with an MTU": Route(
        "203.0.113.8", "52:54:00:01:00:fe", FIRST_MAC, FIRST_MTU, False, ROUTE_MTU
    ),
    "a route with an MTU that is not locked": Route(
        "203.0.113.10", "52:54:00:01:00:fe", FIRST_MAC, FIRST_MTU, False, ROUTE_MTU
    ),
    "a route with an MTU that the interface has not": Route(
        "203.0.113.11", "52:54:00:01:00:fe", FIRST_MAC, FIRST_MTU, False, 9000
    ),
    "behind the ingress interface": Route(
        "198.51.100.200", "52:54:00:00:00:c8", INGRESS_MAC, INGRESS_MTU
    ),
    "no such neighbour": no("198.18.0.99", "no_neighbour"),
    "no such router": no("203.0.113.7", "no_neighbour"),
    "no route": no("198.51.100.9", "no_route"),
    "unreachable": no("203.0.113.64", "no_route"),
    "blackhole": no("203.0.113.65", "no_route"),
    "prohibited": no("203.0.113.66", "no_route"),
    "IPv6 on the first link": Route("2001:db8:18::11", "52:54:00:01:06:0b", FIRST_MAC, FIRST_MTU),
    "IPv6 on the second link": Route(
        "2001:db8:19::11", "52:54:00:02:06:0b", SECOND_MAC, SECOND_MTU
    ),
    "an IPv6 neighbour not heard of lately": Route(
        "2001:db8:18::12", "52:54:00:01:06:0c", FIRST_MAC, FIRST_MTU
    ),
    "behind an IPv6 router": Route(
        "2001:db8:71::9", "52:54:00:01:06:fe", FIRST_MAC, FIRST_MTU, False
    ),
    "behind another IPv6 router": Route(
        "2001:db8:71:8000::9", "52:54:00:02:06:fe", SECOND_MAC, SECOND_MTU, False
    ),
    "an IPv6 route with an MTU": Route(
        "2001:db8:71::8", "52:54:00:01:06:fe", FIRST_MAC, FIRST_MTU, False, ROUTE_MTU
    ),
    "an IPv6 route with an MTU that is not locked": Route(
        "2001:db8:71::a", "52:54:00:01:06:fe", FIRST_MAC, FIRST_MTU, False, ROUTE_MTU
    ),
    "no such IPv6 neighbour": no("2001:db8:18::99", "no_neighbour"),
    "no such IPv6 router": no("2001:db8:71::7", "no_neighbour"),
    "no IPv6 route": no("2001:db8:99::9", "no_route"),
    "unreachable by IPv6": no("2001:db8:71::40", "no_route"),
    "blackhole of IPv6": no("2001:db8:71::41", "no_route"),
    "prohibited by IPv6": no("2001:db8:71::42", "no_route"),
}


@pytest.fixture(scope="module")
def network(routed_namespace: Namespace) -> Namespace:
    """NETWORK."""
    for command in NETWORK.split("\n"):
        if command.strip():
            routed_namespace.ip(command)
    for version in (4, 6):  # in a slow run the kernel would forget who is silent
        routed_namespace.write(f"net/ipv{version}/neigh/first/gc_stale_time", "86400")
    routed_namespace.write("net/ipv4/ip_forward", "1")
    routed_namespace.write("net/ipv6/conf/all/forwarding", "1")
    return routed_namespace


FIB: dict[Address, Hop | str] = {ip_address(route.backend): route.hop for route in ROUTES.values()}


def interface(network: Namespace, name: str) -> int:
    """Its index."""
    return network.call(socket.if_nametoindex, name)


def balancer_in(network: Namespace, fib: Fib, **options: Any) -> Balancer:
    """A balancer in NETWORK: frames leave by each interface as it is."""
    first, second = interface(network, "first"), interface(network, "second")
    egresses = {
        (interface(network, "lo"), ""): Egress(),
        (first, ""): Egress(first),
        (second, ""): Egress(second),
    }
    return Balancer(network, fib=fib, **{"egresses": egresses, **options})


@pytest.fixture(scope="module")
def routed(network: Namespace) -> Balancer:
    """A balancer in NETWORK."""
    return balancer_in(network, FIB)


def verdicts(outcomes: list[Outcome]) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]


@pytest.mark.parametrize(
    ("encapsulation", "inner"),
    [("ipip", 4), ("ipip", 6), ("gue", 4), ("gre", 6), ("l2", 4), ("l2", 6)],
)
@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_route(routed: Balancer, route: Route, encapsulation: str, inner: int) -> None:
    """More than one frame: an answer of the kernel's may be kept for the next."""
    routed.configure(
        service(
            address=VIPS[inner], encapsulation=encapsulation, backends=[{"address": route.backend}]
        )
    )
    outcomes = routed.send_all([frame(tcp(), destination=VIPS[inner])] * 5)
    reason = route.reason
    if encapsulation == "l2" and not route.on_link:
        reason = "no_route"
    drops = routed.check().drops
    assert drops == ({reason: 5} if reason else {})
    if reason == "no_neighbour":
        assert outcomes[0].verdict is Verdict.PASS
        assert Verdict.DROP in verdicts(outcomes[1:])
    elif reason:
        assert verdicts(outcomes) == [Verdict.DROP] * 5
    else:
        local = route.interface_mac == INGRESS_MAC
        assert verdicts(outcomes) == [Verdict.TX if local else Verdict.REDIRECT] * 5


@pytest.mark.parametrize("tags", [[], [3], [3, 4]], ids=["plain", "tag", "two tags"])
@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("backend", ["198.18.0.99", "2001:db8:18::99"])
def test_what_an_unresolved_neighbour_makes_of_a_packet(
    routed: Balancer, backend: str, inner: int, tags: list[int]
) -> None:
    """A ping that the kernel must resolve it for; long packets and short ones do."""
    for segment in (udp(), udp(data=bytes(1000))):
        routed.configure(
            service(
                address=VIPS[inner], protocol="udp", port=53, backends=[{"address": "10.0.0.1"}]
            )
        )
        routed.configure(
            service(address=VIPS[inner], protocol="udp", port=53, backends=[{"address": backend}])
        )
        outcome = routed.send(frame(segment, destination=VIPS[inner], tags=tags))
        assert outcome.verdict is Verdict.PASS
        assert routed.check().drops == {"no_neighbour": 1}


@pytest.mark.parametrize("backend", ["198.18.0.99", "2001:db8:18::99"])
def test_a_neighbour_is_asked_for_by_the_source_of_the_tunnel(
    network: Namespace, backend: str
) -> None:
    """Whatever address the interface has: the answer takes the way that packets would."""
    balancer = balancer_in(network, FIB, own=(None, None))
    balancer.configure(
        service(backends=[{"address": backend}]),
        source_address="198.18.0.1",
        source_address6="2001:db8:18::1",
    )
    outcomes = balancer.send_all([frame(tcp(), destination=VIP)] * 3)
    assert verdicts(outcomes) == [Verdict.PASS, Verdict.DROP, Verdict.DROP]
    assert balancer.check().drops == {"no_neighbour": 3}


@pytest.mark.parametrize("backend", ["198.18.0.99", "2001:db8:18::99"])
def test_a_host_without_address_asks_nobody(network: Namespace, backend: str) -> None:
    """As may be where nothing is encapsulated."""
    balancer = balancer_in(network, FIB, own=(None, None))
    balancer.configure(service(encapsulation="l2", backends=[{"address": backend}]))
    outcomes = balancer.send_all([frame(tcp(), destination=VIP)] * 3)
    assert verdicts(outcomes) == [Verdict.DROP] * 3
    assert balancer.check().drops == {"no_neighbour": 3}


POLICY = {4: ip_address("203.0.115.1"), 6: ip_address("2001:db8:75::1")}
"""Behind the first link, but for packets that a rule takes to table 7: behind the second."""
POLICY_NETWORK = f"""
    -4 route add {POLICY[4]} via 198.18.0.254
    -4 route add {POLICY[4]} via 198.18.1.254 table 7
    -6 route add {POLICY[6]} via 2001:db8:18::fe
    -6 route add {POLICY[6]} via 2001:db8:19::fe table 7
"""


@pytest.fixture(scope="module")
def policy(network: Namespace) -> Namespace:
    """NETWORK with POLICY_NETWORK."""
    for command in filter(str.strip, POLICY_NETWORK.split("\n")):
        network.ip(command)
    return network


@contextlib.contextmanager
def ruled(policy: Namespace, version: int, rule: str) -> Iterator[None]:
    """With one more rule for a while."""
    policy.ip(f"-{version} rule add {rule}")
    try:
        yield
    finally:
        policy.ip(f"-{version} rule delete {rule}")


@pytest.mark.parametrize(
    ("selectors", "followed"),
    [
        pytest.param(("from 198.18.1.1", "from 2001:db8:19::1"), True, id="the tunnel's source"),
        pytest.param(
            ("from 198.18.1.1 iif lo", "from 2001:db8:19::1 iif lo"), True, id="the host's own"
        ),
        pytest.param(("from 192.0.2.2", "from 2001:db8::2"), False, id="the interface's address"),
        pytest.param(("tos 0x10", "tos 0x10"), False, id="the TOS of a packet"),
        pytest.param(("ipproto 4", "ipproto 4"), False, id="the protocol of the tunnel"),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_rules(policy: Namespace, version: int, selectors: tuple[str, str], followed: bool) -> None:
    """The source of the tunnel decides, as for all that the host itself sends; nothing that a
    packet brings does, for the answer is every packet's."""
    hop = by_second if followed else by_first
    kind = "00" if version == 4 else "06"
    link = "02" if followed else "01"
    fib: dict[Address, Hop | str] = {POLICY[version]: hop(f"52:54:00:{link}:{kind}:fe")}
    rule = f"{selectors[version == 6]} table 7"
    with ruled(policy, version, rule):
        balancer = balancer_in(policy, fib)
        balancer.configure(
            service(backends=[{"address": str(POLICY[version])}]),
            source_address="198.18.1.1",
            source_address6="2001:db8:19::1",
        )
        outcome = balancer.send(frame(tcp(), destination=VIP, tos=0x10))
        assert outcome.verdict is Verdict.REDIRECT
        balancer.check()


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(route, id=name)
        for name, route in ROUTES.items()
        if route.mtu and route.mtu < INGRESS_MTU
    ],
)
@pytest.mark.parametrize("inner", [4, 6])
def test_mtu_of_a_route(routed: Balancer, route: Route, inner: int) -> None:
    """The answer names what the client may use; the ingress interface's MTU is another matter."""
    routed.configure(service(address=VIPS[inner], backends=[{"address": route.backend}]), mtu=576)
    outer = {4: 20, 6: 40}[route.version]
    header = {4: 20, 6: 40}[inner] + 20
    mtu = min(route.mtu, route.route_mtu or route.mtu)
    for length, sent in ((mtu - outer, True), (mtu - outer + 1, False)):
        outcome = routed.send(frame(tcp(data=bytes(length - header)), destination=VIPS[inner]))
        assert outcome.verdict is (Verdict.REDIRECT if sent else Verdict.TX)
    assert routed.check().answers == {"packet_too_big": 1}


def test_the_mtu_is_right_at_once_after_a_change_of_encapsulation(network: Namespace) -> None:
    """The next hop is remembered from before: one program has all encapsulations."""
    routed = balancer_in(network, FIB, every_feature=True)
    for encapsulation, outer in (("ipip", 20), ("gue", 28), ("gre", 24)):
        web = service(encapsulation=encapsulation, backends=[{"address": "203.0.113.8"}])
        routed.configure(web, mtu=576)
        for length, verdict in ((ROUTE_MTU, Verdict.REDIRECT), (ROUTE_MTU + 1, Verdict.TX)):
            data = bytes(length - outer - 40)
            assert routed.send(frame(tcp(data=data), destination=VIP)).verdict is verdict
        assert routed.check().answers == {"packet_too_big": 1}


@pytest.mark.parametrize(
    ("own", "backend", "claimed", "route"),
    [
        ("198.18.0.1", "203.0.113.9", 576, "behind a router"),
        ("198.18.0.1", "198.18.0.11", 576, "on the first link"),
        ("198.18.0.1", "203.0.113.10", 576, "a route with an MTU that is not locked"),
        ("2001:db8:18::1", "2001:db8:71::9", 1280, "behind an IPv6 router"),
        ("2001:db8:18::1", "2001:db8:18::11", 1280, "IPv6 on the first link"),
        ("2001:db8:18::1", "2001:db8:71::a", 1280, "an IPv6 route with an MTU that is not locked"),
    ],
)
def test_what_icmp_errors_claim_is_not_believed(
    routed: Balancer, own: str, backend: str, claimed: int, route: str
) -> None:
    """The kernel does, and would tell it. Anyone can send them."""
    namespace = routed.namespace
    forged = too_big(claimed, own=own, backend=backend, ethernet_destination=FIRST_MAC)
    namespace.call(send_raw, "first-peer", forged)
    deadline = time.monotonic() + 10
    while f"mtu {claimed}" not in namespace.output(f"ip route get {backend}"):
        assert time.monotonic() < deadline
    mtu = min(ROUTES[route].mtu, ROUTES[route].route_mtu or 65535)
    outer = {4: 20, 6: 40}[ROUTES[route].version]
    routed.configure(service(backends=[{"address": backend}]))
    for length, verdict in ((mtu - outer, Verdict.REDIRECT), (mtu - outer + 1, Verdict.TX)):
        sent = frame(tcp(data=bytes(length - 40)), destination=VIP)
        assert routed.send(sent).verdict is verdict
    namespace.ip(f"-{ROUTES[route].version} route flush cache")


def send_raw(interface: str, sent: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        raw.send(sent)


def test_the_interface_s_mtu_is_followed(network: Namespace) -> None:
    """Within a second: the kernel is asked again."""
    hop = by_first("52:54:00:01:00:fe")
    fib: dict[Address, Hop | str] = {ip_address("203.0.113.9"): hop}
    balancer = balancer_in(network, fib)
    balancer.configure(service(backends=[{"address": "203.0.113.9"}]))
    try:
        for mtu in (FIRST_MTU, 1400, FIRST_MTU):
            network.ip(f"link set first mtu {mtu}")
            fib[ip_address("203.0.113.9")] = dataclasses.replace(hop, mtu=mtu)
            time.sleep(1.1)
            for length in (mtu - 20, mtu - 19):
                balancer.send(frame(tcp(data=bytes(length - 40)), destination=VIP))
    finally:
        network.ip(f"link set first mtu {FIRST_MTU}")
    assert balancer.check().answers == {"packet_too_big": 3}


def test_mtu_of_a_route_without_df(routed: Balancer) -> None:
    routed.configure(service(backends=[{"address": "203.0.113.8"}]))
    sent = frame(tcp(data=bytes(ROUTE_MTU)), destination=VIP, flags=0)
    assert routed.send(sent).verdict is Verdict.DROP
    assert routed.check().drops == {"too_big": 1}


def test_routes_and_given_macs_side_by_side(routed: Balancer) -> None:
    """Every backend its own way, however frames to them follow each other."""
    routed.configure(
        service(
            backends=[
                *({"address": route.backend} for route in ROUTES.values()),
                {"address": "198.51.100.10", "mac": BACKEND_MAC},
                {"address": "2001:db8:18::13", "mac": OTHER_MAC},
            ]
        )
    )
    outcomes = routed.send_all(
        frame(tcp(source_port=port), destination=VIP) for port in range(2000)
    )
    assert {Verdict.TX, Verdict.REDIRECT, Verdict.DROP, Verdict.PASS} == set(verdicts(outcomes))
    assert set(routed.check().drops) == {"no_route", "no_neighbour"}


def test_a_gateway_s_mac_makes_routes_needless(routed: Balancer) -> None:
    for backend in ("198.51.100.9", "2001:db8:99::9"):
        routed.configure(service(backends=[{"address": backend}]), gateway_mac=GATEWAY_MAC)
        assert routed.send(frame(tcp(), destination=VIP)).verdict is Verdict.TX


ECHO_REPLY6 = 129  # ICMPv6 type, where other protocols have ports
PREFIX = {4: "198.18.1.16/28", 6: "2001:db8:19::10/124"}
FIRST = {4: "198.18.1.16", 6: "2001:db8:19::10"}


@pytest.mark.parametrize("version", [4, 6])
def test_of_a_prefix_of_sources_the_first_is_asked_with(policy: Namespace, version: int) -> None:
    """Whichever of them a packet gets: one answer is for all."""
    kind = "00" if version == 4 else "06"
    fib: dict[Address, Hop | str] = {POLICY[version]: by_second(f"52:54:00:02:{kind}:fe")}
    rule = f"from {FIRST[version]} table 7"
    with ruled(policy, version, rule):
        balancer = balancer_in(policy, fib)
        balancer.configure(
            service(backends=[{"address": str(POLICY[version])}]),
            source_address=PREFIX[4],
            source_address6=PREFIX[6],
        )
        balancer.send_all(frame(tcp(source_port=port), destination=VIP) for port in range(32))
        balancer.check()


@pytest.mark.parametrize("hash_policy", [0, 1], ids=["by addresses", "by ports, too"])
@pytest.mark.parametrize("version", [4, 6])
def test_of_several_ways_it_is_that_of_a_ping(
    network: Namespace, version: int, hash_policy: int
) -> None:
    """So the answer to the ping that an unknown neighbour makes of a packet finds that one."""
    first = ip_address({4: "203.0.117.1", 6: "2001:db8:77::1"}[version])
    prefix = {4: "203.0.117.0/24", 6: "2001:db8:77::/64"}[version]
    source = {4: "198.18.0.1", 6: "2001:db8:18::1"}[version]
    network.write(f"net/ipv{version}/fib_multipath_hash_policy", str(hash_policy))
    hops = " ".join(f"nexthop via {via} dev {name}" for name, via in GATEWAYS[version].items())
    network.ip(f"-{version} route add {prefix} {hops}")
    reply = {4: "ipproto icmp", 6: f"ipproto ipv6-icmp sport {ECHO_REPLY6 << 8}"}[version]
    kind = "00" if version == 4 else "06"
    fib: dict[Address, Hop | str] = {}
    for number in range(16):
        told = network.output(f"ip route get {first + number} from {source} {reply}")
        by = by_second if "dev second" in told else by_first
        fib[first + number] = by(f"52:54:00:{'02' if by is by_second else '01'}:{kind}:fe")
    try:
        balancer = balancer_in(network, fib)
        balancer.configure(
            service(backends=[{"address": str(address)} for address in fib]),
            source_address="198.18.0.1",
            source_address6="2001:db8:18::1",
        )
        balancer.send_all(frame(tcp(source_port=port), destination=VIP) for port in range(200))
        balancer.check()
    finally:
        network.ip(f"-{version} route flush {prefix}")
        network.write(f"net/ipv{version}/fib_multipath_hash_policy", "0")


TWO_WAYS = {4: ip_address("203.0.116.1"), 6: ip_address("2001:db8:76::1")}
GATEWAYS = {
    4: {"first": "198.18.0.254", "second": "198.18.1.254"},
    6: {"first": "2001:db8:18::fe", "second": "2001:db8:19::fe"},
}


def equal_cost(version: int) -> list[str]:
    hops = " ".join(f"nexthop via {via} dev {name}" for name, via in GATEWAYS[version].items())
    return [f"-{version} route add {TWO_WAYS[version]} {hops}"]


def one_by_one(version: int) -> list[str]:
    """IPv6 has a route for each; of IPv4 there can be only one."""
    first, second = GATEWAYS[version].values()
    more = "append" if version == 6 else "replace"
    return [
        f"-{version} route add {TWO_WAYS[version]} via {first}",
        f"-{version} route {more} {TWO_WAYS[version]} via {second}",
    ]


def by_number(version: int) -> list[str]:
    hops = enumerate(GATEWAYS[version].items(), 1)
    return [
        *(f"nexthop add id {number} via {via} dev {name}" for number, (name, via) in hops),
        "nexthop add id 3 group 1/2",
        f"-{version} route add {TWO_WAYS[version]} nhid 3",
    ]


def by_rule(version: int) -> list[str]:
    source = {4: "198.18.1.1", 6: "2001:db8:19::1"}[version]
    return [
        f"-{version} route add {TWO_WAYS[version]} via {GATEWAYS[version]['first']}",
        f"-{version} route add {TWO_WAYS[version]} via {GATEWAYS[version]['second']} table 8",
        f"-{version} rule add from {source} iif lo table 8",
    ]


@pytest.mark.parametrize("compatible", [True, False], ids=["told in full", "told by number"])
@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        pytest.param(equal_cost, {"first", "second"}, id="equal cost"),
        pytest.param(one_by_one, {"second"}, id="one by one"),
        pytest.param(by_number, {"first", "second"}, id="objects"),
        pytest.param(by_rule, {"second"}, id="a rule for the source"),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_the_library_knows_every_way(
    network: Namespace,
    version: int,
    commands: Callable[[int], list[str]],
    expected: set[str],
    compatible: bool,
) -> None:
    """All that the program may be told, so that their neighbours are kept resolved."""
    network.write("net/ipv4/nexthop_compat_mode", str(int(compatible)))
    sources: dict[int, Address] = {4: ip_address("198.18.1.1"), 6: ip_address("2001:db8:19::1")}
    if commands is one_by_one and version == 6:
        expected = {"first", "second"}
    try:
        for command in commands(version):
            network.ip(command)
        (found,) = network.call(routes, [TWO_WAYS[version]], sources)
        assert found is not None
        assert {(hop.interface, hop.gateway) for hop in found.hops} == {
            (interface(network, name), ip_address(GATEWAYS[version][name]).packed)
            for name in expected
        }
    finally:
        network.ip("nexthop flush")  # and with them the routes that have them
        network.ip(f"-{version} route flush {TWO_WAYS[version]} table all")
        if commands is by_rule:
            network.ip(f"-{version} rule delete table 8")


@pytest.mark.parametrize("version", [4, 6])
def test_a_source_that_the_host_does_not_have(network: Namespace, version: int) -> None:
    """The kernel tells no way for one of IPv4. It is asked for what it does tell."""
    sources: dict[int, Address] = {4: ip_address("192.0.2.77"), 6: ip_address("2001:db8:77::7")}
    address = ip_address({4: "203.0.113.9", 6: "2001:db8:71::9"}[version])
    (found,) = network.call(routes, [address], sources)
    assert found is not None
    assert [hop.interface for hop in found.hops] == [interface(network, "first")]


MOVING, MOVING6, NEIGHBOUR = map(ip_address, ("203.0.114.1", "2001:db8:72::1", "198.18.0.77"))


def by_first(neighbour_mac: str, *, on_link: bool = False) -> Hop:
    return Hop(mac(neighbour_mac), mac(FIRST_MAC), mtu=FIRST_MTU, on_link=on_link)


def by_second(neighbour_mac: str) -> Hop:
    return Hop(mac(neighbour_mac), mac(SECOND_MAC), mtu=SECOND_MTU, on_link=False)


CHANGES: list[tuple[str, dict[Address, Hop | str]]] = [
    (
        f"""
        route add 203.0.114.0/24 via 198.18.0.254
        route add 2001:db8:72::/48 via 2001:db8:18::fe
        neighbour replace {NEIGHBOUR} dev first lladdr 52:54:00:01:00:77 nud permanent
        """,
        {
            MOVING: by_first("52:54:00:01:00:fe"),
            MOVING6: by_first("52:54:00:01:06:fe"),
            NEIGHBOUR: by_first("52:54:00:01:00:77", on_link=True),
        },
    ),
    (
        f"""
        route change 203.0.114.0/24 via 198.18.1.254
        route change 2001:db8:72::/48 via 2001:db8:19::fe
        neighbour replace {NEIGHBOUR} dev first lladdr 52:54:00:01:00:78 nud permanent
        """,
        {
            MOVING: by_second("52:54:00:02:00:fe"),
            MOVING6: by_second("52:54:00:02:06:fe"),
            NEIGHBOUR: by_first("52:54:00:01:00:78", on_link=True),
        },
    ),
    (
        f"""
        route delete 203.0.114.0/24
        route delete 2001:db8:72::/48
        neighbour delete {NEIGHBOUR} dev first
        """,
        {MOVING: "no_route", MOVING6: "no_route", NEIGHBOUR: "no_neighbour"},
    ),
    (
        f"""
        route add 203.0.114.0/24 via 198.18.1.254
        route add 2001:db8:72::/48 via 2001:db8:19::fe
        neighbour replace {NEIGHBOUR} dev first lladdr 52:54:00:01:00:79 nud permanent
        """,
        {
            MOVING: by_second("52:54:00:02:00:fe"),
            MOVING6: by_second("52:54:00:02:06:fe"),
            NEIGHBOUR: by_first("52:54:00:01:00:79", on_link=True),
        },
    ),
]


def test_changes_of_routes_and_neighbours_are_followed(network: Namespace) -> None:
    """Within two seconds: to a link, to another, to nowhere and back."""
    fib: dict[Address, Hop | str] = {}
    balancer = balancer_in(network, fib)
    backends = [{"address": str(address)} for address in (MOVING, MOVING6, NEIGHBOUR)]
    balancer.configure(service(backends=backends))
    frames = [frame(tcp(source_port=port), destination=VIP) for port in range(30)]
    for commands, hops in CHANGES:
        for command in filter(str.strip, commands.split("\n")):
            network.ip(command)
        fib.update(hops)
        time.sleep(2)
        balancer.send_all(frames)
        balancer.check()


@pytest.mark.parametrize(
    ("backend", "setting"),
    [("10.0.0.1", "net/ipv4/ip_forward"), ("2001:db8:b::1", "net/ipv6/conf/all/forwarding")],
)
def test_without_forwarding(namespace: Namespace, backend: str, setting: str) -> None:
    """The kernel tells no routes then: that has a reason of its own, for its remedy is another."""
    namespace.ip("link set lo up")
    namespace.write(setting, "0")
    balancer = Balancer(namespace, fib={ip_address(backend): "forwarding_off"})
    balancer.configure(service(backends=[{"address": backend}]))
    assert balancer.send(frame(tcp(), destination=VIP)).verdict is Verdict.DROP
    assert balancer.check().drops == {"forwarding_off": 1}


@pytest.mark.parametrize("encapsulation", ["ipip", "l2"])
@pytest.mark.parametrize("version", [4, 6])
def test_backends_in_use_go_on_without_forwarding(
    network: Namespace, version: int, encapsulation: str
) -> None:
    """Another tool has switched it off: what is known of the ways to them still holds."""
    on_link = {4: "198.18.0.11", 6: "2001:db8:18::11"}[version]
    other = {4: "198.18.1.11", 6: "2001:db8:19::11"}[version]
    fib = {ip_address(address): FIB[ip_address(address)] for address in (on_link, other)}
    balancer = balancer_in(network, fib)
    balancer.configure(
        service("used", port=1, encapsulation=encapsulation, backends=[{"address": on_link}]),
        service("new", port=2, encapsulation=encapsulation, backends=[{"address": other}]),
    )
    used, new = (frame(tcp(port=port), destination=VIP) for port in (1, 2))
    assert balancer.send(used).verdict is Verdict.REDIRECT
    setting = f"net/ipv{version}/conf/lo/forwarding"
    network.write(setting, "0")
    try:
        fib.update(dict.fromkeys(fib, "forwarding_off"))
        for _second in range(3):
            time.sleep(1.1)
            assert verdicts(balancer.send_all([used] * 3)) == [Verdict.REDIRECT] * 3
            assert verdicts(balancer.send_all([new] * 3)) == [Verdict.DROP] * 3
        assert balancer.check().drops == {"forwarding_off": 9}
    finally:
        network.write(setting, "1")
    fib.update({ip_address(address): FIB[ip_address(address)] for address in (on_link, other)})
    time.sleep(1.1)
    assert verdicts(balancer.send_all([used, new])) == [Verdict.REDIRECT] * 2
