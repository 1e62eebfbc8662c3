# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is dropped, why, and that it is dropped only on its way to a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.packet.harness import VIP, Balancer, backends, service
from tests.packet.model import Verdict
from tests.packet.packets import Transport, ethernet, frame, ipv4, ping, tcp, udp

STRANGER = "192.0.2.99"
TCP_ONLY = "192.0.2.30"
SERVICES = [
    service("web", port=443, backends=backends(3)),
    service("dns", port=53, protocol="udp", backends=backends(3)),
    service("tcp only", address=TCP_ONLY, port=0, backends=backends(3)),
]
REASONS = (
    "malformed",
    "fragment",
    "no_backend",
    "no_route",
    "no_neighbour",
    "forwarding_off",
    "too_big",
    "no_room",
    "bad_source",
    "no_service",
    "ttl_expired",
    "limited",
    "no_egress",
)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({}, None, id="nothing wrong"),
        pytest.param({"version": 0}, "malformed", id="version 0"),
        pytest.param({"version": 5}, "malformed", id="version 5"),
        pytest.param({"version": 6}, "malformed", id="version 6"),
        pytest.param({"version": 15}, "malformed", id="version 15"),
        pytest.param({"header_words": 0}, "malformed", id="header of 0 bytes"),
        pytest.param({"header_words": 4}, "malformed", id="header of 16 bytes"),
        pytest.param({"options": bytes(40)}, None, id="header of 60 bytes"),
        pytest.param(
            {"header_words": 15}, "malformed", id="header of 60 bytes in a frame too short for it"
        ),
        pytest.param({"total_length": 0}, "malformed", id="total length 0"),
        pytest.param({"total_length": 19}, "malformed", id="total length below the header"),
        pytest.param({"total_length": 20}, "malformed", id="total length of the header alone"),
        pytest.param({"total_length": 24}, "malformed", id="total length up to the ports"),
        pytest.param(
            {"padding": bytes(6), "total_length": 39}, "malformed", id="total length cuts TCP"
        ),
        pytest.param({"padding": bytes(6), "total_length": 40}, None, id="total length just TCP"),
        pytest.param(
            {"padding": bytes(6), "total_length": 46}, None, id="total length up to the end"
        ),
        pytest.param(
            {"padding": bytes(6), "total_length": 47}, "malformed", id="total length past it"
        ),
        pytest.param({"total_length": 65535}, "malformed", id="total length 65535"),
        pytest.param({"flags": 0x2000}, "fragment", id="first fragment"),
        pytest.param({"flags": 0x2001}, "fragment", id="middle fragment"),
        pytest.param({"flags": 0x0001}, "fragment", id="last fragment, offset 8"),
        pytest.param({"flags": 0x1FFF}, "fragment", id="last fragment, greatest offset"),
        pytest.param({"flags": 0x0100}, "fragment", id="last fragment, offset 2048"),
        pytest.param({"flags": 0x6000}, "fragment", id="first fragment with DF"),
        pytest.param({"flags": 0x8000}, None, id="reserved flag"),
        pytest.param({"flags": 0xC000}, None, id="reserved flag and DF"),
        pytest.param(
            {"flags": 0x2000, "version": 5}, "malformed", id="wrong version before fragment"
        ),
        pytest.param(
            {"flags": 0x2000, "total_length": 65535}, "malformed", id="too long before fragment"
        ),
        pytest.param(
            {"flags": 0x2000, "total_length": 20}, "fragment", id="fragment before too short"
        ),
        pytest.param(
            {"flags": 0x0001, "total_length": 0}, "fragment", id="fragment before length 0"
        ),
    ],
)
def test_defect(balancer: Balancer, fields: dict[str, Any], reason: str | None) -> None:
    """To a service's address, whatever the port, such a packet is dropped; else it passes."""
    balancer.configure(*SERVICES)
    defective = reason is not None
    fate: list[tuple[str, bytes, Verdict]] = [
        (
            "service",
            frame(tcp(), destination=VIP, **fields),
            Verdict.DROP if defective else Verdict.TX,
        ),
        (
            "other port",
            frame(tcp(port=1), destination=VIP, **fields),
            Verdict.DROP if defective else Verdict.PASS,
        ),
        ("other address", frame(tcp(), destination=STRANGER, **fields), Verdict.PASS),
        ("other protocol", frame(tcp(), destination=TCP_ONLY, protocol=17, **fields), Verdict.PASS),
        ("no protocol of ours", frame(tcp(), destination=VIP, protocol=1, **fields), Verdict.PASS),
    ]
    assert [(who, balancer.send(sent).verdict) for who, sent, _want in fate] == [
        (who, want) for who, _sent, want in fate
    ]
    assert balancer.counted().drops == ({reason: 2} if reason else {})


