# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets to a service's address that no service takes: the host's own, or in a circle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.packet.crossing import (
    GATEWAY,
    MACVLAN_MAC,
    NOBODY,
    OWN_MAC,
    QUIET_MAC,
    QUIET_TAG,
    TAG,
    UNKNOWN_TAG,
    balancer_on,
)
from tests.packet.harness import VIP, VIP6, VIPS, Balancer, Namespace, service
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    CLIENT,
    CLIENT6,
    FIRST_FRAGMENT,
    LAST_FRAGMENT,
    ROUTER_MAC,
    authentication,
    frame,
    hop_by_hop,
    icmp,
    icmp6,
    ipv4,
    ipv6,
    ping,
    ping6,
    tcp,
    udp,
)

PREFIX = {4: f"{VIP}/32", 6: f"{VIP6}/128"}
SERVICES = [
    service("web"),
    service("web6", address=VIP6),
]


@pytest.fixture(scope="module")
def forwarding(crossing: Namespace) -> Balancer:
    """A balancer on a host that would forward."""
    made = balancer_on(crossing, *map(ip_address, VIPS.values()))
    made.configure(*SERVICES)
    return made


@pytest.fixture(scope="module")
def keeping(crossing: Namespace) -> Balancer:
    """The same program on a host that would not."""
    made = balancer_on(crossing)
    made.configure(*SERVICES)
    return made


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def routed(crossing: Namespace) -> Iterator[None]:
    """A way back for both addresses."""
    with_routes = [f"route add {PREFIX[v]} via {GATEWAY[v]}" for v in PREFIX]
    for command in with_routes:
        crossing.ip(command)
    yield
    for command in with_routes:
        crossing.ip(command.replace("add", "delete"))


def stray(payload: bytes, version: int = 4, **fields: Any) -> bytes:
    """A frame to a service's address, and to the interface."""
    return frame(payload, **{"destination": VIPS[version], "macs": (OWN_MAC, ROUTER_MAC), **fields})


INNER = ipv4(tcp(), destination=VIP)
INNER6 = ipv6(tcp(), destination=VIP6)
UNSERVED = ipv4(tcp(source_port=1, port=1), source=VIP, destination=CLIENT)
STRAYS: dict[str, bytes] = {
    "TCP to another port": stray(tcp(port=22)),
    "UDP": stray(udp(port=443)),
    "TCP to port 0": stray(tcp(port=0)),
    "TCP with IP options": stray(tcp(port=22), options=bytes(4)),
    "UDP in a first fragment": stray(udp(), flags=0x2000),
    "UDP in a later fragment": stray(udp(), flags=0x0010),
    "ICMP in a later fragment": stray(ping(), flags=0x0010),
    "a broken UDP header": stray(udp(), total_length=24),
    "an ICMP timestamp": stray(icmp(13, data=bytes(12))),
    "an echo reply": stray(icmp(0)),
    "a short ICMP message": stray(ping()[:6], protocol=1),
    "an error about no service": stray(icmp(3, 1, data=UNSERVED)),
    "an error about another's packet": stray(icmp(3, 1, data=INNER)),
    "IP in IP": stray(INNER, protocol=4),
    "GRE": stray(bytes(4) + INNER, protocol=47),
    "ESP": stray(bytes(64), protocol=50),
    "SCTP": stray(bytes(tcp()), protocol=132),
    "a TTL of 255": stray(tcp(port=22), ttl=255),
    "IPv6: TCP to another port": stray(tcp(port=22), 6),
    "IPv6: UDP": stray(udp(port=443), 6),
    "IPv6: UDP behind options": stray(udp(port=443), 6, extensions=[hop_by_hop()]),
    "IPv6: ESP": stray(bytes(64), 6, protocol=50),
    "IPv6: IP": stray(INNER6, 6, protocol=41),
    "IPv6: nothing": stray(b"", 6, protocol=59),
    "IPv6: AH and SCTP": stray(bytes(tcp()), 6, protocol=132, extensions=[authentication()]),
    "IPv6: UDP in a first fragment": stray(udp(), 6, extensions=[FIRST_FRAGMENT]),
    "IPv6: UDP in a later fragment": stray(udp(), 6, extensions=[LAST_FRAGMENT]),
    "IPv6: an echo reply": stray(icmp6(129), 6),
    "IPv6: a report of a listener": stray(icmp6(143, data=bytes(20)), 6),
    "IPv6: an error about another's packet": stray(icmp6(1, data=INNER6), 6),
    "IPv6: what may be a redirect": stray(icmp6(137), 6, extensions=[LAST_FRAGMENT]),
}


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize("sent", STRAYS.values(), ids=STRAYS)
def test_what_would_come_back_is_dropped(forwarding: Balancer, sent: bytes) -> None:
    forwarding.configure(*SERVICES)
    assert forwarding.send(sent).verdict is Verdict.DROP
    assert forwarding.check().drops == {"no_service": 1}


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize("sent", STRAYS.values(), ids=STRAYS)
def test_with_no_service_pass_it_passes(forwarding: Balancer, sent: bytes) -> None:
    forwarding.configure(*SERVICES, no_service="pass")
    assert forwarding.send(sent) == Outcome(Verdict.PASS, sent)
    assert forwarding.check().handled == 0


