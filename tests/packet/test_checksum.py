# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checksum of the outer header, for more addresses than anyone would configure."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.packet.flows import JHASH_SLOTS
from tests.packet.harness import LONGEST_FRAME, Balancer, service
from tests.packet.hashing import jhash_2words, ones_complement_sum
from tests.packet.packets import (
    CLIENT,
    ETHERNET_HEADER,
    IPV4_HEADER,
    UDP_HEADER,
    frame,
    packed,
    udp,
)
from tests.packet.wire import PORTS

SERVICES, BACKENDS = 128, 400
SOURCES = 2
"""SERVICES * BACKENDS * SOURCES pairs of addresses, 102,400."""

OVERHEAD = 2 * IPV4_HEADER + UDP_HEADER
LONGEST = LONGEST_FRAME - ETHERNET_HEADER + IPV4_HEADER


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
    servers = [[unicast(rng) for _ in range(BACKENDS)] for _ in range(SERVICES)]
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
    for source in [unicast(rng) for _ in range(SOURCES)]:
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