@pytest.mark.parametrize(
    ("length", "reason"),
    [(27, "malformed"), (28, None), (29, None), (36, None), (37, "malformed")],
)
def test_udp_takes_eight_bytes(balancer: Balancer, length: int, reason: str | None) -> None:
    balancer.configure(*SERVICES)
    balancer.send(frame(udp(), destination=VIP, padding=bytes(8), total_length=length))
    assert balancer.counted().drops == ({reason: 1} if reason else {})


@pytest.mark.parametrize("length", [0, 7, 8, 65535])
def test_the_length_that_a_udp_header_names_is_left_to_the_backend(
    balancer: Balancer, length: int
) -> None:
    balancer.configure(*SERVICES)
    balancer.send(frame(udp(length=length, data=b"hello"), destination=VIP))
    assert balancer.counted().drops == {}


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(frame(tcp(data=b"hello"), destination=VIP), id="TCP"),
        pytest.param(frame(udp(data=b"hello"), destination=VIP), id="UDP"),
        pytest.param(
            frame(tcp(data=b"hello"), destination=VIP, options=bytes(40)), id="TCP, IP options"
        ),
        pytest.param(frame(udp(), destination=VIP, padding=bytes(18)), id="UDP, padded"),
        pytest.param(frame(tcp(), destination=VIP, flags=0x2000), id="fragment"),
        pytest.param(frame(tcp(), destination=STRANGER), id="not to a service"),
        pytest.param(frame(ping(), destination=VIP), id="ping"),
        pytest.param(ethernet(ipv4(tcp(), destination=VIP), ether_type=0x86DD), id="IPv6"),
    ],
)
def test_cut_short_at_every_length(balancer: Balancer, whole: bytes) -> None:
    balancer.configure(*SERVICES)
    balancer.send_all(whole[:length] for length in range(14, len(whole) + 1))
    balancer.check()


def payload_of_any(segment: Callable[..., Transport]) -> Transport:
    """Long enough for any header length to fit, and full of bytes that differ."""
    return segment(data=bytes(range(1, 81)))


@pytest.mark.parametrize("segment", [tcp, udp])
@pytest.mark.parametrize("destination", [VIP, STRANGER])
def test_every_version_and_header_length(
    balancer: Balancer, segment: Callable[..., Transport], destination: str
) -> None:
    """A longer header has the ports further back, where often others stand than a service's."""
    balancer.configure(*SERVICES)
    balancer.send_all(
        frame(
            payload_of_any(segment),
            destination=destination,
            version=version,
            header_words=words,
            options=options,
        )
        for version in range(16)
        for words in range(16)
        for options in (b"", bytes(20))
    )
    balancer.check()


@pytest.mark.parametrize("segment", [tcp, udp])
@pytest.mark.parametrize("options", [0, 4, 40])
@pytest.mark.parametrize("padding", [0, 6])
def test_every_total_length(
    balancer: Balancer, segment: Callable[..., Transport], options: int, padding: int
) -> None:
    balancer.configure(*SERVICES)
    lengths = [*range(200), *(1 << bit for bit in range(8, 16)), 0x8000 + 60, 0xFF00, 0xFFFF]
    balancer.send_all(
        frame(
            segment(data=b"hello"),
            destination=VIP,
            options=bytes(options),
            padding=bytes(padding),
            total_length=length,
        )
        for length in lengths
    )
    balancer.check()


def test_header_and_total_length_lie_together(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    balancer.send_all(
        frame(udp(data=bytes(60)), destination=VIP, header_words=words, total_length=length)
        for words in range(16)
        for length in range(100)
    )
    balancer.check()


@pytest.mark.parametrize("segment", [tcp, udp])
def test_every_fragment_offset(balancer: Balancer, segment: Callable[..., Transport]) -> None:
    balancer.configure(*SERVICES)
    balancer.send_all(
        frame(segment(), destination=VIP, flags=flags) for flags in range(0, 65536, 7)
    )
    balancer.send_all(frame(segment(), destination=VIP, flags=1 << bit) for bit in range(16))
    balancer.check()


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param([], id="none at all"),
        pytest.param(backends(3, state="drained"), id="all drained"),
        pytest.param(backends(3, state="disabled"), id="all disabled"),
        pytest.param(backends(3, weight=0), id="all of weight 0"),
    ],
)
@pytest.mark.parametrize("scheduler", ["jhash", "maglev"])
def test_no_usable_backend(
    balancer: Balancer, listed: list[dict[str, Any]], scheduler: str
) -> None:
    balancer.configure(service(backends=listed, scheduler=scheduler))
    outcomes = balancer.send_all(
        frame(tcp(source_port=port), destination=VIP) for port in range(100)
    )
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DROP}
    assert balancer.counted().drops == {"no_backend": 100}


def test_reasons_are_named(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    assert set(REASONS) == balancer.names()["drops"]
