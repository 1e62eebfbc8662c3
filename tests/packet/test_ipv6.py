# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6: what is forwarded, what passes and what is dropped, extension headers above all."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from tests.packet.harness import (
    BALANCER_ADDRESS6,
    LONGEST_FRAME,
    VIP,
    VIP6,
    Balancer,
    backends,
    service,
)
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    ATOMIC,
    CLIENT6,
    DESTINATION,
    FIRST_FRAGMENT,
    LAST_FRAGMENT,
    MOBILITY,
    ROUTING,
    Extension,
    authentication,
    ethernet,
    extension,
    frame,
    hop_by_hop,
    icmp6,
    ipv6,
    ping6,
    tcp,
    udp,
)

STRANGER = "2001:db8::99"
EVERY_PORT = "2001:db8::20"
TCP_ONLY = "2001:db8::30"
SERVICES = [
    service("web", address=VIP6, port=443, backends=backends(3, version=6)),
    service("dns", address=VIP6, port=53, protocol="udp", backends=backends(3, version=6)),
    service("every", address=EVERY_PORT, port=0, backends=backends(3, version=6)),
    service("tcp only", address=TCP_ONLY, port=0, backends=backends(3, version=6)),
    service("web of IPv4"),
]


def test_one_packet_spelt_out(balancer: Balancer) -> None:
    """Byte for byte, so that one case depends on no builder and no model."""
    balancer.configure(
        service(address=VIP6, backends=[{"address": "2001:db8:b::5"}]),
        source_address6="2001:db8:a::1",
    )
    inner = (
        "6b912345 0014 06 3f"  # EF, ECT(1), flow label 0x12345, TCP
        "20010db8000c00000000000000000007 20010db8000000000000000000000010"
        "c350 01bb 0000 0001 0000 0000 5002 faf0 0000 0000"  # 50000 > 443, SYN
    )
    before = bytes.fromhex("525400000002 525400000001 86dd" + inner)
    outcome = balancer.send(before)
    assert outcome.verdict is Verdict.TX
    assert outcome.frame is not None
    outer = outcome.frame[14:54]
    assert outcome.frame[:14] == bytes.fromhex("5254000000fe 525400000002 86dd")
    assert outer[:1] + bytes([outer[1] & 0xF0]) == bytes.fromhex("6b90")  # the label is the flow's
    assert outer[4:] == bytes.fromhex(
        "003c 29 40 20010db8000a00000000000000000001 20010db8000b00000000000000000005"
    )
    assert outcome.frame[54:] == bytes.fromhex(inner.replace("06 3f", "06 3e"))


CHAINS: dict[str, Sequence[Extension]] = {
    "none": [],
    "hop-by-hop options": [hop_by_hop()],
    "long hop-by-hop options": [hop_by_hop(5)],
    "routing": [extension(ROUTING, 2)],
    "authentication": [authentication()],
    "short authentication": [authentication(1)],
    "long authentication": [authentication(20)],
    "destination options": [extension(DESTINATION)],
    "the longest header": [extension(DESTINATION, 223)],
    "mobility": [extension(MOBILITY, 1)],
    "atomic fragment": [ATOMIC],
    "all in RFC 8200's order": [
        hop_by_hop(),
        extension(DESTINATION, 1),
        extension(ROUTING, 2),
        ATOMIC,
        authentication(),
        extension(DESTINATION),
    ],
    "eight": [extension(DESTINATION, words % 2) for words in range(8)],
    "seven and an atomic fragment": [*[extension(DESTINATION)] * 7, ATOMIC],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_extension_headers_are_skipped(balancer: Balancer, chain: Sequence[Extension]) -> None:
    balancer.configure(*SERVICES)
    outcomes = balancer.send_all(
        frame(segment, destination=destination, extensions=chain)
        for destination in (VIP6, EVERY_PORT, STRANGER)
        for segment in (tcp(), udp(), tcp(port=1), udp(port=1))
    )
    tx, pass_ = Verdict.TX, Verdict.PASS
    assert [outcome.verdict for outcome in outcomes] == [
        *(tx, tx, pass_, pass_),
        *(tx, pass_, tx, pass_),
        *(pass_, pass_, pass_, pass_),
    ]
    balancer.check()


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        pytest.param([extension(DESTINATION)] * 8, None, id="eight"),
        pytest.param([extension(DESTINATION)] * 9, "malformed", id="nine"),
        pytest.param([extension(DESTINATION)] * 30, "malformed", id="thirty"),
        pytest.param([ATOMIC] * 8, None, id="eight atomic fragments"),
        pytest.param([ATOMIC] * 9, "malformed", id="nine atomic fragments"),
        pytest.param([extension(DESTINATION, 200)], None, id="1,608 bytes"),
        pytest.param(
            [extension(DESTINATION, 200), extension(ROUTING, 47)], None, id="1,992 bytes: to 2046"
        ),
        pytest.param(
            [extension(DESTINATION, 200), extension(ROUTING, 48)],
            "malformed",
            id="2,000 bytes: to 2054",
        ),
        pytest.param(
            [authentication(195), extension(DESTINATION, 149)], None, id="1,988 bytes: to 2042"
        ),
        pytest.param([extension(DESTINATION, 255)], "malformed", id="2,048 bytes"),
        pytest.param([Extension(60, b"\xff" + bytes(6))], "malformed", id="longer than the packet"),
        pytest.param([Extension(51, b"\xff" + bytes(6))], "malformed", id="AH that is longer"),
    ],
)
def test_long_chains(balancer: Balancer, chain: Sequence[Extension], reason: str | None) -> None:
    balancer.configure(*SERVICES)
    verdicts = [
        balancer.send(frame(tcp(), destination=destination, extensions=chain)).verdict
        for destination in (VIP6, STRANGER)
    ]
    assert verdicts == [Verdict.DROP if reason else Verdict.TX, Verdict.PASS]
    assert balancer.check().drops == ({reason: 1} if reason else {})


