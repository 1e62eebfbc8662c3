# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is counted: exactly the frames that were sent, and the reason for each that was dropped."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

from tests.packet.harness import BALANCER_ADDRESS, VIP, Balancer, backends, service
from tests.packet.model import Statistics, Tally
from tests.packet.packets import SEGMENTS, frame, ping, tcp, udp

ONE = IPv4Address("10.0.0.1")


def test_a_syn_counts_as_many_bytes_as_were_sent(balancer: Balancer) -> None:
    balancer.configure(service("web"))
    balancer.send_all([frame(tcp(), destination=VIP)] * 1000)
    sent = Tally(1000, 74_000)
    assert balancer.counted() == Statistics({"web": sent}, {("web", ONE): sent}, {})


def test_padding_is_sent_and_so_counted(balancer: Balancer) -> None:
    balancer.configure(service("dns", port=53, protocol="udp"))
    balancer.send(frame(udp(data=b"q"), destination=VIP, padding=bytes(17)))
    assert balancer.counted().services == {"dns": Tally(1, 80)}


def test_a_dropped_packet_counts_only_under_its_reason(balancer: Balancer) -> None:
    balancer.configure(service("web"), service("idle", port=80, backends=[]))
    balancer.send_all([frame(tcp(), destination=VIP, flags=0x2000)] * 3)
    balancer.send_all([frame(tcp(), destination=VIP, version=5)] * 4)
    balancer.send_all([frame(tcp(port=80), destination=VIP)] * 5)
    assert balancer.counted() == Statistics(
        {}, {}, {"fragment": 3, "malformed": 4, "no_backend": 5}
    )


def test_a_passed_packet_is_counted_nowhere(balancer: Balancer) -> None:
    balancer.configure(service("web"))
    balancer.send(frame(tcp(port=22), destination=BALANCER_ADDRESS))
    balancer.send(frame(ping(), destination=BALANCER_ADDRESS))
    balancer.send(frame(tcp(), destination=BALANCER_ADDRESS, version=5))
    assert balancer.counted() == Statistics()


def test_a_backend_counts_for_each_service_apart(balancer: Balancer) -> None:
    balancer.configure(service("web", port=443), service("plain", port=80))
    balancer.send_all([frame(tcp(port=443), destination=VIP)] * 2)
    balancer.send_all([frame(tcp(port=80, data=b"hello"), destination=VIP)] * 3)
    assert balancer.counted() == Statistics(
        {"web": Tally(2, 148), "plain": Tally(3, 237)},
        {("web", ONE): Tally(2, 148), ("plain", ONE): Tally(3, 237)},
        {},
    )


def test_mixed_traffic(shipped: Balancer, rng: random.Random) -> None:
    """Every kind of frame, in any order: all counters agree with the model's."""
    shipped.configure(
        service("web", port=443, scheduler="maglev", backends=backends(20)),
        service("plain", port=80, backends=backends(7)),
        service("every", port=0, backends=backends(3)),
        service("dns", port=53, protocol="udp", scheduler="maglev", backends=backends(5)),
        service("idle", port=123, protocol="udp", backends=backends(5, state="drained")),
    )
    frames = [
        frame(
            SEGMENTS[rng.choice(["tcp", "udp"])](
                source_port=rng.getrandbits(16),
                port=rng.choice([443, 80, 53, 123, rng.getrandbits(16)]),
                data=bytes(rng.choice([0, 1, 100, 1000, 1400])),
            ),
            source=IPv4Address(rng.getrandbits(32)),
            destination=rng.choice([VIP] * 4 + [BALANCER_ADDRESS]),
            options=bytes(rng.choice([0, 0, 4, 40])),
            flags=rng.choice([0x4000] * 9 + [0x2000, 0x00FF]),
            version=rng.choice([4] * 19 + [5]),
            padding=bytes(rng.choice([0, 0, 6])),
        )
        for _each in range(20_000)
    ]
    shipped.send_all(frames)
    counted = shipped.counted()
    assert counted == shipped.model.statistics
    assert set(counted.drops) == {"bad_source", "fragment", "malformed", "no_backend"}
    for name, total in counted.services.items():
        parts = [tally for (owner, _backend), tally in counted.backends.items() if owner == name]
        assert total.packets == sum(part.packets for part in parts)
        assert total.bytes == sum(part.bytes for part in parts)
