# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ICMP and ICMPv6: pings are answered, errors go to the backend of the flow they quote."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from tests.packet.harness import VIP, VIP6, VIPS, Balancer, backends, service
from tests.packet.hashing import ones_complement_sum
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    ATOMIC,
    DESTINATION,
    FIRST_FRAGMENT,
    LAST_FRAGMENT,
    ROUTING,
    Transport,
    authentication,
    extension,
    forwarded,
    fragment_header,
    frame,
    hop_by_hop,
    icmp,
    icmp6,
    ping,
    ping6,
    random_flow,
    random_flow6,
    tcp,
    udp,
)
from tests.packet.quotes import (
    MESSAGES,
    PINGS,
    STRANGERS,
    error_about,
    first_fragment,
    quote_of,
)

ONLY_UDP = {4: "192.0.2.30", 6: "2001:db8::30"}
SERVICES = [
    made
    for version in (4, 6)
    for made in (
        service(
            f"web {version}", address=VIPS[version], port=443, backends=backends(9, version=version)
        ),
        service(
            f"dns {version}",
            address=ONLY_UDP[version],
            port=0,
            protocol="udp",
            backends=backends(9, version=version),
        ),
    )
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="plain"),
        pytest.param({"ttl": 1}, id="TTL 1"),
        pytest.param({"ttl": 64}, id="TTL 64"),
        pytest.param({"ttl": 255}, id="TTL 255"),
        pytest.param({"tos": 0xFF}, id="type of service"),
        pytest.param({"padding": b"\xa5" * 9}, id="padding"),
        pytest.param({"tags": [5, 6]}, id="two tags"),
        pytest.param({"more": True}, id="options"),
    ],
)
def test_ping_is_answered(balancer: Balancer, version: int, fields: dict[str, Any]) -> None:
    """Of any service's address, whatever its protocol; checksums hold in the answer."""
    fields = dict(fields)
    if fields.pop("more", None):
        fields = {"options": bytes(8)} if version == 4 else {"extensions": [hop_by_hop(), ATOMIC]}
    balancer.configure(*SERVICES)
    for destination in (VIPS[version], ONLY_UDP[version]):
        outcome = balancer.send(frame(PINGS[version](), destination=destination, **fields))
        assert outcome.verdict is Verdict.TX
        if not fields:
            assert outcome.frame is not None
            assert checksums_hold(outcome.frame[14:])
    assert balancer.check().answers == {"echo_reply": 2}


def checksums_hold(packet: bytes) -> bool:
    """Those of an ICMP packet without options."""
    if packet[0] >> 4 == 4:
        return ones_complement_sum(packet[:20]) == ones_complement_sum(packet[20:]) == 0xFFFF
    message = packet[40:]
    return ones_complement_sum(packet[8:40] + struct.pack("!II", len(message), 58) + message) == (
        0xFFFF
    )


def test_one_ping_spelt_out(balancer: Balancer) -> None:
    """Byte for byte, so that one case depends on no builder and no model."""
    balancer.configure(*SERVICES)
    before = bytes.fromhex(
        "525400000002 525400000001 0800"
        "4500 001e 1234 4000 3801 4466 c633 6407 c000 020a"  # 198.51.100.7 > 192.0.2.10, TTL 56
        "0800 8f95 0001 0002 6867"
    )
    assert ones_complement_sum(before[14:34]) == ones_complement_sum(before[34:]) == 0xFFFF
    after = bytes.fromhex(
        "525400000001 525400000002 0800"
        "4500 001e 1234 4000 4001 3c66 c000 020a c633 6407"
        "0000 9795 0001 0002 6867"
    )
    assert balancer.send(before) == Outcome(Verdict.TX, after)


