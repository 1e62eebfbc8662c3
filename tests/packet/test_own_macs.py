# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that are to this host, by their MAC addresses, and those that are not."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Receivers

from tests.packet.harness import VIP, VIP6, Balancer, Namespace, service
from tests.packet.model import Host, Outcome, Verdict
from tests.packet.packets import (
    BALANCER_MAC,
    FIRST_FRAGMENT,
    ROUTER_MAC,
    frame,
    hop_by_hop,
    icmp,
    icmp6,
    ipv4,
    ipv6,
    mac,
    packed,
    ping,
    ping6,
    tcp,
    udp,
)

BRIDGE_MAC, GIVEN_MAC, LAST_MAC = "02:00:00:00:00:0b", "02:00:00:00:00:0c", "fe:ff:ff:ff:ff:ff"
CLIENT_ERROR = ipv4(tcp(source_port=443, port=50000), source=VIP, destination="198.51.100.7")
CLIENT_ERROR6 = ipv6(tcp(source_port=443, port=50000), source=VIP6, destination="2001:db8:c::7")
SERVICES = [service("web"), service("web6", address=VIP6)]


def to(destination: str, source: str = ROUTER_MAC) -> dict[str, bytes]:
    """Frames of every kind that the balancer does something with."""
    macs = destination, source
    return {
        "TCP": frame(tcp(), destination=VIP, macs=macs),
        "in a VLAN": frame(tcp(), destination=VIP, macs=macs, tags=[7]),
        "with options": frame(tcp(), destination=VIP, macs=macs, options=bytes(4)),
        "ping": frame(ping(), destination=VIP, macs=macs),
        "error": frame(icmp(3, 1, data=CLIENT_ERROR), destination=VIP, macs=macs),
        "fragment": frame(tcp(), destination=VIP, macs=macs, flags=0x2000),
        "malformed": frame(tcp(), destination=VIP, macs=macs, total_length=24),
        "too big": frame(tcp(data=bytes(1460)), destination=VIP, macs=macs),
        "IPv6 TCP": frame(tcp(), destination=VIP6, macs=macs),
        "IPv6 behind options": frame(tcp(), destination=VIP6, macs=macs, extensions=[hop_by_hop()]),
        "IPv6 ping": frame(ping6(), destination=VIP6, macs=macs),
        "IPv6 error": frame(icmp6(1, data=CLIENT_ERROR6), destination=VIP6, macs=macs),
        "IPv6 fragment": frame(tcp(), destination=VIP6, macs=macs, extensions=[FIRST_FRAGMENT]),
        "IPv6 malformed": frame(tcp(), destination=VIP6, macs=macs, payload_length=8),
        "IPv6 too big": frame(tcp(data=bytes(1440)), destination=VIP6, macs=macs),
    }


KINDS = list(to(BALANCER_MAC))


@pytest.fixture(scope="module")
def several(namespace: Namespace) -> Balancer:
    """A balancer on a port of a bridge with a MAC address of its own."""
    host = Host(frozenset({mac(BRIDGE_MAC), mac(LAST_MAC)}))
    return Balancer(namespace, host=host, receivers=Receivers((BRIDGE_MAC, LAST_MAC)))


def configure(balancer: Balancer) -> None:
    balancer.configure(*SERVICES, own_macs=[GIVEN_MAC], mtu=1500)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("destination", [BALANCER_MAC, BRIDGE_MAC, GIVEN_MAC, LAST_MAC])
def test_own(several: Balancer, destination: str, kind: str) -> None:
    configure(several)
    sent = to(destination)[kind]
    outcome = several.send(sent)
    assert outcome.verdict in (Verdict.TX, Verdict.DROP)
    assert several.check().handled == 1
    if outcome.frame and ("ping" in kind or "big" in kind):
        assert outcome.frame[:12] == mac(ROUTER_MAC) + mac(destination)


