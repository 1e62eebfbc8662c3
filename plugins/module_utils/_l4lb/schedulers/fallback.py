# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has the slots of backends that cannot take flows for now.

The slots of all others stay as they are, and a backend that returns gets back exactly its own. The
table depends on the scheduler's table and on who is usable, never on the order in which things
happened, so that balancers which agree about that agree about every slot.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from .candidate import MAGLEV_SLOTS
from .maglev import exact_shares

_PROBES = 24
"""How often a slot looks for an heir; what is left then, a slot in a hundred or so, is dealt to
those whose shares are not complete."""


def fallback(
    table: Sequence[int], usable: Collection[int], partly: Mapping[int, int] | None = None
) -> array[int]:
    """The table with slots of the usable only, each with its share of them.

    Shares are exactly in proportion to those in the table, rounded up or down.

    table: of a scheduler, shape (65537,) or (512,): positions of backends, from 1 on.
    usable: those of them that take flows.
    partly: those that have only so many percent of their own slots, 1 to 99, and no others; with
        more percent these and more. It counts if there are usable ones besides.

    Returns array("H") of the same shape: the same table if all are usable, all 0 if none is.
    """
    found = array("H", table)
    counts = Counter(found)
    there = [number for number in sorted(usable) if counts[number]]
    parts = {number: share for number, share in (partly or {}).items() if number in there}
    heirs = [number for number in there if number not in parts]
    if not heirs:
        heirs, parts = there, {}
    if not heirs:
        return array("H", bytes(2 * len(found)))
    gone = _gone(found, heirs, {n: counts[n] * share // 100 for n, share in parts.items()})
    if len(table) == MAGLEV_SLOTS:
        _inherit(found, table, gone, {number: counts[number] for number in heirs})
    else:
        _deal(found, gone, heirs)
    return found


def _gone(table: Sequence[int], heirs: Collection[int], parts: Mapping[int, int]) -> list[int]:
    """The slots that the heirs get: of those that keep so many, the others in an order of
    chance."""
    keep = {*heirs, *parts}
    gone = [slot for slot, number in enumerate(table) if number not in keep]
    for number, count in parts.items():
        own = [slot for slot, owner in enumerate(table) if owner == number]
        own.sort(key=lambda slot: (slot + 1) ** 3 % MAGLEV_SLOTS)
        gone += own[count:]
    return sorted(gone)


def _inherit(
    found: array[int], table: Sequence[int], gone: Sequence[int], shares: Mapping[int, int]
) -> None:
    """Each slot goes to the first backend on a walk of its own through the table that is an heir
    and has not all of its share yet, as in consistent hashing with bounded loads (Mirrokni, Thorup
    and Zadimoghaddam, SODA 2018). So few of these slots change hands when others go too.

    shares: slots that the heirs have already.
    """
    total = sum(shares.values()) + len(gone)
    quotas = exact_shares([*shares.values()], total)
    free = {number: quota - shares[number] for number, quota in zip(shares, quotas)}
    left = []
    for slot in gone:
        for place in _walk(slot, len(table)):
            number = table[place]
            if free.get(number):
                break
        else:
            left.append(slot)
            continue
        found[slot] = number
        free[number] -= 1
    heirs = (number for number, count in free.items() for unused in range(count))
    for slot, number in zip(left, heirs):
        found[slot] = number


def _walk(slot: int, slots: int) -> Iterator[int]:
    """By cubes: as 3 does not divide 65536, x -> x^3 permutes the numbers below the prime 65537, so
    that after any number of steps the slots of a table are all somewhere else."""
    for step in range(1, _PROBES):
        slot = (slot + step) ** 3 % slots
        yield slot


def _deal(found: array[int], gone: Sequence[int], heirs: Sequence[int]) -> None:
    """Round robin, as the table itself was made."""
    for turn, slot in enumerate(gone):
        found[slot] = heirs[turn % len(heirs)]
