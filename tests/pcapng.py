# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads pcapng as its specification has it (draft-ietf-opsawg-pcapng), strictly."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """An enhanced packet block. time: in ns since 1970."""

    interface: str
    time: int
    data: bytes
    length: int
    comment: str
    flags: int
    packet: int
    verdict: bytes


def options_of(body: bytes) -> dict[int, bytes]:
    """Code -> value."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        code, length = struct.unpack_from("=HH", body, at)
        if code == 0:
            assert (length, at + 4) == (0, len(body))
            return found
        assert code not in found
        found[code] = body[at + 4 : at + 4 + length]
        at += 4 + (length + 3) // 4 * 4
    raise AssertionError("options have no end")


def blocks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each."""
    at = 0
    while at < len(content):
        kind, length = struct.unpack_from("=II", content, at)
        assert length % 4 == 0 and length <= len(content) - at
        assert struct.unpack_from("=I", content, at + length - 4) == (length,)
        yield kind, content[at + 8 : at + length - 4]
        at += length


def frames(content: bytes) -> list[Frame]:
    """All that are in a file."""
    names: list[str] = []
    found = []
    (first, section), *rest = blocks(content)
    assert first == 0x0A0D0D0A
    assert struct.unpack_from("=IHHq", section) == (0x1A2B3C4D, 1, 0, -1)
    options_of(section[16:])
    for kind, body in rest:
        if kind == 1:
            assert struct.unpack_from("=HH", body) == (1, 0), "Ethernet"
            options = options_of(body[8:])
            assert options[9] == b"\x09", "nanoseconds"
            names.append(options[2].decode())
        elif kind == 6:
            interface, high, low, kept, length = struct.unpack_from("=5I", body)
            options = options_of(body[20 + (kept + 3) // 4 * 4 :])
            found.append(
                Frame(
                    names[interface],
                    high << 32 | low,
                    body[20 : 20 + kept],
                    length,
                    options[1].decode(),
                    struct.unpack("=I", options[2])[0],
                    struct.unpack("=Q", options[5])[0],
                    options[7],
                )
            )
        else:
            assert kind == 5
    return found