OTHERS = {
    "another host": "52:54:00:00:00:99",
    "the next": "52:54:00:00:00:03",
    "one that begins alike": "52:54:00:00:01:02",
    "one that ends alike": "02:54:00:00:00:02",
    "every host": "ff:ff:ff:ff:ff:ff",
    "hosts of an IPv4 group": "01:00:5e:00:00:01",
    "hosts of an IPv6 group": "33:33:00:00:00:01",
    "the interface's as a group's": "53:54:00:00:00:02",
    "none": "00:00:00:00:00:00",
    "where frames come from": ROUTER_MAC,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("destination", OTHERS.values(), ids=OTHERS)
def test_of_others(several: Balancer, destination: str, kind: str) -> None:
    configure(several)
    sent = to(destination)[kind]
    assert several.send(sent) == Outcome(Verdict.PASS, sent)
    assert several.check().handled == 0


def test_as_many_as_fit(namespace: Namespace) -> None:
    others = tuple(f"06:00:00:00:00:{number:02x}" for number in range(63))
    host = Host(frozenset(map(mac, others)))
    balancer = Balancer(namespace, host=host, receivers=Receivers(others))
    balancer.configure(*SERVICES)
    destinations = (BALANCER_MAC, *others, "06:00:00:00:00:3f")
    frames = [frame(tcp(), destination=VIP, macs=(one, ROUTER_MAC)) for one in destinations]
    verdicts = [outcome.verdict for outcome in balancer.send_all(frames)]
    assert verdicts == [Verdict.TX] * 64 + [Verdict.PASS]


@pytest.mark.parametrize("source", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"])
@pytest.mark.parametrize("kind", ["ping", "too big", "IPv6 ping", "IPv6 too big"])
def test_no_group_is_answered(several: Balancer, kind: str, source: str) -> None:
    configure(several)
    assert several.send(to(BALANCER_MAC, source)[kind]).verdict is Verdict.DROP
    assert several.check().drops == {"malformed": 1}


def test_from_a_group_is_forwarded_all_the_same(several: Balancer) -> None:
    """It goes to the backend, whoever sent it."""
    configure(several)
    sent = to(BALANCER_MAC, "ff:ff:ff:ff:ff:ff")["TCP"]
    assert several.send(sent).verdict is Verdict.TX


# What routing says of the interface.

OLD_MAC, NEW_MAC, NEWER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:0a", "02:00:00:00:00:0e"
NEAR, FAR, NEAR6 = "198.51.100.200", "198.18.0.11", "2001:db8:51::200"
ASKED_AGAIN = 0.3
"""Seconds after which routing is asked once more."""

# A test run has its frames come in by the loopback interface.
NETWORK = f"""
    link set lo address {NEW_MAC}
    link set lo up
    link add first type veth peer name first-peer
    link set first up
    link set first-peer up
    address add 198.18.0.1/24 dev first
    route add {NEAR}/32 dev lo
    route add {NEAR6}/128 dev lo
    neighbour add {FAR} lladdr 52:54:00:01:00:0b dev first nud permanent
"""
NEIGHBOURS = f"""
    neighbour replace {NEAR} lladdr 52:54:00:00:00:c8 dev lo nud permanent
    neighbour replace {NEAR6} lladdr 52:54:00:00:00:c8 dev lo nud permanent
"""


class Followed:
    """A balancer that was configured when the interface still had OLD_MAC."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.balancer = Balancer(namespace, OLD_MAC, fib={})

    def configure(self, *backends: str | dict[str, str], **options: object) -> None:
        """backends: their addresses, or options."""
        listed = [{"address": one} if isinstance(one, str) else one for one in backends]
        self.balancer.configure(
            service("web", backends=listed, **options),
            service("web6", address=VIP6, backends=listed, **options),
        )
        self.forget()

    def forget(self) -> None:
        """As it was when the program was loaded."""
        routed = self.balancer.datapath.counters("routed_macs")
        routed.update(0, routed.empty)

    def known(self) -> bytes:
        """A struct routed_mac of each CPU."""
        return self.balancer.datapath.counters("routed_macs").lookup(0) or b""

    def run(self, commands: str) -> None:
        for command in filter(str.strip, commands.split("\n")):
            self.namespace.ip(command)

    def send(self, sent: bytes) -> tuple[int, bytes]:
        return self.namespace.call(self.balancer.datapath.run, sent)

    def verdict(self, sent: bytes) -> Verdict:
        return Verdict(self.send(sent)[0])

    def passes(self, destination: str, kind: str = "TCP") -> bool:
        """Whether a frame that is not the first does."""
        self.verdict(to(destination)[kind])
        return self.verdict(to(destination)[kind]) is Verdict.PASS


@pytest.fixture(scope="module")
def changed() -> Iterator[Followed]:
    """The loopback interface has NEW_MAC by now."""
    try:
        namespace = Namespace()
    except PermissionError:
        pytest.skip("cannot run here: network namespaces and BPF programs take root")
    for family in ("ipv4", "ipv6"):
        namespace.write(f"net/{family}/conf/all/forwarding", "1")
    made = Followed(namespace)
    made.run(NETWORK + NEIGHBOURS)
    yield made
    namespace.close()


@pytest.mark.parametrize("backend", [NEAR, NEAR6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_mac_is_followed(changed: Followed, kind: str, backend: str) -> None:
    changed.configure(backend)
    sent = to(NEW_MAC)[kind]
    assert changed.verdict(sent) in (Verdict.TX, Verdict.DROP)
    assert changed.verdict(to(OLD_MAC)[kind]) in (Verdict.TX, Verdict.DROP)
    assert changed.verdict(to(NEWER_MAC)[kind]) is Verdict.PASS
    assert changed.verdict(to("ff:ff:ff:ff:ff:ff")[kind]) is Verdict.PASS


@pytest.mark.parametrize("scheduler", ["maglev", "jhash"])
def test_any_backend_will_do(changed: Followed, scheduler: str) -> None:
    """Whatever the first, sooner or later one is asked about that is behind the interface."""
    changed.configure(FAR, NEAR, scheduler=scheduler)
    deadline = time.monotonic() + 60
    while changed.passes(NEW_MAC):
        assert time.monotonic() < deadline
        time.sleep(ASKED_AGAIN)
    for _time in range(5):  # and the answer counts, whoever is asked about next
        time.sleep(ASKED_AGAIN)
        assert not changed.passes(NEW_MAC)


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param((FAR,), id="by another interface"),
        pytest.param(("198.18.0.99",), id="by a neighbour that is not there"),
        pytest.param(("203.0.113.1",), id="by no route"),
        pytest.param((), id="there are none"),
        pytest.param(({"address": NEAR, "mac": ROUTER_MAC},), id="by a given address"),
    ],
)
def test_not_if_backends_are_elsewhere(changed: Followed, addresses: tuple[Any, ...]) -> None:
    changed.configure(*addresses)
    assert changed.passes(NEW_MAC)
    assert not changed.passes(OLD_MAC) or not addresses


@pytest.fixture
def changed_once_more(changed: Followed) -> Iterator[Followed]:
    """It was seen with NEW_MAC, has NEWER_MAC now, and with that has lost all its neighbours."""
    changed.configure(NEAR)
    assert not changed.passes(NEW_MAC)
    changed.run(f"link set lo address {NEWER_MAC}")
    time.sleep(ASKED_AGAIN)
    yield changed
    changed.run(f"link set lo address {NEW_MAC}" + NEIGHBOURS)


def test_the_next_one_is_followed_and_the_one_before_forgotten(
    changed_once_more: Followed,
) -> None:
    changed_once_more.run(NEIGHBOURS)
    assert not changed_once_more.passes(NEWER_MAC)
    assert changed_once_more.passes(NEW_MAC)
    assert not changed_once_more.passes(NEWER_MAC)


def test_while_no_neighbour_is_known_the_one_before_counts(changed_once_more: Followed) -> None:
    """Its frames go on as ever."""
    for _time in range(3):
        time.sleep(ASKED_AGAIN)
        outcome = changed_once_more.send(to(NEW_MAC)["ping"])
        assert outcome[0] == Verdict.TX


@pytest.mark.parametrize("kind", ["TCP", "with options", "IPv6 TCP", "ping"])
def test_a_frame_has_the_neighbour_found(changed_once_more: Followed, kind: str) -> None:
    """To answer a ping of the backend's the kernel must."""
    sent = to(NEWER_MAC)[kind]
    verdict, made = changed_once_more.send(sent)
    assert verdict == Verdict.PASS
    reply_to = made[26:30]
    assert (made[:12], reply_to) == (sent[:12], packed(NEAR))
    assert made[34] == 8
    assert changed_once_more.send(sent) == (Verdict.PASS, sent)


def test_routing_is_seldom_asked(changed: Followed) -> None:
    """However many frames for others are flooded."""
    changed.configure(FAR)
    asked, start = set(), time.monotonic()
    for number in range(2000):
        changed.verdict(to(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}")["TCP"])
        asked.add(struct.unpack_from("=12xI", changed.known())[0])
    assert len(asked) <= 2 + 4 * (time.monotonic() - start)


def test_frames_of_others_to_no_service_are_not_asked_about(changed: Followed) -> None:
    changed.configure(NEAR)
    for payload, address in ((tcp(), "192.0.2.99"), (ping(), "192.0.2.99"), (udp(), "192.0.2.99")):
        changed.verdict(frame(payload, destination=address, macs=(NEW_MAC, ROUTER_MAC)))
    assert not any(changed.known())


def test_the_next_run_knows_better(changed: Followed) -> None:
    """What was followed is forgotten then."""
    changed.configure(NEAR)
    assert not changed.passes(NEW_MAC)
    changed.balancer.configure(service("web", backends=[{"address": FAR}]))
    assert changed.passes(NEW_MAC)
