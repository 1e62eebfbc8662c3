# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hashes that packets are told apart by."""

from __future__ import annotations

from collections.abc import Sequence

MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio; odd, so nothing is lost when multiplying by it."""


# From a packet to a slot, as the data plane does it


def flow_hash(client: Sequence[int], ports: int, seed: int) -> int:
    """Hash what identifies a flow, to 64 bits.

    client: the words of its address as the packet has them in memory: one of 32 bits, or two of 64.
    ports: the source port and the destination port likewise, as one word of 32 bits; 0 if they
        shall not count.
    seed: 64 bits of it count.
    """
    key = seed * _GOLDEN & MASK64
    return _mix64(ports << 32 ^ _joined(client, key | 1, _GOLDEN) ^ key)


def fingerprint(
    client: Sequence[int], ports: int, service: Sequence[int], protocol: int, secret: int
) -> int:
    """By what the flow table of a host knows a flow, 64 bits; the upper ones say where it is.

    client, ports: as of `flow_hash`. service: the words of its address. secret: 64 bits.
    """
    odd, other = secret | 1, int.from_bytes(secret.to_bytes(8, "little"), "big") | 1
    both = service[0] if len(service) == 1 else service[0] + service[1] * 3
    sum_ = (_joined(client, odd, other) + (ports << 32)) * odd
    sum_ += (both + (protocol << 32)) * other
    return _fold_and_multiply(sum_, other)


def _joined(words: Sequence[int], odd: int, other: int) -> int:
    """One word as it is; two as 64 bits that depend on two odd numbers."""
    if len(words) == 1:
        return words[0]
    upper, lower = words
    joined = _fold_and_multiply(upper * odd, other) + _fold_and_multiply(lower * other, odd)
    return joined & MASK64


def _fold_and_multiply(word: int, odd: int) -> int:
    word &= MASK64
    return (word ^ word >> 32) * odd & MASK64


def _mix64(word: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), which is Stafford's variant
    13: 64 bits to 64, a bijection."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK64
    return word ^ word >> 31
