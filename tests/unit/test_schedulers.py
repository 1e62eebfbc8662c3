# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup tables and the hashes that lead to a slot.

The known answers of jhash_2words, flow_hash and fingerprint come from C: the first from the
kernel's own header. They are there to stay: a table that differs between two releases splits a
fleet during an upgrade.
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.candidate import (
    JHASH_SLOTS,
    MAGLEV_SLOTS,
    Candidate,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.jhash import (
    jhash,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.maglev import (
    _turns,
    _walk,
    maglev,
)


def fleet(*weights: int) -> list[Candidate]:
    return [Candidate(f"10.0.{n >> 8}.{n & 255}", weight) for n, weight in enumerate(weights)]


def random_weights(count: int, low: int = 1) -> list[int]:
    """Weights low..255, the same on every Python: of its generator, only random() never changes."""
    random_ = random.Random(count)
    return [low + int(random_.random() * (256 - low)) for _each in range(count)]


def owners(table: Sequence[int], candidates: Sequence[Candidate]) -> list[str]:
    """The key in each slot; every slot must have one."""
    assert 0 not in table
    return [candidates[number - 1].key for number in table]


def digest(table: array[int]) -> str:
    """Short, of the table as it lies in memory on a little-endian machine."""
    if sys.byteorder == "big":
        table = array("H", table)
        table.byteswap()
    return hashlib.sha256(table.tobytes()).hexdigest()[:16]


# Maglev: the table

FLEETS = {
    "one": [1],
    "two-equal": [100, 100],
    "extremes": [255, 1],
    "three": [1, 2, 3],
    "hundred-equal": [100] * 100,
    "one-heavy": [255] + [1] * 511,
    "one-light": [255] * 511 + [1],
    "random": random_weights(512),
    "random-with-idle": random_weights(512, low=0),
    "thousand": [1] * 1000,
    "more-than-a-hundredth": random_weights(5000),
    "as-many-as-there-can-be": [1] * 65535,
    "as-many-with-weights": random_weights(65535),
}


@pytest.mark.parametrize("weights", FLEETS.values(), ids=FLEETS)
def test_maglev_fills_every_slot_by_weight(weights: list[int]) -> None:
    table = maglev(fleet(*weights))
    assert len(table) == MAGLEV_SLOTS
    assert table.typecode == "H"
    assert table.itemsize == 2
    slots = Counter(table)
    assert slots[0] == 0
    total = sum(weights)
    for number, weight in enumerate(weights, 1):
        share = MAGLEV_SLOTS * weight / total
        assert abs(slots[number] - share) < 1
        assert weight or not slots[number]


@pytest.mark.parametrize("weights", [[], [0], [0, 0, 0]], ids=["none", "one-idle", "all-idle"])
def test_maglev_is_empty_without_weights(weights: list[int]) -> None:
    assert maglev(fleet(*weights)) == array("H", [0] * MAGLEV_SLOTS)


@pytest.mark.parametrize(
    ("name", "seed", "expected"),
    [
        ("three", 0, "ff71f138dfecb710"),
        ("hundred-equal", 0, "a948ac2b467a1d67"),
        ("hundred-equal", 1, "e035087e41a4bd29"),
        ("hundred-equal", 2**64 - 1, "bcb9ca2bb4cbd372"),
        ("random-with-idle", 0, "b45098ab2ef6208e"),
        ("more-than-a-hundredth", 42, "4e2e69db0bf02793"),
    ],
)
def test_maglev_never_changes(name: str, seed: int, expected: str) -> None:
    assert digest(maglev(fleet(*FLEETS[name]), seed)) == expected


def test_maglev_of_ipv6_never_changes() -> None:
    candidates = [Candidate(f"2001:db8::{n:x}", n) for n in range(1, 33)]
    assert digest(maglev(candidates)) == "1f11d305a16e05f9"


def test_maglev_seed_counts_modulo_64_bits() -> None:
    assert maglev(fleet(1, 2), seed=2**64 + 7) == maglev(fleet(1, 2), seed=7)


@pytest.mark.parametrize("name", ["three", "hundred-equal", "random-with-idle"])
def test_maglev_ignores_the_order(name: str) -> None:
    candidates = fleet(*FLEETS[name])
    expected = owners(maglev(candidates), candidates)
    shuffler = random.Random(1)
    for _turn in range(3):
        shuffler.shuffle(candidates)
        assert owners(maglev(candidates), candidates) == expected


def test_maglev_treats_idle_as_absent() -> None:
    with_idle = fleet(3, 0, 2, 0, 1)
    without = [candidate for candidate in with_idle if candidate.weight]
    assert owners(maglev(with_idle), with_idle) == owners(maglev(without), without)


def test_maglev_makes_the_table_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the paper's table 1, before and after B1 is removed."""
    walks = {"B0": (3, 4), "B1": (0, 2), "B2": (3, 1)}
    monkeypatch.setattr(f"{maglev.__module__}._walk", lambda key, _seed, _slots: walks[key])
    before = [Candidate("B0", 1), Candidate("B1", 1), Candidate("B2", 1)]
    after = [before[0], before[2]]
    assert owners(maglev(before, slots=7), before) == ["B1", "B0", "B1", "B0", "B2", "B2", "B0"]
    assert owners(maglev(after, slots=7), after) == ["B0", "B0", "B0", "B0", "B2", "B2", "B2"]


def test_maglev_survives_identical_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{maglev.__module__}._walk", lambda _key, _seed, _slots: (12345, 54321))
    candidates = fleet(1, 2, 3)
    counts = Counter(owners(maglev(candidates), candidates))
    assert sorted(counts.values()) == [10923, 21846, 32768]


@pytest.mark.parametrize("weights", [[1], [5, 1], [1, 2, 3], [7, 7, 7, 7, 3, 0, 255]], ids=str)
@pytest.mark.parametrize("slots", [2, 3, 7, 13, 251, 4099, MAGLEV_SLOTS])
def test_maglev_takes_the_first_free_slot_of_each_walk(weights: list[int], slots: int) -> None:
    """However it finds it: the last slots of a table are searched in another way."""
    candidates = fleet(*weights)
    table = maglev(candidates, slots=slots)
    ranks = [candidate for candidate in candidates if candidate.weight]
    walks = [_walk(candidate.key, 0, slots) for candidate in ranks]
    expected: list[str] = [""] * slots
    places = [offset for offset, _step in walks]
    for rank in _turns([candidate.weight for candidate in ranks], slots):
        while expected[places[rank]]:
            places[rank] = (places[rank] + walks[rank][1]) % slots
        expected[places[rank]] = ranks[rank].key
    assert owners(table, candidates) == expected


@pytest.mark.parametrize("slots", [-7, 0, 1, 4, 512, 65536, 251 * 257])
def test_maglev_needs_a_prime(slots: int) -> None:
    with pytest.raises(ValueError, match=f"prime number of slots, not {slots}"):
        maglev(fleet(1), slots=slots)


def test_maglev_holds_what_16_bits_can_name() -> None:
    with pytest.raises(ValueError, match="65536 backends; the table holds at most 65535"):
        maglev(fleet(*[1] * 65536))


# Maglev: what a change moves


def moved_without_need(before: Sequence[str], after: Sequence[str]) -> float:
    """The slots that change hands although no change of shares asks for it, in % of all."""
    changed = sum(old != new for old, new in zip(before, after))
    asked_for = (Counter(before) - Counter(after)).total()
    return 100 * (changed - asked_for) / MAGLEV_SLOTS


def removals(fleet_: list[Candidate]) -> Iterator[list[Candidate]]:
    for position in range(0, len(fleet_), 5):
        yield fleet_[:position] + fleet_[position + 1 :]


def additions(fleet_: list[Candidate]) -> Iterator[list[Candidate]]:
    for n in range(20):
        yield [*fleet_, Candidate(f"10.1.0.{n}", 100)]


def changes_of_weight(fleet_: list[Candidate]) -> Iterator[list[Candidate]]:
    for position in range(0, len(fleet_), 5):
        key, weight = fleet_[position]
        yield fleet_[:position] + [Candidate(key, weight // 2 + 1)] + fleet_[position + 1 :]


@pytest.mark.parametrize("change", [removals, additions, changes_of_weight])
@pytest.mark.parametrize("weights", [[100] * 100, random_weights(100)], ids=["equal", "random"])
def test_maglev_moves_little(
    change: Callable[[list[Candidate]], Iterator[list[Candidate]]], weights: list[int]
) -> None:
    before = fleet(*weights)
    owners_before = owners(maglev(before), before)
    percents = [
        moved_without_need(owners_before, owners(maglev(after), after)) for after in change(before)
    ]
    assert len(percents) == 20
    print(f"moved without need: mean {sum(percents) / 20:.2f} %, worst {max(percents):.2f} %")
    assert max(percents) < 1


def test_maglev_is_fast() -> None:
    """Against a million steps of plain Python in the same run: about as long is usual."""

    def seconds(action: Callable[[], object]) -> float:
        start = time.thread_time()
        action()
        return time.thread_time() - start

    def million_steps() -> None:
        steps = 1_000_000
        while steps:
            steps -= 1

    candidates = fleet(*FLEETS["random"])
    rounds = [(seconds(lambda: maglev(candidates)), seconds(million_steps)) for _each in range(5)]
    table, steps = (min(column) for column in zip(*rounds))
    print(f"512 backends: {table * 1000:.0f} ms, {table / steps:.2f} times a million steps")
    assert table < 4 * steps


# jhash


@pytest.mark.parametrize(
    ("weights", "start"),
    [
        pytest.param([], [0, 0, 0, 0, 0, 0, 0], id="none"),
        pytest.param([0, 0], [0, 0, 0, 0, 0, 0, 0], id="all-idle"),
        pytest.param([1], [1, 1, 1, 1, 1, 1, 1], id="one"),
        pytest.param([1, 1, 1], [1, 2, 3, 1, 2, 3, 1], id="round-robin"),
        pytest.param([255, 1, 7], [1, 2, 3, 1, 2, 3, 1], id="weights-make-no-difference"),
        pytest.param([1, 0, 1], [1, 1, 3, 1, 1, 3, 1], id="idle-goes-to-slot-0"),
        pytest.param([0, 1, 1], [2, 2, 3, 2, 2, 3, 2], id="slot-0-idle"),
        pytest.param([0, 0, 1, 1, 0], [3, 3, 3, 4, 3, 3, 3], id="first-that-is-not-idle"),
    ],
)
def test_jhash_deals_round_robin(weights: list[int], start: list[int]) -> None:
    table = jhash(fleet(*weights))
    assert table.typecode == "H"
    assert len(table) == JHASH_SLOTS
    assert table[:7].tolist() == start
    period = len(weights) or 1
    assert table[period:] == table[:-period]


def test_jhash_deals_every_slot_once() -> None:
    assert jhash(fleet(*[1] * 512)).tolist() == list(range(1, 513))


def test_jhash_refuses_more_than_it_has_slots() -> None:
    with pytest.raises(ValueError, match="513 backends; the table holds at most 512"):
        jhash(fleet(*[1] * 513))