@pytest.mark.parametrize("version", [4, 6])
def test_every_ping_has_right_checksums(
    balancer: Balancer, rng: random.Random, version: int
) -> None:
    balancer.configure(*SERVICES)
    frames = [
        frame(
            MESSAGES[version](
                {4: 8, 6: 128}[version],
                rest=rng.getrandbits(32),
                data=rng.randbytes(rng.randrange(99)),
            ),
            source=(random_flow if version == 4 else random_flow6)(rng)[0],
            destination=VIPS[version],
            ttl=rng.randrange(256),
        )
        for _each in range(2000)
    ]
    for outcome in balancer.send_all(frames):
        assert outcome.frame is not None
        assert checksums_hold(outcome.frame[14:])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("rest", "data"),
    [
        pytest.param(0, b"", id="nothing but zeros"),
        pytest.param(0, bytes(1), id="one more"),
        pytest.param(0, bytes(55), id="an odd number"),
        pytest.param(0, bytes(56), id="as many as usual"),
        pytest.param(0, bytes(1472), id="as many as fit"),
        pytest.param(0xFFFF, b"", id="words that add up to zero"),
        pytest.param(0x1234EDCB, b"", id="two such words"),
        pytest.param(0, b"\xff\xff", id="a word behind zeros"),
        pytest.param(0, b"\x12\x34\xed\xcb", id="two words behind zeros"),
        pytest.param(0, bytes(49) + b"\xff\0\xff\0\0", id="an odd byte among the last"),
        pytest.param(0, bytes(55) + b"\xff\0\xff", id="the last byte"),
        pytest.param(0, b"\0\1", id="no such word"),
    ],
)
@pytest.mark.parametrize("padding", [b"", b"\xff"])
def test_a_checksum_that_is_zero_or_nearly(
    balancer: Balancer, version: int, rest: int, data: bytes, padding: bytes
) -> None:
    """Of nothing but zeros the sum is 0 and so its complement 0xFFFF; of words that add up to zero
    it is 0xFFFF, and the complement 0 (RFC 1071, RFC 1624 section 3). There 0xFFFF does as well."""
    balancer.configure(*SERVICES)
    sent = frame(
        MESSAGES[version]({4: 8, 6: 128}[version], rest=rest, data=data),
        destination=VIPS[version],
        padding=padding,
    )
    outcome = balancer.send(sent)
    assert outcome.verdict is Verdict.TX
    assert outcome.frame is not None
    packet = outcome.frame[14 : len(outcome.frame) - len(padding)]
    assert checksums_hold(packet)
    at = {4: 20, 6: 40}[version]
    message = bytes([{4: 0, 6: 129}[version], 0, 0, 0]) + sent[14 + at + 4 : 14 + len(packet)]
    pseudo = packet[8:40] + struct.pack("!II", len(message), 58) if version == 6 else b""
    full = ones_complement_sum(pseudo + message) ^ 0xFFFF
    assert struct.unpack_from("!H", packet, at + 2) == (full or 0xFFFF,)
    balancer.check()


def test_a_checksum_at_its_edges(balancer: Balancer) -> None:
    """Right or wrong, it changes by the difference of what it covers (RFC 1624)."""
    balancer.configure(*SERVICES)
    edges = (0, 1, 0x7FF, 0x800, 0x801, 0xF7FF, 0xF800, 0xFFFE, 0xFFFF)
    balancer.send_all(
        frame(
            Transport(1, struct.pack("!BBHI", 8, 0, inner, 0)),
            destination=VIP,
            checksum=outer,
            ttl=ttl,
        )
        for inner in edges
        for outer in edges
        for ttl in (1, 63, 64, 65, 255)
    )
    balancer.send_all(
        frame(Transport(58, struct.pack("!BBHI", 128, 0, inner or 1, 0)), destination=VIP6)
        for inner in edges
    )
    balancer.check()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(ping(), destination=STRANGERS[4]), id="ping to another address"),
        pytest.param(frame(ping6(), destination=STRANGERS[6]), id="ping6 to another address"),
        pytest.param(frame(icmp(0), destination=VIP), id="echo reply"),
        pytest.param(frame(icmp6(129), destination=VIP6), id="echo reply 6"),
        pytest.param(frame(icmp(13), destination=VIP), id="timestamp"),
        pytest.param(frame(icmp(5), destination=VIP), id="redirect"),
        pytest.param(frame(icmp(128), destination=VIP), id="a type of ICMPv6 in ICMP"),
        pytest.param(frame(icmp6(8), destination=VIP6), id="and the other way round"),
        pytest.param(frame(icmp6(133), destination=VIP6), id="router solicitation"),
        pytest.param(frame(bytes(ping()), protocol=1, destination=VIP6), id="ICMP of IPv4 in IPv6"),
        pytest.param(frame(bytes(ping6()), protocol=58, destination=VIP), id="and of IPv6 in IPv4"),
        pytest.param(frame(ping()[:7], protocol=1, destination=VIP), id="seven bytes of ping"),
        pytest.param(frame(ping6()[:7], protocol=58, destination=VIP6), id="seven bytes of ping6"),
        pytest.param(
            frame(ping(), destination=VIP, total_length=27), id="seven bytes by the total length"
        ),
        pytest.param(frame(ping(), destination=VIP, version=5), id="IP version 5"),
        pytest.param(frame(ping(), destination=VIP, total_length=77), id="longer than the frame"),
        pytest.param(frame(ping(), destination=VIP, flags=0x2000), id="first fragment"),
        pytest.param(frame(ping(), destination=VIP, flags=1), id="last fragment"),
        pytest.param(
            frame(ping6(), destination=VIP6, extensions=[FIRST_FRAGMENT]), id="fragment of ping6"
        ),
    ],
)
def test_passed_untouched(balancer: Balancer, sent: bytes) -> None:
    balancer.configure(*SERVICES)
    assert balancer.send(sent) == Outcome(Verdict.PASS, sent)
    balancer.check()


