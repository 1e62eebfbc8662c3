# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that do not fit once they are encapsulated: their sender is told, or they are dropped."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether

from tests.packet.harness import VIPS, Balancer, backends, service
from tests.packet.model import Verdict
from tests.packet.packets import (
    ATOMIC,
    CLIENT,
    CLIENT6,
    FIRST_FRAGMENT,
    IPV4_HEADER,
    IPV6_HEADER,
    TCP_HEADER,
    frame,
    hop_by_hop,
    icmp,
    icmp6,
    ping,
    ping6,
    tcp,
)
from tests.packet.quotes import error_about, quote_of

MTU = 1400
ENCAPSULATIONS = {"ipip": 0, "gue": 8, "gre": 4}
OUTER = {4: IPV4_HEADER, 6: IPV6_HEADER}

COMBINATIONS = [
    pytest.param(
        inner, outer, encapsulation, OUTER[outer] + extra, id=f"{inner}in{outer} {encapsulation}"
    )
    for inner in (4, 6)
    for outer in (4, 6)
    for encapsulation, extra in ENCAPSULATIONS.items()
] + [pytest.param(version, version, "l2", 0, id=f"{version} l2") for version in (4, 6)]


def packet_of_length(version: int, length: int, **fields: Any) -> bytes:
    """A frame with a TCP packet of this length."""
    data = bytes(number % 251 for number in range(length - OUTER[version] - TCP_HEADER))
    return frame(tcp(data=data, flags=0x10), destination=VIPS[version], **fields)


@pytest.mark.parametrize(("inner", "outer", "encapsulation", "overhead"), COMBINATIONS)
@pytest.mark.parametrize("mtu", [1328, 1400, 1500])
def test_limit(
    balancer: Balancer, inner: int, outer: int, encapsulation: str, overhead: int, mtu: int
) -> None:
    """What just fits is sent; one byte more is answered, with the MTU that would fit."""
    balancer.configure(
        service(
            address=VIPS[inner], encapsulation=encapsulation, backends=backends(1, version=outer)
        ),
        mtu=mtu,
    )
    fits = balancer.send(packet_of_length(inner, mtu - overhead))
    assert fits.frame is not None
    assert len(fits.frame) == 14 + mtu
    exceeds = balancer.send(packet_of_length(inner, mtu - overhead + 1))
    assert exceeds.verdict is Verdict.TX
    assert exceeds.frame is not None
    if inner == 4:
        assert struct.unpack_from("!H", exceeds.frame, 14 + 20 + 6) == (mtu - overhead,)
    else:
        assert struct.unpack_from("!I", exceeds.frame, 14 + 40 + 4) == (mtu - overhead,)
    assert balancer.check().answers == {"packet_too_big": 1}


@pytest.mark.parametrize("version", [4, 6])
def test_answer_as_scapy_builds_it(balancer: Balancer, version: int) -> None:
    balancer.configure(
        service(address=VIPS[version], backends=backends(1, version=version)), mtu=MTU
    )
    sent = packet_of_length(version, 1399, tos=0xB8, ttl=3)
    quote = sent[14 : 14 + 256]
    ethernet = Ether(dst="52:54:00:00:00:01", src="52:54:00:00:00:02")
    if version == 4:
        header = IP(src=VIPS[4], dst=CLIENT, id=0, flags="DF", ttl=64, tos=0)
        message = ICMP(type=3, code=4, nexthopmtu=MTU - 20)
    else:
        header = IPv6(src=VIPS[6], dst=CLIENT6, hlim=64)
        message = ICMPv6PacketTooBig(mtu=MTU - 40)
    assert balancer.send(sent).frame == bytes(ethernet / header / message / quote)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("of4", "of6"),
    [
        pytest.param({}, {}, id="plain"),
        pytest.param({"options": bytes(40)}, {"extensions": [hop_by_hop(20)]}, id="options"),
        pytest.param({"identification": 7}, {"extensions": [ATOMIC]}, id="atomic fragment"),
        pytest.param({"tags": [1]}, {"tags": [1]}, id="one tag"),
        pytest.param({"tags": [(0x88A8, 1), 2]}, {"tags": [(0x88A8, 1), 2]}, id="two tags"),
        pytest.param({"padding": bytes(9)}, {"padding": bytes(9)}, id="padding"),
        pytest.param({"tos": 0xFF}, {"tos": 0xFF, "flow_label": 0xFFFFF}, id="every bit"),
    ],
)
def test_answered(
    balancer: Balancer, version: int, of4: dict[str, Any], of6: dict[str, Any]
) -> None:
    balancer.configure(
        service(address=VIPS[version], backends=backends(1, version=version)), mtu=MTU
    )
    fields = of4 if version == 4 else of6
    outcomes = balancer.send_all(
        packet_of_length(version, length, **fields) for length in (1381, 1399, 1400, 1401, 2999)
    )
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
    assert balancer.check().answers == {"packet_too_big": 5}


