# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets as a file that Wireshark and tcpdump read: pcapng (draft-ietf-opsawg-pcapng).

There are two interfaces: one has frames as they came, the other as they left. Both frames of a
packet have the same packet id, XDP's verdict, and what became of it as a comment.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator

from ...printable import printable
from .packet import Captured

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1
_UNKNOWN_LENGTH = 2**64 - 1
_END, _COMMENT = 0, 1
_SHB_OS, _SHB_APPLICATION = 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_NANOSECONDS = 9
_EPB_FLAGS, _EPB_PACKET_ID, _EPB_VERDICT = 2, 5, 7
_VERDICT_XDP = 2
_ISB_END, _ISB_DROPPED = 3, 5
BEFORE, AFTER = 0, 1
"""The interfaces, by their number; also the directions of epb_flags less one: in, and out."""


def start(interface: str, snaplen: int, version: str) -> bytes:
    """What a file begins with."""
    options = [
        (_SHB_OS, f"{platform.system()} {platform.release()}".encode()),
        (_SHB_APPLICATION, f"l4lb {version}".encode()),
    ]
    section = struct.pack("=IHHQ", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
    blocks = [_block(_SECTION, section, options)]
    for when in ("before", "after"):
        options = [
            (_IF_NAME, printable(f"{interface} {when}").encode()),
            (_IF_DESCRIPTION, f"{when} the balancer's program".encode()),
            (_IF_TSRESOL, bytes([_NANOSECONDS])),
        ]
        blocks.append(_block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, snaplen), options))
    return b"".join(blocks)


def packet(captured: Captured, number: int) -> bytes:
    """A packet: as it came, and as it left, if it did."""
    return b"".join(_frames(captured, number))


def _frames(captured: Captured, number: int) -> Iterator[bytes]:
    record = captured.record
    frames = [(BEFORE, record.before, record.length)]
    if record.length_after:
        frames.append((AFTER, record.after, record.length_after))
    for interface, frame, length in frames:
        head = struct.pack("=I", interface) + _timestamp(record.time)
        head += struct.pack("=II", len(frame), length) + _padded(frame)
        options = [
            (_COMMENT, printable(captured.comment).encode()),
            (_EPB_FLAGS, struct.pack("=I", interface + 1)),
            (_EPB_PACKET_ID, struct.pack("=Q", number)),
            (_EPB_VERDICT, bytes([_VERDICT_XDP]) + struct.pack("=Q", record.verdict)),
        ]
        yield _block(_PACKET, head, options)


def end(time: int, lost: int) -> bytes:
    """What a file ends with: how many packets are not in it, as the reader was too slow.

    time: in ns since 1970.
    """
    options = [(_ISB_END, _timestamp(time)), (_ISB_DROPPED, struct.pack("=Q", lost))]
    return _block(_STATISTICS, struct.pack("=I", BEFORE) + _timestamp(time), options)


def _timestamp(time: int) -> bytes:
    return struct.pack("=II", time >> 32, time & 0xFFFFFFFF)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


def _block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    told = b"".join(
        struct.pack("=HH", code, len(value)) + _padded(value)
        for code, value in [*options, (_END, b"")]
    )
    length = struct.pack("=I", len(body) + len(told) + 12)
    return struct.pack("=I", kind) + length + body + told + length