@pytest.mark.parametrize("version", [4, 6])
def test_every_type_and_code(balancer: Balancer, version: int) -> None:
    balancer.configure(*SERVICES)
    quote = quote_of(version)
    outcomes = balancer.send_all(
        frame(MESSAGES[version](kind, code, data=quote), destination=VIPS[version])
        for kind in range(256)
        for code in (0, 1, 255)
    )
    handled = {4: (3, 8, 11, 12), 6: (1, 2, 3, 4, 128)}[version]
    assert sum(outcome.verdict is Verdict.TX for outcome in outcomes) == 3 * len(handled)
    balancer.check()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offset", [0, 1])
def test_an_error_in_fragments(balancer: Balancer, version: int, offset: int) -> None:
    """It need not be whole, so nobody knows what it is about."""
    balancer.configure(*SERVICES)
    fields: dict[str, Any] = (
        {"flags": 0x2000 + offset}
        if version == 4
        else {"extensions": [fragment_header(offset, more=True)]}
    )
    for quote in (quote_of(version), first_fragment(version, tcp(source_port=443))):
        sent = error_about(version, quote, **fields)
        assert balancer.send(sent) == Outcome(Verdict.PASS, sent)
    balancer.check()


QUOTES4: dict[str, tuple[bytes, bool]] = {
    "TCP": (quote_of(4), True),
    "eight bytes of TCP": (quote_of(4)[:28], True),
    "seven bytes": (quote_of(4)[:27], False),
    "options": (quote_of(4, options=bytes(40)), True),
    "options and eight bytes": (quote_of(4, options=bytes(40))[:68], True),
    "options and seven bytes": (quote_of(4, options=bytes(40))[:67], False),
    "TTL 0": (quote_of(4, ttl=0), True),
    "wrong checksum": (quote_of(4, checksum=1), True),
    "a longer packet": (quote_of(4, total_length=1500)[:28], True),
    "version 6": (quote_of(4, version=6), False),
    "header of 16 bytes": (quote_of(4, header_words=4), False),
    "header longer than the quote": (quote_of(4, header_words=15)[:40], False),
    "first fragment": (quote_of(4, flags=0x2000), True),
    "first fragment with DF": (quote_of(4, flags=0x6000), True),
    "first fragment with options": (quote_of(4, flags=0x2000, options=bytes(40)), True),
    "first fragment, eight bytes": (quote_of(4, flags=0x2000)[:28], True),
    "first fragment, seven bytes": (quote_of(4, flags=0x2000)[:27], False),
    "first fragment of another port": (quote_of(4, tcp(source_port=444), flags=0x2000), False),
    "middle fragment": (quote_of(4, flags=0x2001), False),
    "last fragment": (quote_of(4, flags=0x0010), False),
    "last fragment, greatest offset": (quote_of(4, flags=0x1FFF), False),
    "no DF": (quote_of(4, flags=0), True),
    "another source": (quote_of(4, source=STRANGERS[4]), False),
    "another port": (quote_of(4, tcp(source_port=444)), False),
    "UDP": (quote_of(4, udp(source_port=443)), False),
    "ICMP": (quote_of(4, ping()), False),
    "GRE": (quote_of(4, bytes(20), protocol=47), False),
    "nothing": (b"", False),
    "half a header": (quote_of(4)[:19], False),
    "a header": (quote_of(4)[:20], False),
    "IPv6": (quote_of(6), False),
}

