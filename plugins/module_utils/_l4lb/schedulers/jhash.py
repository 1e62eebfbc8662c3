# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler jhash: slots by Jenkins' hash (lookup3, as in include/linux/jhash.h)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from .candidate import JHASH_SLOTS, Candidate, check_count
from .hashes import MASK32


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
    a = (a + initval) & MASK32
    b = (b + initval) & MASK32
    c = initval & MASK32
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
    return ((x ^ y) - rotated) & MASK32