NOT_STRAY: dict[str, bytes] = {
    **{
        f"neighbour or router discovery, type {kind}": stray(icmp6(kind, data=bytes(16)), 6)
        for kind in range(133, 138)
    },
    "to another address": stray(tcp(port=22), destination="198.18.0.254"),
    "to another address of IPv6": stray(tcp(port=22), destination="2001:db8:18::fe"),
    "to another host": stray(tcp(port=22), macs=("02:00:00:00:00:03", ROUTER_MAC)),
    "to every host": stray(tcp(port=22), macs=("ff:ff:ff:ff:ff:ff", ROUTER_MAC)),
    "to some hosts": stray(tcp(port=22), macs=("33:33:00:00:00:01", ROUTER_MAC)),
    "ICMP to some hosts": stray(icmp(13), macs=("01:00:5e:00:00:01", ROUTER_MAC)),
}


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize("sent", NOT_STRAY.values(), ids=NOT_STRAY)
def test_what_passes_all_the_same(forwarding: Balancer, sent: bytes) -> None:
    forwarding.configure(*SERVICES)
    assert forwarding.send(sent) == Outcome(Verdict.PASS, sent)
    assert forwarding.check().handled == 0


@pytest.mark.usefixtures("routed")
def test_what_is_for_the_service_is_not_dropped(forwarding: Balancer) -> None:
    forwarding.configure(*SERVICES)
    sent = [stray(tcp()), stray(tcp(), 6), stray(ping()), stray(ping6(), 6)]
    assert {outcome.verdict for outcome in forwarding.send_all(sent)} == {Verdict.TX}


# What routing says.

FORWARDED = {
    "by a router": "route add {vip} via {gateway}",
    "by a router that is yet to be found": "route add {vip} via {nobody}",
    "on a link": "route add {vip} dev uplink",
    "by the default route": "route add default via {gateway}",
    "by several routers": "route add {vip} nexthop via {gateway} nexthop via {nobody}",
}
KEPT = {
    "to nowhere": "",
    "to the host itself": "address add {vip} dev lo",
    "to nowhere, and the sender is told": "route add unreachable {vip}",
    "to nowhere, in silence": "route add blackhole {vip}",
    "to nowhere, by order": "route add prohibit {vip}",
}


def both(namespace: Namespace, command: str, version: int, undo: bool = False) -> None:
    """Run a command of ip(8), if there is one, or undo it."""
    text = command.format(vip=PREFIX[version], gateway=GATEWAY[version], nobody=NOBODY[version])
    if text:
        namespace.ip(f"-{version} " + (text.replace(" add ", " delete ") if undo else text))
    if text.startswith("address") and not undo:
        await_own(namespace, PREFIX[version], version)