QUOTES6: dict[str, tuple[bytes, bool]] = {
    "TCP": (quote_of(6), True),
    "eight bytes of TCP": (quote_of(6)[:48], True),
    "seven bytes": (quote_of(6)[:47], False),
    "extension headers": (
        quote_of(6, extensions=[hop_by_hop(), extension(ROUTING, 2), authentication()]),
        True,
    ),
    "extension headers and seven bytes": (
        quote_of(6, extensions=[hop_by_hop(), extension(ROUTING, 2)])[: 40 + 8 + 24 + 7],
        False,
    ),
    "eight extension headers": (quote_of(6, extensions=[extension(DESTINATION)] * 8), True),
    "nine extension headers": (quote_of(6, extensions=[extension(DESTINATION)] * 9), False),
    "half an extension header": (quote_of(6, extensions=[hop_by_hop()])[:44], False),
    "atomic fragment": (quote_of(6, extensions=[ATOMIC]), True),
    "first fragment": (quote_of(6, extensions=[FIRST_FRAGMENT]), True),
    "first fragment, reserved bits": (
        quote_of(6, extensions=[fragment_header(more=True, reserved=3)]),
        True,
    ),
    "first fragment between extension headers": (
        quote_of(6, extensions=[hop_by_hop(), FIRST_FRAGMENT, extension(DESTINATION)]),
        True,
    ),
    "first fragment, eight bytes": (quote_of(6, extensions=[FIRST_FRAGMENT])[:56], True),
    "first fragment, seven bytes": (quote_of(6, extensions=[FIRST_FRAGMENT])[:55], False),
    "first fragment, half a header": (quote_of(6, extensions=[FIRST_FRAGMENT])[:44], False),
    "first fragment of another port": (
        quote_of(6, tcp(source_port=444), extensions=[FIRST_FRAGMENT]),
        False,
    ),
    "middle fragment": (quote_of(6, extensions=[fragment_header(1, more=True)]), False),
    "last fragment": (quote_of(6, extensions=[LAST_FRAGMENT]), False),
    "last fragment of the first": (
        quote_of(6, extensions=[FIRST_FRAGMENT, LAST_FRAGMENT]),
        False,
    ),
    "hop limit 0": (quote_of(6, ttl=0), True),
    "a longer packet": (quote_of(6, payload_length=1460)[:48], True),
    "version 4": (quote_of(6, version=4), False),
    "another source": (quote_of(6, source=STRANGERS[6]), False),
    "another port": (quote_of(6, tcp(source_port=444)), False),
    "UDP": (quote_of(6, udp(source_port=443)), False),
    "ICMPv6": (quote_of(6, ping6()), False),
    "nothing": (b"", False),
    "half a header": (quote_of(6)[:39], False),
    "a header": (quote_of(6)[:40], False),
    "IPv4": (quote_of(4), False),
}