@pytest.mark.parametrize("tags", [[], [1], [1, 2]])
def test_the_last_header_starts_at_2047_at_most(balancer: Balancer, tags: list[int]) -> None:
    """AH comes in steps of four bytes; no chain starts its last header at an odd byte."""
    balancer.configure(*SERVICES)
    frames = [
        frame(
            tcp(data=bytes(64)),
            destination=VIP6,
            extensions=[extension(DESTINATION, 200), authentication(words)],
            tags=tags,
        )
        for words in range(80, 110)
    ]
    outcomes = balancer.send_all(frames)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX, Verdict.DROP}
    balancer.check()


def test_a_chain_that_ends_nowhere_is_to_a_service_if_its_address_is(balancer: Balancer) -> None:
    """What protocol the packet has, nobody can tell; unless its last header says it."""
    balancer.configure(*SERVICES)
    endless = [extension(DESTINATION)] * 9
    for destination, verdict in ((TCP_ONLY, Verdict.DROP), (STRANGER, Verdict.PASS)):
        sent = frame(udp(), destination=destination, extensions=endless)
        assert balancer.send(sent).verdict is verdict
    short = frame(udp(), destination=TCP_ONLY, payload_length=7, extensions=[hop_by_hop()])
    assert balancer.send(short).verdict is Verdict.PASS
    shorter = frame(udp(), destination=TCP_ONLY, extensions=[hop_by_hop()])[:61]
    assert balancer.send(shorter).verdict is Verdict.DROP
    assert balancer.check().drops == {"malformed": 2}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(frame(tcp(), destination=VIP6), None, id="nothing wrong"),
        *(
            pytest.param(
                frame(tcp(), destination=VIP6, version=version), "malformed", id=f"{version=}"
            )
            for version in (0, 4, 5, 7, 15)
        ),
        pytest.param(frame(tcp(), destination=VIP6, payload_length=0), "malformed", id="length 0"),
        pytest.param(
            frame(tcp(), destination=VIP6, payload_length=19), "malformed", id="length cuts TCP"
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, payload_length=21), "malformed", id="length past the end"
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, payload_length=21, padding=b"\xa5"), None, id="and not"
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, payload_length=65535), "malformed", id="length 65535"
        ),
        pytest.param(
            frame(udp(), destination=VIP6, payload_length=7), "malformed", id="length cuts UDP"
        ),
        pytest.param(frame(udp(), destination=VIP6), None, id="UDP alone"),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=[hop_by_hop()], payload_length=27),
            "malformed",
            id="length cuts TCP behind an extension",
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=[hop_by_hop()], payload_length=0),
            "malformed",
            id="a jumbogram",
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=[FIRST_FRAGMENT]), "fragment", id="fragment"
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=[LAST_FRAGMENT]), "fragment", id="last one"
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=[FIRST_FRAGMENT], version=5),
            "malformed",
            id="wrong version before fragment",
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=[FIRST_FRAGMENT], payload_length=8),
            "fragment",
            id="fragment before too short",
        ),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=[FIRST_FRAGMENT], payload_length=7),
            "malformed",
            id="half a fragment header",
        ),
        pytest.param(
            frame(
                tcp(),
                destination=VIP6,
                extensions=[*[extension(DESTINATION)] * 7, FIRST_FRAGMENT],
            ),
            "fragment",
            id="fragment as the eighth header",
        ),
        pytest.param(
            frame(
                tcp(),
                destination=VIP6,
                extensions=[*[extension(DESTINATION)] * 8, FIRST_FRAGMENT],
            ),
            "malformed",
            id="and as the ninth",
        ),
    ],
)
def test_defect(balancer: Balancer, sent: bytes, reason: str | None) -> None:
    """To a service it is dropped; to any other address it passes."""
    balancer.configure(*SERVICES)
    assert balancer.send(sent).verdict is (Verdict.DROP if reason else Verdict.TX)
    elsewhere = sent[:53] + b"\x99" + sent[54:]
    assert balancer.send(elsewhere) == Outcome(Verdict.PASS, elsewhere)
    assert balancer.check().drops == ({reason: 1} if reason else {})


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(tcp(port=22), destination=BALANCER_ADDRESS6), id="to the balancer"),
        pytest.param(frame(tcp(port=22), destination=VIP6), id="another port"),
        pytest.param(frame(tcp(port=53), destination=VIP6), id="another protocol"),
        pytest.param(frame(tcp(port=0), destination=VIP6), id="port 0"),
        pytest.param(frame(tcp(), destination="2001:db8::11"), id="the address one above"),
        pytest.param(frame(tcp(), destination="2001:db9::10"), id="another in its first half"),
        pytest.param(frame(tcp(), destination="::10"), id="its last word alone"),
        pytest.param(frame(tcp(), destination="c000:20a::"), id="an IPv4 service in its head"),
        pytest.param(frame(tcp(), destination="::ffff:192.0.2.10"), id="an IPv4-mapped service"),
        pytest.param(
            frame(tcp(source_port=443, port=5), source=VIP6, destination=CLIENT6), id="a reply"
        ),
        pytest.param(frame(b"", protocol=59, destination=VIP6), id="no next header"),
        pytest.param(frame(bytes(tcp()), protocol=50, destination=VIP6), id="ESP"),
        pytest.param(frame(bytes(tcp()), protocol=139, destination=VIP6), id="HIP"),
        pytest.param(frame(bytes(tcp()), protocol=1, destination=VIP6), id="ICMP of IPv4"),
        pytest.param(
            frame(ipv6(tcp(), destination=VIP6), protocol=41, destination=VIP6), id="6in6"
        ),
        pytest.param(
            frame(bytes(tcp()), protocol=50, destination=VIP6, extensions=[hop_by_hop()]),
            id="ESP behind options",
        ),
        pytest.param(frame(icmp6(135), destination=VIP6), id="neighbour solicitation"),
        pytest.param(frame(ping6(), destination=BALANCER_ADDRESS6), id="ping to the balancer"),
        pytest.param(
            ethernet(ipv6(tcp(), destination=VIP6)[:39], ether_type=0x86DD), id="39 of 40 bytes"
        ),
        pytest.param(
            ethernet(ipv6(tcp(), destination=VIP6), ether_type=0x0800), id="says it is IPv4"
        ),
    ],
)
def test_passed_untouched(balancer: Balancer, sent: bytes) -> None:
    balancer.configure(*SERVICES)
    assert balancer.send(sent) == Outcome(Verdict.PASS, sent)
    balancer.check()


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(frame(tcp(data=b"hello"), destination=VIP6), id="TCP"),
        pytest.param(frame(udp(data=b"hello"), destination=VIP6, padding=bytes(9)), id="UDP"),
        pytest.param(
            frame(tcp(), destination=VIP6, extensions=CHAINS["all in RFC 8200's order"]), id="chain"
        ),
        pytest.param(frame(tcp(), destination=VIP6, extensions=[FIRST_FRAGMENT]), id="fragment"),
        pytest.param(frame(tcp(), destination=STRANGER, extensions=[hop_by_hop()]), id="stranger"),
        pytest.param(frame(ping6(), destination=VIP6, extensions=[hop_by_hop()]), id="ping"),
    ],
)
@pytest.mark.parametrize("tags", [[], [7], [(0x88A8, 7), 8]], ids=["plain", "tag", "two tags"])
def test_cut_short_at_every_length(balancer: Balancer, whole: bytes, tags: list[int]) -> None:
    """As it is, and with a payload length that admits it."""
    balancer.configure(*SERVICES)
    shims = ethernet(b"", tags=tags)[12:-2]
    frames = []
    for length in range(14, len(whole) + 1):
        cut = whole[:length]
        honest = cut[:18] + struct.pack("!H", max(0, length - 54)) + cut[20:]
        frames += [some[:12] + shims + some[12:] for some in (cut, honest) if len(some) >= 14]
    balancer.send_all(frames)
    balancer.check()


