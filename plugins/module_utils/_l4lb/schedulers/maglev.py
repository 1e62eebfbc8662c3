# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
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

from .candidate import MAGLEV_SLOTS, MAX_CANDIDATES, Candidate, check_count
from .hashes import MASK64

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


def _walk(key: str, seed: int, slots: int) -> tuple[int, int]:
    """Where a candidate's walk starts, 0..slots-1, and how far each step goes, 1..slots-1.

    By SHA-256, because a Python in FIPS mode may lack others.
    """
    digest = hashlib.sha256((seed & MASK64).to_bytes(8, "little") + key.encode()).digest()
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
    quotas = exact_shares(weights, slots)
    last_round = max((quota - 1) * heaviest // weight for weight, quota in zip(weights, quotas))
    rounds: list[list[int]] = [[] for unused in range(last_round + 1)]
    for rank, (weight, quota) in enumerate(zip(weights, quotas)):
        for turn in range(quota):
            rounds[turn * heaviest // weight].append(rank)
    return [rank for ranks in rounds for rank in ranks]


def exact_shares(weights: Sequence[int], slots: int) -> list[int]:
    """How many slots each gets, all of them in total: by largest remainder, ties to the earlier."""
    total = sum(weights)
    quotas = [slots * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda rank: -(slots * weights[rank] % total))
    for rank in by_remainder[: slots - sum(quotas)]:
        quotas[rank] += 1
    return quotas


def maglev_slot(flow: int) -> int:
    """The slot of a maglev table, 0..65536, for a flow_hash: its upper half, scaled."""
    return (flow >> 32) * MAGLEV_SLOTS >> 32