def await_own(namespace: Namespace, prefix: str, version: int) -> None:
    """Until the host takes what is sent to an address of it: of IPv6, a while after it has it."""
    deadline = time.monotonic() + 60
    address = prefix.partition("/")[0]
    while f"local {address} " not in namespace.output(f"ip -{version} route show table local"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("command", FORWARDED.values(), ids=FORWARDED)
def test_forwarded(forwarding: Balancer, crossing: Namespace, command: str, version: int) -> None:
    forwarding.configure(*SERVICES)
    both(crossing, command, version)
    try:
        assert forwarding.send(stray(udp(), version)).verdict is Verdict.DROP
    finally:
        both(crossing, command, version, undo=True)


@pytest.mark.parametrize("command", KEPT.values(), ids=KEPT)
def test_kept(keeping: Balancer, crossing: Namespace, command: str, version: int) -> None:
    keeping.configure(*SERVICES)
    both(crossing, command, version)
    try:
        sent = stray(udp(), version)
        assert keeping.send(sent) == Outcome(Verdict.PASS, sent)
    finally:
        both(crossing, command, version, undo=True)


RULES = {
    "by port": ("ipproto udp dport 53", stray(udp(port=53)), stray(udp(port=54))),
    "by protocol": ("ipproto tcp", stray(tcp(port=22)), stray(udp())),
    "by source": (f"from {CLIENT}", stray(udp()), stray(udp(), source="198.51.100.8")),
    "by source of IPv6": (f"from {CLIENT6}", stray(udp(), 6), stray(udp(), 6, source="2001::8")),
    "by type of service": ("tos 0x10", stray(udp(), tos=0x10), stray(udp(), tos=0)),
    "by interface": ("iif vrrp", stray(udp(), macs=(MACVLAN_MAC, ROUTER_MAC)), stray(udp())),
    "by the source of an error": (
        "from 203.0.113.1",
        stray(icmp(3, 1, data=UNSERVED), source="203.0.113.1"),
        stray(icmp(3, 1, data=UNSERVED), source="203.0.113.2"),
    ),
}


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize(("rule", "kept", "forwarded"), RULES.values(), ids=RULES)
def test_rules_apply_as_to_the_packet(
    forwarding: Balancer,
    keeping: Balancer,
    crossing: Namespace,
    rule: str,
    kept: bytes,
    forwarded: bytes,
) -> None:
    family = 6 if "IPv6" in rule or ":" in rule else 4
    for one in (forwarding, keeping):
        one.configure(*SERVICES)
    crossing.ip(f"-{family} rule add {rule} prohibit priority 10")
    try:
        assert keeping.send(kept) == Outcome(Verdict.PASS, kept)
        assert forwarding.send(forwarded).verdict is Verdict.DROP
    finally:
        crossing.ip(f"-{family} rule delete priority 10")


# By which interface the host receives.

WAYS = {
    "untagged": ([], OWN_MAC, True),
    "of a priority": ([0xE000], OWN_MAC, True),
    "tagged": ([TAG], OWN_MAC, True),
    "tagged, with a priority": ([0xE000 | TAG], OWN_MAC, True),
    "tagged by a provider": ([(0x88A8, TAG)], OWN_MAC, True),
    "tagged twice": ([(0x88A8, TAG), 7], OWN_MAC, True),
    "of a VLAN that does not forward": ([QUIET_TAG], OWN_MAC, False),
    "of a VLAN that the host is not in": ([UNKNOWN_TAG], OWN_MAC, False),
    "to a macvlan": ([], MACVLAN_MAC, True),
    "to a macvlan that does not forward": ([], QUIET_MAC, False),
}


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize(("tags", "to", "forwards"), WAYS.values(), ids=WAYS)
def test_who_receives(
    forwarding: Balancer,
    version: int,
    tags: list[Any],
    to: str,
    forwards: bool,
) -> None:
    forwarding.configure(*SERVICES)
    sent = stray(udp(), version, tags=tags, macs=(to, ROUTER_MAC))
    assert forwarding.send(sent).verdict is (Verdict.DROP if forwards else Verdict.PASS)


@pytest.mark.usefixtures("routed")
def test_where_the_host_does_not_forward(
    keeping: Balancer, crossing: Namespace, version: int
) -> None:
    setting = f"net/ipv{version}/conf/uplink/forwarding"
    keeping.configure(*SERVICES)
    crossing.write(setting, "0")
    try:
        sent = stray(udp(), version)
        assert keeping.send(sent) == Outcome(Verdict.PASS, sent)
    finally:
        crossing.write(setting, "1")