@pytest.mark.parametrize(
    ("version", "quote", "forwarded"),
    [
        pytest.param(version, *case, id=f"IPv{version} {name}")
        for version, cases in ((4, QUOTES4), (6, QUOTES6))
        for name, case in cases.items()
    ],
)
def test_quote(balancer: Balancer, version: int, quote: bytes, forwarded: bool) -> None:
    balancer.configure(*SERVICES)
    outcome = balancer.send(error_about(version, quote))
    assert outcome.verdict is (Verdict.TX if forwarded else Verdict.PASS)
    counted = balancer.check()
    assert set(counted.services) == ({f"web {version}"} if forwarded else set())


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("scheduler", ["jhash", "maglev"])
@pytest.mark.parametrize("affinity", ["flow", "source"])
def test_an_error_goes_where_its_flow_goes(
    balancer: Balancer, rng: random.Random, version: int, scheduler: str, affinity: str
) -> None:
    balancer.configure(
        *(
            service(
                protocol,
                address=VIPS[version],
                port=port,
                protocol=protocol,
                scheduler=scheduler,
                affinity=affinity,
                backends=backends(40, version=version),
            )
            for protocol, port in (("tcp", 443), ("udp", 0))
        ),
        hash_seed=77,
    )
    at = {4: slice(30, 34), 6: slice(38, 54)}[version]
    for segment, port in ((tcp, 443), (udp, 53), (udp, 5353)):
        for _turn in range(40):
            client, client_port = (random_flow if version == 4 else random_flow6)(rng)
            there = segment(source_port=client_port, port=port)
            back = segment(source_port=port, port=client_port)
            sent = frame(there, source=client, destination=VIPS[version])
            outcomes = balancer.send_all(
                [
                    sent,
                    error_about(version, quote_of(version, back, destination=client)),
                    error_about(version, first_fragment(version, back, destination=client)),
                ]
            )
            assert len({outcome.frame[at] for outcome in outcomes if outcome.frame}) == 1
            assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
    balancer.check()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "gre", "l2"])
def test_an_error_travels_whole(balancer: Balancer, version: int, encapsulation: str) -> None:
    balancer.configure(
        service(
            address=VIPS[version],
            encapsulation=encapsulation,
            backends=backends(3, version=version),
        )
    )
    sent = error_about(version, quote_of(version), tags=[9], padding=b"\xa5", tos=0xC0)
    outcome = balancer.send(sent)
    assert outcome.frame is not None
    assert outcome.frame.endswith(forwarded(sent[18:]))
    assert balancer.check().services["web"].packets == 1


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_nobody_s_backend(balancer: Balancer, version: int) -> None:
    balancer.configure(service(address=VIPS[version], backends=[]))
    assert balancer.send(error_about(version, quote_of(version))).verdict is Verdict.DROP
    assert balancer.check().drops == {"no_backend": 1}


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_to_another_than_it_is_about(balancer: Balancer, version: int) -> None:
    balancer.configure(*SERVICES)
    sent = error_about(version, quote_of(version), destination=ONLY_UDP[version])
    assert balancer.send(sent).verdict is Verdict.PASS
    balancer.check()


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(frame(ping(), destination=VIP), id="ping"),
        pytest.param(frame(ping6(), destination=VIP6), id="ping6"),
        pytest.param(error_about(4, quote_of(4, options=bytes(8))), id="error"),
        pytest.param(
            error_about(6, quote_of(6, extensions=[hop_by_hop(), authentication()])), id="error 6"
        ),
        pytest.param(
            error_about(6, quote_of(6, extensions=[ATOMIC]), extensions=[hop_by_hop()]),
            id="error 6 behind options",
        ),
    ],
)
def test_cut_short_at_every_length(balancer: Balancer, whole: bytes) -> None:
    """As it is, and with the length that admits it, with and without padding."""
    balancer.configure(*SERVICES)
    frames = []
    for length in range(14, len(whole) + 1):
        cut = whole[:length]
        if whole[12] == 0x08:
            honest = cut[:16] + struct.pack("!H", length - 14) + cut[18:]
        else:
            honest = cut[:18] + struct.pack("!H", max(0, length - 54)) + cut[20:]
        frames += [cut, honest, honest + whole[length:]]
    balancer.send_all(some for some in frames if len(some) >= 14)
    balancer.check()


@pytest.mark.parametrize("version", [4, 6])
def test_every_byte_of_a_quote_may_be_wrong(
    balancer: Balancer, rng: random.Random, version: int
) -> None:
    balancer.configure(*SERVICES)
    fields: dict[str, Any] = (
        {"options": bytes(4)} if version == 4 else {"extensions": [hop_by_hop(), ATOMIC]}
    )
    whole = error_about(version, quote_of(version, **fields))
    balancer.send_all(
        whole[:at] + bytes([value]) + whole[at + 1 :]
        for at in range(14, len(whole))
        for value in (0, 1, 0xFF, whole[at] ^ 1, whole[at] ^ 0x80, rng.randrange(256))
    )
    balancer.check()
