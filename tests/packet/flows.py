# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of flows: how they are hashed, and the table that remembers their backends."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tests.packet.hashing import GOLDEN_RATIO, MASK64, jhash_2words, mix64
from tests.packet.wire import PORTS, Address

WAYS = 4
CONFIRMING = 5
"""Seconds within which a flow's second packet makes it more than an attempt."""
BLOCK_SETS = 256
JHASH_SLOTS = 512
MAGLEV_SLOTS = 65537

Key = tuple
"""What a flow is remembered by: its service and its fingerprint."""


@dataclass(frozen=True)
class Flow:
    """The client's end of a conversation, and the port it talks to."""

    source: Address
    source_port: int
    port: int

    def hash(self, seed: int) -> int:
        """64 bits that differ between flows; the words are read as the packet has them."""
        return flow_hash(self.source.packed, self.ports, seed)

    def fingerprint(self, service: Address, protocol: int, secret: int) -> int:
        """64 bits that nobody foresees without knowing the secret."""
        return fingerprint(self.source.packed, self.ports, service.packed, protocol, secret)

    @property
    def ports(self) -> int:
        """Both ports as a word."""
        return int.from_bytes(PORTS.pack(self.source_port, self.port), "little")


@functools.lru_cache(maxsize=4096)
def flow_hash(source: bytes, ports: int, seed: int) -> int:
    """The hash of a flow: of its client and ports, spiced with a seed."""
    spice = seed * GOLDEN_RATIO & MASK64
    client = end_of(source, spice | 1, GOLDEN_RATIO)
    return mix64(client ^ ports << 32 ^ spice)


@functools.lru_cache(maxsize=4096)
def fingerprint(source: bytes, ports: int, service: bytes, protocol: int, secret: int) -> int:
    """A sum of products with two odd numbers, which are the secret read from either end."""
    from_left = secret | 1
    from_right = int.from_bytes(secret.to_bytes(8, "big"), "little") | 1
    words = [int.from_bytes(service[at : at + 8], "little") for at in range(0, len(service), 8)]
    server = sum(times * word for times, word in zip((1, 3), words))
    client = end_of(source, from_left, from_right)
    total = (client + (ports << 32)) * from_left + (server + (protocol << 32)) * from_right
    return folded(total) * from_right & MASK64


def end_of(address: bytes, first: int, second: int) -> int:
    """An address as a number: both halves of IPv6 are multiplied by each of two, and added."""
    if len(address) == 4:
        return int.from_bytes(address, "little")
    upper, lower = int.from_bytes(address[:8], "little"), int.from_bytes(address[8:], "little")
    return (folded(upper * first) * second + folded(lower * second) * first) & MASK64


def folded(word: int) -> int:
    """64 bits, with the upper half laid over the lower."""
    word &= MASK64
    return word ^ word >> 32


def maglev_slot(hashed: int) -> int:
    """The upper half of a hash, scaled to the table."""
    return (hashed >> 32) * MAGLEV_SLOTS >> 32


def jhash_slot(source: bytes, ports: int) -> int:
    """As the seed does it; the words of an IPv6 address are folded into one."""
    word = 0
    for start in range(0, len(source), 4):
        word ^= int.from_bytes(source[start : start + 4], "little")
    return jhash_2words(word, ports, JHASH_SLOTS) % JHASH_SLOTS


def sets_for(size: int) -> int:
    """How many sets hold so many flows: a power of two of blocks, which a CPU allocates whole."""
    blocks = -(-size // (BLOCK_SETS * WAYS))
    return BLOCK_SETS << max(0, blocks - 1).bit_length()


@dataclass
class Remembered:
    """A flow in the table.

    confirmed: more than a single packet of it was seen.
    """

    key: Key
    backend: Address
    seen: float
    confirmed: bool = False

    def touch(self, now: float, *, confirms: bool) -> None:
        """Another packet has come."""
        self.confirmed = self.confirmed or (confirms and now - self.seen < CONFIRMING)
        self.seen = now


class FlowTable:
    """Sets of a few ways each, so that an insert never searches far."""

    def __init__(self, size: int, secret: int = 0) -> None:
        self.sets = sets_for(size)
        self.secret = secret
        self._ways: dict[int, list[Remembered]] = {}

    def find(self, key: Key) -> Remembered | None:
        """What is remembered of a flow."""
        return next((flow for flow in self._set(key) if flow.key == key), None)

    def insert(self, flow: Remembered) -> Remembered | None:
        """Remember a flow. Returns which other is forgotten for it: an attempt rather than a
        confirmed one, and of these the longest unseen."""
        ways = self._set(flow.key)
        known, other = self.find(flow.key), None
        if known:
            ways.remove(known)
        elif len(ways) == WAYS:
            other = min(ways, key=lambda flow: (flow.confirmed, flow.seen))
            ways.remove(other)
        ways.append(flow)
        return other

    def _set(self, key: Key) -> list[Remembered]:
        return self._ways.setdefault(key[-1] * self.sets >> 64, [])