@pytest.mark.parametrize("chain", [[], CHAINS["all in RFC 8200's order"]], ids=["plain", "chain"])
@pytest.mark.parametrize("padding", [0, 6])
def test_every_payload_length(balancer: Balancer, chain: Sequence[Extension], padding: int) -> None:
    balancer.configure(*SERVICES)
    lengths = [*range(250), *(1 << bit for bit in range(8, 16)), 0xFF00, 0xFFD7, 0xFFD8, 0xFFFF]
    balancer.send_all(
        frame(
            segment,
            destination=VIP6,
            extensions=chain,
            padding=bytes(padding),
            payload_length=length,
        )
        for segment in (tcp(data=b"hello"), udp(data=b"hello"))
        for length in lengths
    )
    balancer.check()


@pytest.mark.parametrize("number", [0, 43, 44, 51, 60, 135])
def test_every_header_length(balancer: Balancer, number: int) -> None:
    """A longer header has the ports further back, where often others stand than a service's."""
    balancer.configure(*SERVICES)
    rest = tcp(data=tcp(data=bytes(range(1, 200))))
    balancer.send_all(
        frame(
            rest, destination=destination, extensions=[Extension(number, bytes([words, *filler]))]
        )
        for words in range(256)
        for filler in (bytes(6), b"\0\0\1\0\0\0")
        for destination in (VIP6, STRANGER)
    )
    balancer.check()


