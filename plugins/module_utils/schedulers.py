# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schedulers: which backend serves a new flow.

A scheduler makes a lookup table; the data plane hashes a packet to a slot of it. Both halves are
here: the tables (`maglev`, `jhash`), and the hashes that lead to a slot (`maglev_slot`,
`jhash_slot`), which must agree with files/bpf bit for bit. Beside them is the hash that finds the
flows that need no scheduler any more (`fingerprint`).

A lookup table is an array of 16-bit numbers, one a slot: the position of a backend in the list that
the table was made from, plus 1; 0 is no backend.

Every balancer of a fleet must make the same table from the same configuration. So nothing here
depends on the machine, the version of Python, or chance, and a change of what a function returns is
a breaking change: balancers of two versions behind one router would disagree about flows.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from math import isqrt
from operator import ne
from typing import NamedTuple

MAGLEV_SLOTS = 65537  # a prime; a slot is under 1 % of an equal share among 655 backends or fewer
JHASH_SLOTS = 512
MAX_CANDIDATES = 0xFFFF  # what a 16-bit slot can name

_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio; odd, so nothing is lost when multiplying by it."""


class Candidate(NamedTuple):
    """A backend as a scheduler sees it."""

    key: str  # what stays the same on every balancer and after every change: the canonical address
    weight: int  # 0..255; 0 takes no new flows


# Lookup tables


def maglev(candidates: Sequence[Candidate], seed: int = 0, slots: int = MAGLEV_SLOTS) -> array[int]:
    """Make a lookup table by weighted Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4).

    Each candidate walks the table in an order of its own; they take turns, and each turn takes the
    first free slot of the walk. Few slots change hands when a candidate comes, goes or changes its
    weight.

    candidates: up to 65535, keys unique; their order affects the numbers in the table, but not
        which key has which slot.
    seed: another seed, another table; 64 bits of it count.
    slots: length of the table, a prime, so that every walk visits every slot.

    Returns array("H"), shape (slots,). No slot is 0 if any weight is positive, every one is
    otherwise. Each candidate has its exact share of the slots, rounded up or down: none, perhaps,
    if its share is less than one slot.

    Raises ValueError for too many candidates, or for slots that is no prime.
    """
    check_count(candidates, MAX_CANDIDATES)
    if slots < 2 or not all(slots % divisor for divisor in range(2, isqrt(slots) + 1)):
        raise ValueError(f"a maglev table needs a prime number of slots, not {slots}")
    ranking = sorted(
        (candidate, number) for number, candidate in enumerate(candidates, 1) if candidate.weight
    )
    if not ranking:
        return array("H", [0]) * slots
    if len(ranking) == 1:
        return array("H", [ranking[0][1]]) * slots
    numbers = [number for unused, number in ranking]
    walks = [_walk(candidate.key, seed, slots) for candidate, unused in ranking]
    turns = _turns([candidate.weight for candidate, unused in ranking], slots)

    # Nearly all of the time goes by in this loop. With n slots left, a turn takes slots / n steps
    # on average; once n < sqrt(slots) it is cheaper to look at the n slots themselves.
    table = [0] * slots
    places = [offset for offset, unused in walks]
    skips = [skip for unused, skip in walks]
    tail = slots - isqrt(slots)
    for rank in turns[:tail]:
        place = places[rank]
        skip = skips[rank]
        while table[place]:
            place = (place + skip) % slots
        table[place] = numbers[rank]
        places[rank] = place

    free = [place for place, number in enumerate(table) if not number]
    for rank in turns[tail:]:
        offset, skip = walks[rank]
        steps_a_slot = pow(skip, -1, slots)
        steps = min([(place - offset) * steps_a_slot % slots for place in free])
        place = (offset + steps * skip) % slots
        table[place] = numbers[rank]
        free.remove(place)
    return array("H", table)


def jhash(candidates: Sequence[Candidate]) -> array[int]:
    """Make the seed's lookup table: 512 slots, dealt round robin in the listed order.

    A slot whose turn falls on a candidate of weight 0 goes to the candidate of slot 0, or, if that
    one has weight 0 too, to the first in the list that has not. Other weights make no difference.

    candidates: up to 512; their order matters, their keys do not.

    Returns array("H"), shape (512,), all 0 if every weight is 0.

    Raises ValueError for too many candidates: those past 512 would never be picked.
    """
    check_count(candidates, JHASH_SLOTS)
    usable = [number for number, candidate in enumerate(candidates, 1) if candidate.weight]
    if not usable:
        return array("H", [0]) * JHASH_SLOTS
    dealt = [
        number if candidate.weight else usable[0] for number, candidate in enumerate(candidates, 1)
    ]
    return array("H", [dealt[slot % len(dealt)] for slot in range(JHASH_SLOTS)])


def moved(
    before: Sequence[int],
    after: Sequence[int],
    keys_before: Sequence[str],
    keys_after: Sequence[str],
) -> int:
    """Count the slots that change hands between two lookup tables.

    before, after: tables of one length, made from candidates with keys_before and keys_after.

    Returns 0..len(before). Raises ValueError if the lengths differ.
    """
    if len(before) != len(after):
        raise ValueError(f"tables of {len(before)} and {len(after)} slots cannot be compared")
    owners_before = map([None, *keys_before].__getitem__, before)
    owners_after = map([None, *keys_after].__getitem__, after)
    return sum(map(ne, owners_before, owners_after))


def check_count(candidates: Sequence[Candidate], limit: int) -> None:
    if len(candidates) > limit:
        raise ValueError(f"{len(candidates)} backends; the table holds at most {limit}")


def _walk(key: str, seed: int, slots: int) -> tuple[int, int]:
    """Where a candidate's walk starts, 0..slots-1, and how far each step goes, 1..slots-1.

    By SHA-256, because a Python in FIPS mode may lack others.
    """
    digest = hashlib.sha256((seed & _MASK64).to_bytes(8, "little") + key.encode()).digest()
    offset = int.from_bytes(digest[:8], "little")
    skip = int.from_bytes(digest[8:16], "little")
    return offset % slots, skip % (slots - 1) + 1


def _turns(weights: Sequence[int], slots: int) -> list[int]:
    """Who takes a slot, in order: positions in weights, 0..len(weights)-1, shape (slots,).

    weights: at least one, all positive.

    The heaviest has a turn every round, the others as often as their weight against its asks for.
    Quotas make the shares exact in the end, but do not affect the rhythm: a quota depends on
    everyone's weight, and if turns shifted with it, slots would change hands without need.
    """
    heaviest = max(weights)
    quotas = _quotas(weights, slots)
    last_round = max((quota - 1) * heaviest // weight for weight, quota in zip(weights, quotas))
    rounds: list[list[int]] = [[] for unused in range(last_round + 1)]
    for rank, (weight, quota) in enumerate(zip(weights, quotas)):
        for turn in range(quota):
            rounds[turn * heaviest // weight].append(rank)
    return [rank for ranks in rounds for rank in ranks]


def _quotas(weights: Sequence[int], slots: int) -> list[int]:
    """How many slots each gets, all of them in total: by largest remainder, ties to the earlier."""
    total = sum(weights)
    quotas = [slots * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda rank: -(slots * weights[rank] % total))
    for rank in by_remainder[: slots - sum(quotas)]:
        quotas[rank] += 1
    return quotas


# From a packet to a slot, as the data plane does it


def flow_hash(client: Sequence[int], ports: int, seed: int) -> int:
    """Hash what identifies a flow, to 64 bits.

    client: the words of its address as the packet has them in memory: one of 32 bits, or two of 64.
    ports: the source port and the destination port likewise, as one word of 32 bits; 0 if they
        shall not count.
    seed: 64 bits of it count.
    """
    key = seed * _GOLDEN & _MASK64
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
    return joined & _MASK64


def _fold_and_multiply(word: int, odd: int) -> int:
    word &= _MASK64
    return (word ^ word >> 32) * odd & _MASK64


def _mix64(word: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), which is Stafford's variant
    13: 64 bits to 64, a bijection."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK64
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK64
    return word ^ word >> 31


def maglev_slot(flow: int) -> int:
    """The slot of a maglev table, 0..65536, for a flow_hash: its upper half, scaled."""
    return (flow >> 32) * MAGLEV_SLOTS >> 32


def jhash_slot(address_word: int, ports_word: int) -> int:
    """The slot of a jhash table, 0..511.

    address_word, ports_word: the source address, and the two ports, each the four bytes of the
    packet read as a little-endian number.
    """
    return jhash_2words(address_word, ports_word, JHASH_SLOTS) % JHASH_SLOTS


def jhash_2words(a: int, b: int, initval: int) -> int:
    """The kernel's function of this name (include/linux/jhash.h): 32-bit words to 32 bits.

    It is the end of Bob Jenkins' lookup3 (burtleburtle.net/bob/c/lookup3.c, May 2006) with c = 0
    and the length of two words.
    """
    initval += 0xDEADBEEF + (2 << 2)
    a = (a + initval) & _MASK32
    b = (b + initval) & _MASK32
    c = initval & _MASK32
    c = _jhash_mix(c, b, 14)
    a = _jhash_mix(a, c, 11)
    b = _jhash_mix(b, a, 25)
    c = _jhash_mix(c, b, 16)
    a = _jhash_mix(a, c, 4)
    b = _jhash_mix(b, a, 14)
    return _jhash_mix(c, b, 24)


def _jhash_mix(x: int, y: int, bits: int) -> int:
    """(x xor y) minus y rotated left by bits, in 32 bits."""
    rotated = y << bits | y >> (32 - bits)
    return ((x ^ y) - rotated) & _MASK32
