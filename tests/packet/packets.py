# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames for tests: every field of every header can be given, also wrongly.

A builder returns bytes and fills what is not given with what a real sender would write, so a test
names only what it is about:

    frame(tcp(port=443), destination="192.0.2.10", tos=0xB8)
    frame(tcp(port=443), destination="2001:db8::10", extensions=[hop_by_hop()], tags=[100])
"""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Union

from tests.packet.hashing import ones_complement_sum
from tests.packet.wire import no_host_has

Address = Union[IPv4Address, IPv6Address]

ETHERNET_IPV4 = 0x0800
ETHERNET_IPV6 = 0x86DD
ETHERNET_HEADER = 14
IPV4_HEADER = 20
IPV6_HEADER = 40
TCP_HEADER = 20
UDP_HEADER = 8

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135

DONT_FRAGMENT = 0x4000
SYN, RST, ACK = 0x02, 0x04, 0x10

CLIENT = "198.51.100.7"
CLIENT6 = "2001:db8:c::7"
CLIENT_PORT = 50000
ROUTER_MAC = "52:54:00:00:00:01"
"""Where frames from clients come from."""
BALANCER_MAC = "52:54:00:00:00:02"
"""The interface under test, unless a test says otherwise."""


class Transport(bytes):
    """A transport header and its payload, which knows the protocol number that announces it."""

    protocol: int

    def __new__(cls, protocol: int, data: bytes) -> Transport:
        made = super().__new__(cls, data)
        made.protocol = protocol
        return made


@dataclass(frozen=True)
class Extension:
    """An IPv6 extension header without its first byte, which says what follows."""

    number: int
    body: bytes


@functools.cache
def packed(address: str | Address) -> bytes:
    return ip_address(address).packed


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def tcp(
    *,
    source_port: int = CLIENT_PORT,
    port: int = 443,
    flags: int = SYN,
    options: bytes = b"",
    data: bytes = b"",
) -> Transport:
    """A TCP segment (RFC 9293); by default a SYN. Its checksum is arbitrary: nobody verifies it."""
    offset = (TCP_HEADER + len(options)) // 4
    header = struct.pack(
        "!HHIIBBHHH", source_port, port, 0x01020304, 0, offset << 4, flags, 64240, 0xC5C5, 0
    )
    return Transport(TCP, header + options + data)


def udp(
    *, source_port: int = CLIENT_PORT, port: int = 53, length: int | None = None, data: bytes = b""
) -> Transport:
    """A UDP datagram (RFC 768) without a checksum."""
    length = UDP_HEADER + len(data) if length is None else length
    return Transport(UDP, struct.pack("!HHHH", source_port, port, length, 0) + data)


SEGMENTS: dict[str, Callable[..., Transport]] = {"tcp": tcp, "udp": udp}
"""Their builders by the name of the protocol."""


def icmp(kind: int, code: int = 0, *, rest: int = 0, data: bytes = b"") -> Transport:
    """An ICMP message (RFC 792) with its checksum."""

    def message(checksum: int) -> bytes:
        return struct.pack("!BBHI", kind, code, checksum, rest) + data

    return Transport(ICMP, message(ones_complement_sum(message(0)) ^ 0xFFFF))


def icmp6(kind: int, code: int = 0, *, rest: int = 0, data: bytes = b"") -> Transport:
    """An ICMPv6 message (RFC 4443); `ipv6` puts in its checksum, which covers the addresses."""
    return Transport(ICMPV6, struct.pack("!BBHI", kind, code, 0, rest) + data)


def ping(*, data: bytes = bytes(range(48))) -> Transport:
    """An ICMP echo request (RFC 792)."""
    return icmp(8, rest=1 << 16, data=data)


def ping6(*, data: bytes = bytes(range(48))) -> Transport:
    """An ICMPv6 echo request (RFC 4443)."""
    return icmp6(128, rest=1 << 16, data=data)


def ipv4(
    payload: bytes,
    *,
    source: str | Address = CLIENT,
    destination: str | Address,
    protocol: int | None = None,
    version: int = 4,
    header_words: int | None = None,
    tos: int = 0,
    total_length: int | None = None,
    identification: int = 0,
    flags: int = DONT_FRAGMENT,
    ttl: int = 64,
    checksum: int | None = None,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet (RFC 791).

    protocol: that of the payload, if it is a Transport.
    flags: the 16 bits of flags and fragment offset.
    """
    if protocol is None:
        assert isinstance(payload, Transport), "bytes do not tell their protocol"
        protocol = payload.protocol
    if header_words is None:
        header_words = (IPV4_HEADER + len(options)) // 4
    if total_length is None:
        total_length = IPV4_HEADER + len(options) + len(payload)

    def header(check: int) -> bytes:
        return (
            struct.pack(
                "!BBHHHBBH4s4s",
                version << 4 | header_words,
                tos,
                total_length,
                identification,
                flags,
                ttl,
                protocol,
                check,
                packed(source),
                packed(destination),
            )
            + options
        )

    if checksum is None:
        checksum = ones_complement_sum(header(0)) ^ 0xFFFF
    return header(checksum) + payload


def extension(number: int, words: int = 0, *, filler: int = 0) -> Extension:
    """A header of (words + 1) * 8 bytes (RFC 8200 section 4, RFC 6275 section 6.1)."""
    return Extension(number, bytes([words]) + bytes([filler]) * (6 + 8 * words))


def hop_by_hop(words: int = 0) -> Extension:
    """Hop-by-hop options: nothing but padding (PadN)."""
    return Extension(HOP_BY_HOP, bytes([words, 1, 4 + 8 * (words % 32)]) + bytes(4 + 8 * words))


