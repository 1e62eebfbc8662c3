# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model's arithmetic: checksums and hashes.

References: RFC 1071 and RFC 1624 (checksum), Jenkins' lookup3 (jhash), SplitMix64.
"""

from __future__ import annotations

import struct

MASK32 = 2**32 - 1
MASK64 = 2**64 - 1
GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, the increment of SplitMix64."""


def ones_complement_sum(data: bytes) -> int:
    """Add up 16-bit words with end-around carry (RFC 1071 section 1), an odd byte padded with 0."""
    if len(data) % 2:
        data += b"\0"
    return fold(sum(struct.unpack(f"!{len(data) // 2}H", data)))


def fold(total: int) -> int:
    """Add the carries until none is left."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def updated_checksum(checksum: int, before: int, after: int) -> int:
    """A checksum once a 16-bit word has changed (RFC 1624, equation 3)."""
    return fold((checksum ^ 0xFFFF) + (before ^ 0xFFFF) + after) ^ 0xFFFF


def jhash_2words(first: int, second: int, initial: int) -> int:
    """Hash two words as the kernel does: hashword() of Jenkins' lookup3 (2006), for two words."""
    a = b = c = (0xDEADBEEF + (2 << 2) + initial) & MASK32
    a = (a + first) & MASK32
    b = (b + second) & MASK32
    _a, _b, c = lookup3_final(a, b, c)
    return c


def lookup3_final(a: int, b: int, c: int) -> tuple[int, int, int]:
    """The last step of lookup3, which mixes three words into c (and, less well, into b)."""
    c = ((c ^ b) - rotate(b, 14)) & MASK32
    a = ((a ^ c) - rotate(c, 11)) & MASK32
    b = ((b ^ a) - rotate(a, 25)) & MASK32
    c = ((c ^ b) - rotate(b, 16)) & MASK32
    a = ((a ^ c) - rotate(c, 4)) & MASK32
    b = ((b ^ a) - rotate(a, 14)) & MASK32
    c = ((c ^ b) - rotate(b, 24)) & MASK32
    return a, b, c


def rotate(word: int, bits: int) -> int:
    """Rotate a 32-bit word to the left."""
    return (word << bits | word >> (32 - bits)) & MASK32


def mix64(word: int) -> int:
    """The finaliser of SplitMix64: mixes 64 bits so that each depends on all."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK64
    return word ^ word >> 31
