# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service a packet belongs to."""

from __future__ import annotations

import random
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.packet.harness import VIP, Balancer, backends, service
from tests.packet.model import Verdict
from tests.packet.packets import SEGMENTS, frame, tcp, udp

WEB = service("web", port=443, backends=[{"address": "10.0.0.1"}])
EVERY_TCP = service("every tcp", port=0, backends=[{"address": "10.0.0.2"}])
EVERY_UDP = service("every udp", port=0, protocol="udp", backends=[{"address": "10.0.0.3"}])
ELSEWHERE = service("elsewhere", address="192.0.2.11", port=443, backends=[{"address": "10.0.0.4"}])
DNS = service("dns", port=443, protocol="udp", backends=[{"address": "10.0.0.5"}])
IDLE = service("idle", port=443, backends=[])


@pytest.mark.parametrize(
    ("services", "sent", "expected"),
    [
        pytest.param([WEB, EVERY_TCP], tcp(port=443), "10.0.0.1", id="the exact port goes first"),
        pytest.param([WEB, EVERY_TCP], tcp(port=444), "10.0.0.2", id="else every port"),
        pytest.param([EVERY_TCP], tcp(port=443), "10.0.0.2", id="every port alone"),
        pytest.param([WEB], tcp(port=444), "pass", id="the exact port alone"),
        pytest.param([WEB, EVERY_UDP], tcp(port=444), "pass", id="every port of another protocol"),
        pytest.param(
            [WEB, EVERY_UDP], udp(port=443), "10.0.0.3", id="exact port of another protocol"
        ),
        pytest.param([EVERY_TCP, EVERY_UDP], udp(port=1), "10.0.0.3", id="every port of both: UDP"),
        pytest.param([EVERY_TCP, EVERY_UDP], tcp(port=1), "10.0.0.2", id="every port of both: TCP"),
        pytest.param([WEB, DNS], udp(port=443), "10.0.0.5", id="one port of both: UDP"),
        pytest.param([WEB, DNS], tcp(port=443), "10.0.0.1", id="one port of both: TCP"),
        pytest.param(
            [ELSEWHERE, EVERY_TCP], tcp(port=443), "10.0.0.2", id="exact port of another address"
        ),
        pytest.param([ELSEWHERE], tcp(port=443), "pass", id="another address"),
        pytest.param(
            [IDLE, EVERY_TCP], tcp(port=443), "no_backend", id="exact, though it has no backend"
        ),
        pytest.param([], tcp(port=443), "pass", id="no service at all"),
    ],
)
def test_service_of(balancer: Balancer, services: list[Any], sent: bytes, expected: str) -> None:
    balancer.configure(*services)
    outcome = balancer.send(frame(sent, destination=VIP))
    if expected == "pass":
        assert outcome.verdict is Verdict.PASS
    elif expected == "no_backend":
        assert outcome.verdict is Verdict.DROP
        assert balancer.counted().drops == {"no_backend": 1}
    else:
        assert outcome.verdict is Verdict.TX
        assert outcome.frame is not None
        assert str(IPv4Address(outcome.frame[30:34])) == expected


def test_every_port_means_every_port(balancer: Balancer) -> None:
    balancer.configure(WEB, EVERY_TCP)
    outcomes = balancer.send_all(
        frame(tcp(port=port), destination=VIP) for port in range(0, 65536, 13)
    )
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}


def crowd(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Services that share addresses and ports as they can, each with a backend of its own."""
    keys: set[tuple[str, int, str]] = set()
    while len(keys) < count:
        address = f"192.0.2.{rng.randrange(64)}" if rng.random() < 0.8 else str(_unicast(rng))
        keys.add(
            (address, rng.choice([0, 53, 80, 443, rng.getrandbits(16)]), rng.choice(["tcp", "udp"]))
        )
    servers = backends(count)
    return [
        service(f"s{n}", address=address, port=port, protocol=protocol, backends=[servers[n]])
        for n, (address, port, protocol) in enumerate(sorted(keys))
    ]


def _unicast(rng: random.Random) -> IPv4Address:
    return IPv4Address(rng.randrange(1 << 24, 223 << 24))


@pytest.mark.parametrize("count", [2, 64, 1000, 4096])
def test_among_many_services_each_is_found_and_neighbours_pass(
    shipped: Balancer, rng: random.Random, count: int
) -> None:
    services = crowd(rng, count)
    shipped.configure(*services)
    frames = []
    for options in services:
        address, port = IPv4Address(options["address"]), options["port"]
        for segment in SEGMENTS.values():
            frames += [
                *(frame(segment(port=port ^ bits), destination=address) for bits in (0, 1, 0x8000)),
                frame(segment(port=0), destination=address),
                frame(segment(port=rng.getrandbits(16)), destination=address),
                frame(segment(port=port), destination=address + 1),
                frame(segment(port=port), destination=_unicast(rng)),
            ]
    verdicts = [outcome.verdict for outcome in shipped.send_all(frames)]
    assert verdicts.count(Verdict.TX) >= count
    assert verdicts.count(Verdict.PASS) >= count
    shipped.check()


def test_services_that_are_gone_are_forgotten(shipped: Balancer, rng: random.Random) -> None:
    many = crowd(rng, 500)
    frames = [
        frame(
            SEGMENTS[options["protocol"]](port=options["port"]),
            destination=options["address"],
        )
        for options in many
    ]
    for kept in (many, many[:250], many[250:], many[:1], [], many):
        shipped.configure(*kept)
        shipped.send_all(frames)
        shipped.check()
