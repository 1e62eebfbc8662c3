# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames for tests: every field of every header can be given, also wrongly.

A builder returns bytes and fills what is not given with what a real sender would write, so a test
names only what it is about:

    frame(tcp(port=443), destination="192.0.2.10", tos=0xB8)
"""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from tests.packet.model import ones_complement_sum

ETHERNET_IPV4 = 0x0800
ETHERNET_HEADER = 14
IPV4_HEADER = 20
TCP_HEADER = 20
UDP_HEADER = 8

ICMP, TCP, UDP = 1, 6, 17

DONT_FRAGMENT = 0x4000

CLIENT = "198.51.100.7"
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


@functools.cache
def packed(address: str | IPv4Address) -> bytes:
    return IPv4Address(address).packed


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def tcp(
    *,
    source_port: int = CLIENT_PORT,
    port: int = 443,
    flags: int = 0x02,
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


def ping() -> Transport:
    """An ICMP echo request (RFC 792)."""
    return Transport(ICMP, struct.pack("!BBHHH", 8, 0, 0xF7FE, 1, 0) + bytes(range(48)))


def ipv4(
    payload: bytes,
    *,
    source: str | IPv4Address = CLIENT,
    destination: str | IPv4Address,
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


def ethernet(
    payload: bytes,
    *,
    ether_type: int = ETHERNET_IPV4,
    source: str = ROUTER_MAC,
    destination: str = BALANCER_MAC,
    padding: bytes = b"",
) -> bytes:
    """An Ethernet II frame without its checksum."""
    return mac(destination) + mac(source) + struct.pack("!H", ether_type) + payload + padding


def frame(payload: bytes, *, padding: bytes = b"", **fields: Any) -> bytes:
    """An IPv4 packet in its frame. Fields: those of `ipv4`."""
    return ethernet(ipv4(payload, **fields), padding=padding)


def random_flow(rng: random.Random) -> tuple[IPv4Address, int]:
    """A client: address and port, any bits."""
    return IPv4Address(rng.getrandbits(32)), rng.getrandbits(16)
