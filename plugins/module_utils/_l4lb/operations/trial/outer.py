# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program has put around a packet, read from the frame that it made of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from ...maps import backend_record
from ...model.config import Address

_TAGS = (0x8100, 0x88A8)
_MACS, _TAG = 12, 4
_IPV4, _IPV6 = 20, 40
_DONT_FRAGMENT = 0x4000


@dataclass(frozen=True)
class Outer:
    """Headers before the packet that came.

    vlans: numbers, the outermost first. overhead: bytes, Ethernet not counted.
    ports: of GUE, source and destination; None: there are none. ttl: or hop limit.
    whole: it says "don't fragment", as IPv6 always does.
    """

    vlans: tuple[int, ...]
    source: Address | None = None
    destination: Address | None = None
    ttl: int = 0
    dscp: int = 0
    ports: tuple[int, int] | None = None
    whole: bool = True
    overhead: int = 0


def outer(frame: bytes, encapsulation: str) -> Outer:
    """That of a frame which the program has made for a backend."""
    at, vlans = _MACS, []
    while int.from_bytes(frame[at : at + 2], "big") in _TAGS:
        vlans.append(int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF)
        at += _TAG
    if encapsulation == "l2":
        return Outer(tuple(vlans))
    packet = frame[at + 2 :]
    version = packet[0] >> 4
    if version == 4:
        tos, flags, ttl = packet[1], int.from_bytes(packet[6:8], "big"), packet[8]
        ends, length, whole = packet[12:20], _IPV4, bool(flags & _DONT_FRAGMENT)
    else:
        tos, ttl = int.from_bytes(packet[:4], "big") >> 20 & 0xFF, packet[7]
        ends, length, whole = packet[8:40], _IPV6, True
    half = len(ends) // 2
    ports = struct.unpack_from("!HH", packet, length) if encapsulation == "gue" else None
    return Outer(
        tuple(vlans),
        ip_address(ends[:half]),
        ip_address(ends[half:]),
        ttl,
        tos >> 2,
        ports,
        whole,
        backend_record.overhead(encapsulation, version),
    )


def told_mtu(frame: bytes, version: int) -> int:
    """What an answer "packet too big" says that the sender may send (RFC 1191, RFC 8201)."""
    at = _MACS
    while int.from_bytes(frame[at : at + 2], "big") in _TAGS:
        at += _TAG
    message = frame[at + 2 + (_IPV4 if version == 4 else _IPV6) :]
    return int.from_bytes(message[6:8] if version == 4 else message[4:8], "big")
