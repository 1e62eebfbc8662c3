# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has the slots of backends that cannot take flows."""

from __future__ import annotations

import hashlib
import random
import sys
from array import array
from collections import Counter
from functools import cache

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.candidate import Candidate
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.fallback import fallback
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.jhash import jhash
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.maglev import maglev
from hypothesis import example, given, settings
from hypothesis import strategies as st

SCHEDULERS = {"maglev": maglev, "jhash": jhash}
WEIGHTS = {
    "two": (1, 1),
    "unequal": (1, 2, 3, 50),
    "many": (1,) * 40,
    "hundreds": (1,) * 512,
}


@cache
def table(scheduler: str, weights: tuple[int, ...]) -> array[int]:
    candidates = [Candidate(f"10.0.{n >> 8}.{n & 255}", w) for n, w in enumerate(weights)]
    return SCHEDULERS[scheduler](candidates)


def some(count: int, of: int, seed: int) -> set[int]:
    """That many of the positions; of Python's generator, only random() never changes."""
    chance = random.Random(seed)
    ranked = sorted((chance.random(), number) for number in range(1, of + 1))
    return {number for unused, number in ranked[:count]}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_with_all_of_them_it_is_the_table_itself(scheduler: str, weights: tuple[int, ...]) -> None:
    base = table(scheduler, weights)
    assert fallback(base, range(1, len(weights) + 1)) == base


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_with_none_of_them_there_is_nobody(scheduler: str) -> None:
    base = table(scheduler, (1, 1))
    assert not any(fallback(base, ()))
    assert not any(fallback(array("H", bytes(2 * len(base))), (1, 2)))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_slots_of_the_usable_stay(scheduler: str, weights: tuple[int, ...]) -> None:
    base, count = table(scheduler, weights), len(weights)
    for usable in (some(count - 1, count, 1), some((count + 1) // 2, count, 2), {1}):
        found = fallback(base, usable)
        assert set(found) <= usable
        assert all(now == was for was, now in zip(base, found) if was in usable)


WITHOUT_MOST = [4, 4, 12, 104, 121, 189, 206, 5, 32, 101, 183, 4, 12, 95, 102, 106, 151, 163]


@st.composite
def weighted(draw: st.DrawFn) -> tuple[tuple[int, ...], set[int]]:
    """Weights, and the positions of those that are usable."""
    weights = tuple(draw(st.lists(st.integers(1, 255), min_size=2, max_size=60)))
    return weights, draw(st.sets(st.integers(1, len(weights)), min_size=1))


@settings(max_examples=30, deadline=None)
@given(weighted())
@example((tuple(WITHOUT_MOST), {1, 2, 4, 12}))
def test_shares_are_exact(case: tuple[tuple[int, ...], set[int]]) -> None:
    """While up to half are gone, and beyond that."""
    weights, usable = case
    found = Counter(fallback(table("maglev", weights), usable))
    total = sum(weights[number - 1] for number in usable)
    for number in usable:
        part = weights[number - 1] / total
        # The table's own shares were rounded, too, and grow: its own, and its part of all others'.
        growth = sum(weights) / total
        assert abs(found[number] - 65537 * part) <= 1 + growth * (1 + part * len(usable))


def test_half_of_hundreds_have_their_shares() -> None:
    usable = some(256, 512, 3)
    counts = Counter(fallback(table("maglev", (1,) * 512), usable)).values()
    assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_part_of_a_share(scheduler: str) -> None:
    """It is of its own slots, and grows by more of them."""
    base = table(scheduler, (1, 1, 1, 1))
    parts = [fallback(base, range(1, 5), {2: percent}) for percent in (10, 50, 90)]
    own = [{slot for slot, number in enumerate(part) if number == 2} for part in parts]
    assert own[0] < own[1] < own[2]
    for percent, slots in zip((10, 50, 90), own):
        assert abs(len(slots) - len(base) / 4 * percent / 100) < 2
    for part in parts:
        assert all(now == was for was, now in zip(base, part) if was != 2)
    assert own[2] < {slot for slot, number in enumerate(base) if number == 2}
    alone = fallback(base, (2,), {2: 10})
    assert set(alone) == {2}


def test_jhash_deals_round_robin() -> None:
    base = table("jhash", (1, 1, 1))
    found = fallback(base, (1, 3))
    assert list(found[:9]) == [1, 1, 3, 1, 3, 3, 1, 1, 3]


def test_few_slots_change_hands_twice() -> None:
    """When one more goes, others' inherited slots stay where they are, nearly all of them."""
    for count in (16, 64, 512):
        base = table("maglev", (1,) * count)
        usable = some(count * 3 // 4, count, count)
        another = min(usable)
        before, after = fallback(base, usable), fallback(base, usable - {another})
        moved = sum(a != b for a, b in zip(before, after) if a != another)
        assert moved < len(base) // 100


@pytest.mark.parametrize(
    ("scheduler", "weights", "expected"),
    [
        pytest.param("maglev", "unequal", "40b21a128742d93f", id="maglev-unequal"),
        pytest.param("maglev", "hundreds", "97bd75633d4fcc89", id="maglev-hundreds"),
        pytest.param("jhash", "many", "38a67b7d73b50b41", id="jhash-many"),
    ],
)
def test_the_table_never_changes(scheduler: str, weights: str, expected: str) -> None:
    """One that differs between two releases splits a fleet during an upgrade."""
    count = len(WEIGHTS[weights])
    found = fallback(table(scheduler, WEIGHTS[weights]), some(count // 2, count, 7))
    if sys.byteorder == "big":
        found.byteswap()
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == expected