def test_every_next_header(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    balancer.send_all(
        frame(bytes(tcp()), protocol=protocol, destination=destination, extensions=chain)
        for protocol in range(256)
        for destination in (VIP6, TCP_ONLY, STRANGER)
        for chain in ([], [hop_by_hop()], [ATOMIC], [FIRST_FRAGMENT])
    )
    balancer.check()


def test_every_fragment_field(balancer: Balancer) -> None:
    """Only offset and M make a fragment; the reserved bits between do not."""
    balancer.configure(*SERVICES)
    balancer.send_all(
        frame(
            segment,
            destination=VIP6,
            extensions=[Extension(44, struct.pack("!BHI", 0, position, 1))],
        )
        for segment in (tcp(), udp())
        for position in (*range(0, 65536, 61), *range(16), *(1 << bit for bit in range(16)))
    )
    balancer.check()


def test_every_packet_length(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    outcomes = balancer.send_all(
        frame(udp(data=bytes(length)), destination=VIP6) for length in range(LONGEST_FRAME - 62 + 1)
    )
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}


def test_families_do_not_mix(balancer: Balancer) -> None:
    """An address of one family whose bytes are an address of the other's is another address."""
    balancer.configure(
        service("four", address=VIP, port=80),
        service("six", address="c000:20a::", port=443, backends=backends(1, version=6)),
    )
    for port, destination, verdict in [
        (80, VIP, Verdict.TX),
        (443, VIP, Verdict.PASS),
        (443, "c000:20a::", Verdict.TX),
        (80, "c000:20a::", Verdict.PASS),
    ]:
        assert balancer.send(frame(tcp(port=port), destination=destination)).verdict is verdict
    balancer.send_all(frame(tcp(), destination=VIP, flags=0x2000) for _each in range(3))
    balancer.check()