@pytest.mark.parametrize(
    ("sent", "fate"),
    [
        pytest.param(packet_of_length(4, 1399), "answered", id="DF"),
        pytest.param(packet_of_length(4, 1399, flags=0xC000), "answered", id="DF and the reserved"),
        pytest.param(packet_of_length(4, 1399, flags=0), "too_big", id="no DF"),
        pytest.param(packet_of_length(4, 1399, flags=0x8000), "too_big", id="the reserved flag"),
        pytest.param(packet_of_length(6, 1399), "answered", id="IPv6"),
        pytest.param(packet_of_length(4, 1379), "sent", id="short enough"),
        pytest.param(packet_of_length(4, 1379, padding=bytes(50)), "sent", id="with padding not"),
        pytest.param(packet_of_length(4, 1379, flags=0), "sent", id="short enough without DF"),
        pytest.param(
            error_about(4, quote_of(4, tcp(source_port=443, data=bytes(1350)))),
            "too_big",
            id="an ICMP error",
        ),
        pytest.param(
            error_about(6, quote_of(6, tcp(source_port=443, data=bytes(1300)))),
            "too_big",
            id="an ICMPv6 error",
        ),
        pytest.param(
            frame(ping(data=bytes(1400)), destination=VIPS[4]), "echo", id="a ping is answered"
        ),
        pytest.param(
            frame(ping6(data=bytes(1400)), destination=VIPS[6]), "echo", id="a ping6 is answered"
        ),
        pytest.param(frame(icmp(13, data=bytes(1400)), destination=VIPS[4]), "passed", id="ICMP"),
        pytest.param(
            frame(icmp6(133, data=bytes(1400)), destination=VIPS[6]), "passed", id="ICMPv6"
        ),
        pytest.param(
            packet_of_length(6, 1399, extensions=[FIRST_FRAGMENT]), "fragment", id="a fragment"
        ),
    ],
)
def test_fate(balancer: Balancer, sent: bytes, fate: str) -> None:
    balancer.configure(
        *(
            service(str(version), address=VIPS[version], backends=backends(1, version=version))
            for version in (4, 6)
        ),
        mtu=MTU,
    )
    balancer.send(sent)
    counted = balancer.check()
    assert {
        "answered": counted.answers.get("packet_too_big"),
        "echo": counted.answers.get("echo_reply"),
        "sent": sum(tally.packets for tally in counted.services.values()),
        "passed": counted.handled + 1,
    }.get(fate, counted.drops.get(fate)) == 1


@pytest.mark.parametrize(("version", "least"), [(4, 576), (6, 1280)])
@pytest.mark.parametrize("tags", [[], [1, 2]])
def test_nobody_is_told_less_than_every_link_takes(
    balancer: Balancer, version: int, least: int, tags: list[int]
) -> None:
    """It would not be believed, or not be worth it; so such packets are lost, which is counted."""
    for most, fate in (
        (least, "answered"),
        (least - 1, "dropped"),
        (100, "dropped"),
        (10, "dropped"),
    ):
        balancer.configure(
            service(address=VIPS[version], backends=backends(1, version=version)),
            mtu=most + OUTER[version],
        )
        sent = [
            packet_of_length(version, length, tags=tags, padding=bytes(padding))
            for length in (most + 1, least + 1, 1500)
            for padding in (0, 99)
            if length > OUTER[version] + TCP_HEADER
        ]
        balancer.send_all(sent)
        counted = balancer.check()
        assert counted.answers == ({"packet_too_big": len(sent)} if fate == "answered" else {})
        assert counted.drops == ({"too_big": len(sent)} if fate == "dropped" else {})


@pytest.mark.parametrize("version", [4, 6])
def test_the_option_of_a_backend(balancer: Balancer, version: int) -> None:
    """It can only make the way narrower than the interface does."""
    for option in (1400, 9000):
        balancer.configure(
            service(address=VIPS[version], backends=backends(1, version=version, mtu=option)),
            mtu=1500,
        )
        most = min(option, 1500) - OUTER[version]
        assert balancer.send(packet_of_length(version, most)).frame is not None
        exceeds = balancer.send(packet_of_length(version, most + 1))
        assert exceeds.verdict is Verdict.TX
        assert balancer.check().answers == {"packet_too_big": 1}


@pytest.mark.parametrize("flags", [0x2000, 0x6000, 0x4010])
def test_fragments_that_are_balanced(balancer: Balancer, flags: int) -> None:
    balancer.configure(
        service(address=VIPS[4], port=0, affinity="source", backends=backends(1)), mtu=MTU
    )
    balancer.send(packet_of_length(4, 1399, flags=flags))
    counted = balancer.check()
    assert bool(counted.answers) is bool(flags & 0x4000)
    assert bool(counted.drops) is not bool(flags & 0x4000)


def test_every_length(balancer: Balancer) -> None:
    balancer.configure(
        service("4", address=VIPS[4], backends=backends(1, version=6)),
        service("6", address=VIPS[6], backends=backends(1), encapsulation="gue"),
        mtu=MTU,
    )
    balancer.send_all(
        packet_of_length(version, length) for version in (4, 6) for length in range(1300, 3400, 3)
    )
    balancer.check()


def test_every_content(balancer: Balancer, rng: Any) -> None:
    """The answer's checksum covers 256 bytes of anything."""
    balancer.configure(
        *(
            service(str(version), address=VIPS[version], backends=backends(1, version=version))
            for version in (4, 6)
        ),
        mtu=1000,
    )
    special = (0x00, 0xFF)
    balancer.send_all(
        frame(
            tcp(data=content, source_port=rng.getrandbits(16)),
            destination=VIPS[version],
            tos=rng.getrandbits(8),
        )
        for version in (4, 6)
        for content in (
            *(rng.randbytes(1000) for _each in range(500)),
            *(bytes([byte]) * 1000 for byte in special),
        )
    )
    balancer.check()