def authentication(words: int = 4) -> Extension:
    """An authentication header of (words + 2) * 4 bytes (RFC 4302)."""
    return Extension(AUTHENTICATION, bytes([words]) + bytes(4 * words + 6))


def fragment_header(offset: int = 0, *, more: bool = False, reserved: int = 0) -> Extension:
    """A fragment header (RFC 8200 section 4.5). offset: in units of eight bytes."""
    position = offset << 3 | reserved << 1 | more
    return Extension(FRAGMENT, struct.pack("!BHI", 0, position, 0xABCD0123))


ATOMIC = fragment_header()
"""What makes a packet its own only fragment (RFC 6946)."""
FIRST_FRAGMENT = fragment_header(more=True)
LAST_FRAGMENT = fragment_header(100)


def ipv6(
    payload: bytes,
    *,
    source: str | Address = CLIENT6,
    destination: str | Address,
    protocol: int | None = None,
    version: int = 6,
    tos: int = 0,
    flow_label: int = 0,
    payload_length: int | None = None,
    ttl: int = 64,
    extensions: Sequence[Extension] = (),
) -> bytes:
    """An IPv6 packet (RFC 8200). Fields that IPv4 has too are called as they are there."""
    if protocol is None:
        assert isinstance(payload, Transport), "bytes do not tell their protocol"
        protocol = payload.protocol
        if protocol == ICMPV6 and payload[2:4] == b"\0\0":
            pseudo = packed(source) + packed(destination) + struct.pack("!II", len(payload), ICMPV6)
            checksum = ones_complement_sum(pseudo + payload) ^ 0xFFFF
            payload = payload[:2] + struct.pack("!H", checksum) + payload[4:]
    numbers = [*(part.number for part in extensions), protocol]
    chain = b"".join(
        bytes([following]) + part.body for part, following in zip(extensions, numbers[1:])
    )
    if payload_length is None:
        payload_length = len(chain) + len(payload)
    header = struct.pack(
        "!IHBB16s16s",
        version << 28 | tos << 20 | flow_label,
        payload_length,
        numbers[0],
        ttl,
        packed(source),
        packed(destination),
    )
    return header + chain + payload


def ethernet(
    payload: bytes,
    *,
    ether_type: int = ETHERNET_IPV4,
    source: str = ROUTER_MAC,
    destination: str = BALANCER_MAC,
    tags: Sequence[int | tuple[int, int]] = (),
    padding: bytes = b"",
) -> bytes:
    """An Ethernet II frame without its checksum.

    tags: VLAN numbers (IEEE 802.1Q), or pairs of an EtherType and such a number.
    """
    pairs = [(0x8100, tag) if isinstance(tag, int) else tag for tag in tags]
    shims = b"".join(struct.pack("!HH", *pair) for pair in pairs)
    return (
        mac(destination) + mac(source) + shims + struct.pack("!H", ether_type) + payload + padding
    )


def frame(
    payload: bytes,
    *,
    destination: str | Address,
    tags: Sequence[int | tuple[int, int]] = (),
    padding: bytes = b"",
    macs: tuple[str, str] = (BALANCER_MAC, ROUTER_MAC),
    **fields: Any,
) -> bytes:
    """An IP packet in its frame, of the destination's family. Fields: those of `ipv4` or `ipv6`.

    macs: to whom, and from whom.
    """
    if len(packed(destination)) == 4:
        packet, ether_type = ipv4(payload, destination=destination, **fields), ETHERNET_IPV4
    else:
        packet, ether_type = ipv6(payload, destination=destination, **fields), ETHERNET_IPV6
    to, by = macs
    return ethernet(
        packet, ether_type=ether_type, source=by, destination=to, tags=tags, padding=padding
    )


def too_big(mtu: int, *, own: str, backend: str, ethernet_destination: str) -> bytes:
    """A frame with an ICMP error that any host can send: an echo reply from `own` to `backend` was
    longer than `mtu`, the most that some link on the way takes."""
    if ip_address(own).version == 4:
        quote = ipv4(icmp(0, data=bytes(56)), source=own, destination=backend)
        packet = ipv4(icmp(3, 4, rest=mtu, data=quote), source=backend, destination=own)
        return ethernet(packet, destination=ethernet_destination)
    quote = ipv6(icmp6(129, data=bytes(56)), source=own, destination=backend)
    packet = ipv6(icmp6(2, rest=mtu, data=quote), source=backend, destination=own)
    return ethernet(packet, ether_type=ETHERNET_IPV6, destination=ethernet_destination)


def packet_of(whole: bytes) -> bytes:
    """What an untagged frame carries."""
    return whole[ETHERNET_HEADER:]


def forwarded(packet: bytes) -> bytes:
    """What a router makes of a packet: it has a hop less to go, and a right header checksum."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    end = (packet[0] & 0x0F) * 4
    head, tail = packet[:8] + bytes([packet[8] - 1]) + packet[9:10], packet[12:end]
    checksum = ones_complement_sum(head + tail) ^ 0xFFFF
    return head + struct.pack("!H", checksum) + tail + packet[end:]


def random_flow(rng: random.Random) -> tuple[IPv4Address, int]:
    """A client: address and port, any bits that a host may have."""
    while no_host_has(address := IPv4Address(rng.getrandbits(32))):
        pass
    return address, rng.getrandbits(16)


def random_flow6(rng: random.Random) -> tuple[IPv6Address, int]:
    """The same of IPv6."""
    while no_host_has(address := IPv6Address(rng.getrandbits(128))):
        pass
    return address, rng.getrandbits(16)
