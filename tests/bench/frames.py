# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames: to each target, all of one length. The harness makes flows of them."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

FLOWS = 4096
"""A power of two, as the harness counts with a mask."""

HEAD_LEN = 64
"""How much of a frame the harness writes anew for each packet."""

MACS = bytes.fromhex("525400000002 525400000001")
CLIENT, CLIENT6, CLIENT_PORT = "10.64.0.1", "2001:db8:c::1", 40000
TCP, UDP = 6, 17
SYN, ACK = 0x02, 0x10
PAYLOAD = 26
"""Bytes. With them no frame is shorter than HEAD_LEN."""


@dataclass(frozen=True)
class Target:
    """Where a client sends to."""

    address: str
    port: int = 443


def traffic(targets: Sequence[Target], protocol: int = TCP, flags: int = ACK) -> list[bytes]:
    """Frames to all targets, in random order; as many as the next power of two."""
    count = 1 << (len(targets) - 1).bit_length()
    order = random.Random(count).sample([*targets, *targets][:count], count)
    return [_frame(target, _segment(protocol, target.port, flags), protocol) for target in order]


def flow(frame: bytes, number: int) -> bytes:
    """What the harness makes of a frame for this flow."""
    change = (number * (0x9E3779B1 << 6) & 0xFFFFFFFF).to_bytes(4, "little")
    source = bytes(a ^ b for a, b in zip(frame[26:30], change))
    return frame[:26] + source + frame[30:]


def _frame(target: Target, segment: bytes, protocol: int) -> bytes:
    if ":" in target.address:
        header = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 63)
        header += IPv6Address(CLIENT6).packed + IPv6Address(target.address).packed
        return MACS + b"\x86\xdd" + header + segment
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 63, protocol, 0)
    header += IPv4Address(CLIENT).packed + IPv4Address(target.address).packed
    return MACS + b"\x08\x00" + header + segment


def _segment(protocol: int, port: int, flags: int) -> bytes:
    """A TCP segment or a UDP datagram. Nobody on the way verifies a checksum."""
    if protocol == TCP:
        header = struct.pack("!HHIIBBHHH", CLIENT_PORT, port, 1, 1, 5 << 4, flags, 64240, 0, 0)
    else:
        header = struct.pack("!HHHH", CLIENT_PORT, port, 8 + PAYLOAD, 0)
    return header + bytes(PAYLOAD)
