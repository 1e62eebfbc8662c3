# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every checksum that the program writes against a full computation: of outer headers, for more
addresses than anyone would configure, and those that it brings up to date, whatever they were.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.packet.flows import JHASH_SLOTS
from tests.packet.harness import LONGEST_FRAME, VIPS, Balancer, backends, service
from tests.packet.hashing import jhash_2words, ones_complement_sum
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    ACK,
    CLIENT,
    ETHERNET_HEADER,
    IPV4_HEADER,
    IPV6_HEADER,
    UDP_HEADER,
    frame,
    icmp,
    icmp6,
    packed,
    tcp,
    udp,
)
from tests.packet.wire import PORTS

SERVICES, BACKENDS = 128, 400
SOURCES = 2
"""SERVICES * BACKENDS * SOURCES pairs of addresses, 102,400."""

OVERHEAD = 2 * IPV4_HEADER + UDP_HEADER
LONGEST = LONGEST_FRAME - ETHERNET_HEADER + IPV4_HEADER

EVERY_CHECKSUM = set(range(0xFFFF))
"""That anything can have which is not all zero: it has no 0xFFFF."""


def unicast(rng: random.Random) -> str:
    return str(IPv4Address(rng.randrange(1 << 24, 223 << 24)))


def outer_words(order: str, source: str, backend: str, tos: int, length: int) -> tuple[int, ...]:
    """The outer header without its checksum, as 16-bit words in the order of "<" or ">"."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        tos,
        length,
        0,
        0x4000,
        64,
        4,
        0,
        packed(source),
        packed(backend),
    )
    return struct.unpack(f"{order}10H", header)


def folding_once_is_wrong(order: str, *fields: Any) -> bool:
    """Whether adding the carries to the sum carries again."""
    total = sum(outer_words(order, *fields))
    return (total & 0xFFFF) + (total >> 16) > 0xFFFF


def nasty_length(order: str, source: str, backend: str, tos: int) -> int | None:
    """An outer length for which folding once is wrong, if some possible one is."""
    missing = 0xFFFF - sum(outer_words(order, source, backend, tos, 0)) & 0xFFFF
    (length,) = struct.unpack(f"{order}H", struct.pack("!H", missing))
    return length if OVERHEAD <= length <= LONGEST else None


def source_ports_by_slot(port: int) -> list[int]:
    """For each slot of a jhash table a port from which a flow of CLIENT falls into it."""
    found: dict[int, int] = {}
    address_word = int.from_bytes(IPv4Address(CLIENT).packed, "little")
    for source_port in range(65536):
        ports_word = int.from_bytes(PORTS.pack(source_port, port), "little")
        found.setdefault(
            jhash_2words(address_word, ports_word, JHASH_SLOTS) % JHASH_SLOTS, source_port
        )
    return [found[slot] for slot in range(JHASH_SLOTS)]


def test_outer_checksum(shipped: Balancer, rng: random.Random) -> None:
    servers = [[unicast(rng) for _each in range(BACKENDS)] for _each in range(SERVICES)]
    addresses = [f"192.0.2.{number}" for number in range(SERVICES)]
    services = [
        service(
            address,
            address=address,
            protocol="udp",
            backends=[{"address": server} for server in listed],
        )
        for address, listed in zip(addresses, servers)
    ]
    source_ports = source_ports_by_slot(443)
    pairs: set[tuple[bytes, bytes]] = set()
    wrong_once = 0
    for source in [unicast(rng) for _each in range(SOURCES)]:
        shipped.configure(*services, source_address=source)
        frames = []
        for address, listed in zip(addresses, servers):
            for slot, server in enumerate(listed):
                tos = rng.getrandbits(8)
                length = (
                    nasty_length("<", source, server, tos)
                    or nasty_length(">", source, server, tos)
                    or rng.randint(OVERHEAD, 200)
                )
                wrong_once += any(
                    folding_once_is_wrong(order, source, server, tos, length) for order in "<>"
                )
                segment = udp(
                    source_port=source_ports[slot], port=443, data=bytes(length - OVERHEAD)
                )
                frames.append(frame(segment, destination=address, tos=tos))
        for outcome in shipped.send_all(frames):
            assert outcome.frame is not None
            outer = outcome.frame[ETHERNET_HEADER : ETHERNET_HEADER + IPV4_HEADER]
            assert ones_complement_sum(outer) == 0xFFFF
            pairs.add((outer[12:16], outer[16:20]))
    print(f"{len(pairs)} pairs of addresses, folding once is wrong for {wrong_once}")
    assert len(pairs) >= 100_000
    assert wrong_once >= 1000


@pytest.mark.parametrize("source", ["255.255.255.254", "1.0.0.0", "127.255.255.255"])
@pytest.mark.parametrize("server", ["223.255.255.255", "1.0.0.0", "127.255.255.255"])
def test_outer_checksum_at_the_edges(balancer: Balancer, source: str, server: str) -> None:
    """Most and fewest carries, with every type of service and many lengths."""
    balancer.configure(
        service(protocol="udp", backends=[{"address": server}]), source_address=source
    )
    frames = [
        frame(udp(port=443, data=bytes(length)), destination="192.0.2.10", tos=tos)
        for tos in (*range(8), 0x7F, 0x80, 0xFE, 0xFF)
        for length in range(0, 1400, 7)
    ]
    for outcome in balancer.send_all(frames):
        assert outcome.frame is not None
        assert ones_complement_sum(outcome.frame[14:34]) == 0xFFFF


def header_checksum(packet: bytes) -> tuple[int, int]:
    """What the header of IPv4 has, and what a full computation gives."""
    header = packet[: (packet[0] & 0x0F) * 4]
    (found,) = struct.unpack_from("!H", header, 10)
    return found, ones_complement_sum(header[:10] + header[12:]) ^ 0xFFFF


def icmp_checksum(packet: bytes) -> tuple[int, int]:
    """The same of a message of ICMP or ICMPv6, behind a header without options."""
    pseudo = b""
    message = packet[IPV4_HEADER:]
    if packet[0] >> 4 == 6:
        message = packet[IPV6_HEADER:]
        pseudo = packet[8:IPV6_HEADER] + struct.pack("!II", len(message), 58)
    (found,) = struct.unpack_from("!H", message, 2)
    return found, ones_complement_sum(pseudo + message[:2] + message[4:]) ^ 0xFFFF


@pytest.mark.parametrize("version", [4, 6])
def test_every_checksum_of_a_ping(shipped: Balancer, version: int) -> None:
    shipped.configure(service(address=VIPS[version], backends=backends(1, version=version)))
    message, kind = {4: (icmp, 8), 6: (icmp6, 128)}[version]
    fields: list[dict[str, Any]] = [{} for _each in range(0x10000)]
    if version == 4:
        fields = [{"identification": number} for number in range(0x10000)]
    frames = [
        frame(message(kind, rest=number), destination=VIPS[version], **fields[number])
        for number in range(0x10000)
    ]
    assert {icmp_checksum(sent[ETHERNET_HEADER:])[0] for sent in frames} == EVERY_CHECKSUM
    if version == 4:
        assert {header_checksum(sent[ETHERNET_HEADER:])[0] for sent in frames} == EVERY_CHECKSUM
    for outcome in shipped.send_all(frames):
        assert outcome.frame is not None
        answer = outcome.frame[ETHERNET_HEADER:]
        found, full = icmp_checksum(answer)
        assert found == (full or 0xFFFF)  # the same number, and what receivers always take
        if version == 4:
            assert len(set(header_checksum(answer))) == 1


@pytest.mark.parametrize(("version", "mtu"), [(4, 600), (6, 1320)])
def test_every_checksum_of_packet_too_big(shipped: Balancer, version: int, mtu: int) -> None:
    shipped.configure(
        service(address=VIPS[version], backends=backends(1, version=version)), mtu=mtu
    )
    seen = set()
    for outcome in shipped.send_all(
        frame(
            tcp(flags=ACK, data=struct.pack("!H", number) + bytes(mtu)), destination=VIPS[version]
        )
        for number in range(0x10000)
    ):
        assert outcome.frame is not None
        found, full = icmp_checksum(outcome.frame[ETHERNET_HEADER:])
        assert found == full
        seen.add(found)
    assert seen == EVERY_CHECKSUM


def test_every_time_to_live_of_a_ping(balancer: Balancer) -> None:
    balancer.configure(service())
    for outcome in balancer.send_all(
        frame(icmp(8), destination=VIPS[4], ttl=ttl, identification=number)
        for ttl in range(256)
        for number in (*range(8), *range(0x7F00, 0x8100, 0x3F), *range(0xFFF8, 0x10000))
    ):
        assert outcome.frame is not None
        assert len(set(header_checksum(outcome.frame[ETHERNET_HEADER:]))) == 1


def inner_checksums(outcomes: list[Outcome]) -> Iterator[tuple[int, int]]:
    """Of packets sent on as IP in IP: the checksum, and what a full computation gives."""
    for outcome in outcomes:
        assert outcome.verdict is Verdict.TX
        assert outcome.frame is not None
        yield header_checksum(outcome.frame[ETHERNET_HEADER + IPV4_HEADER :])


@pytest.mark.parametrize("options", [b"", b"\x94\x04\0\0"], ids=["plain", "options"])
def test_every_checksum_of_what_is_sent_on(shipped: Balancer, options: bytes) -> None:
    shipped.configure(service())
    frames = [
        frame(tcp(), destination=VIPS[4], identification=number, options=options)
        for number in range(0x10000)
    ]
    assert {header_checksum(sent[ETHERNET_HEADER:])[0] for sent in frames} == EVERY_CHECKSUM
    seen = set()
    for found, full in inner_checksums(shipped.send_all(frames)):
        assert found == full
        seen.add(found)
    assert seen == EVERY_CHECKSUM


def test_every_wrong_checksum_of_what_is_sent_on(shipped: Balancer) -> None:
    """It differs from the right one by as much as before, so the server drops the packet."""
    shipped.configure(service())
    frames = [frame(tcp(), destination=VIPS[4], checksum=number) for number in range(0x10000)]
    differences = [
        (found - full) % 0xFFFF
        for found, full in (header_checksum(sent[ETHERNET_HEADER:]) for sent in frames)
    ]
    assert differences.count(0) == 1
    for difference, (found, full) in zip(differences, inner_checksums(shipped.send_all(frames))):
        assert (found - full) % 0xFFFF == difference
        assert found != 0xFFFF


def test_every_time_to_live_of_what_is_sent_on(balancer: Balancer) -> None:
    """With every protocol beside it in its word, as far as one is balanced."""
    balancer.configure(service(), service("dns", protocol="udp"))
    outcomes = balancer.send_all(
        frame(segment(port=443), destination=VIPS[4], ttl=ttl, identification=number)
        for segment in (tcp, udp)
        for ttl in range(2, 256)
        for number in (*range(8), *range(0x7F00, 0x8100, 0x3F), *range(0xFFF8, 0x10000))
    )
    for found, full in inner_checksums(outcomes):
        assert found == full


def test_the_two_zeros_of_a_checksum(balancer: Balancer) -> None:
    """Some senders write 0xFFFF where 0 is meant, and receivers take both."""
    balancer.configure(service())
    for number in range(0x10000):
        sent = frame(tcp(), destination=VIPS[4], identification=number)
        if header_checksum(sent[ETHERNET_HEADER:])[0] == 0:
            break
    for checksum in (0, 0xFFFF):
        sent = frame(tcp(), destination=VIPS[4], identification=number, checksum=checksum)
        assert ones_complement_sum(sent[ETHERNET_HEADER : ETHERNET_HEADER + IPV4_HEADER]) == 0xFFFF
        ((found, full),) = inner_checksums([balancer.send(sent)])
        assert found == full == 0x0100
