# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
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
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.candidate import Candidate
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.hashes import (
    fingerprint,
    flow_hash,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.jhash import (
    JHASH_SLOTS,
    jhash,
    jhash_2words,
    jhash_slot,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.maglev import (
    MAGLEV_SLOTS,
    _turns,
    _walk,
    maglev,
    maglev_slot,
    moved,
)


def fleet(*weights: int) -> list[Candidate]:
    return [Candidate(f"10.0.{n >> 8}.{n & 255}", weight) for n, weight in enumerate(weights)]


def random_weights(count: int, low: int = 1) -> list[int]:
    """Weights low..255, the same on every Python: of its generator, only random() never changes."""
    random_ = random.Random(count)
    return [low + int(random_.random() * (256 - low)) for _ in range(count)]


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
    for _ in range(3):
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
    places = [offset for offset, _ in walks]
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
    rounds = [(seconds(lambda: maglev(candidates)), seconds(million_steps)) for _ in range(5)]
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


# moved


@pytest.mark.parametrize(
    ("before", "after", "keys_before", "keys_after", "expected"),
    [
        pytest.param([1, 2, 1], [1, 2, 1], "ab", "ab", 0, id="nothing"),
        pytest.param([1, 2, 1], [2, 1, 2], "ab", "ba", 0, id="only-renumbered"),
        pytest.param([1, 2, 1], [1, 2, 1], "ab", "ba", 3, id="same-numbers-other-keys"),
        pytest.param([1, 2, 1], [1, 1, 1], "ab", "a", 1, id="removed"),
        pytest.param([0, 0, 0], [1, 2, 1], "", "ab", 3, id="from-empty"),
        pytest.param([0, 0, 0], [0, 0, 0], "", "ab", 0, id="still-empty"),
    ],
)
def test_moved(
    before: list[int], after: list[int], keys_before: str, keys_after: str, expected: int
) -> None:
    assert moved(before, after, list(keys_before), list(keys_after)) == expected


def test_moved_refuses_tables_of_two_schedulers() -> None:
    with pytest.raises(ValueError, match="512 and 65537 slots"):
        moved(jhash(fleet(1)), maglev(fleet(1)), ["10.0.0.0"], ["10.0.0.0"])


# From a packet to a slot


@pytest.mark.parametrize(
    ("a", "b", "initval", "expected"),
    [
        (0x00000000, 0x00000000, 0, 0x58C184BF),
        (0x00000000, 0x00000000, 512, 0xD1ACEC41),
        (0x00000001, 0x00000002, 3, 0x252781B5),
        (0x0A00000A, 0x5000D204, 512, 0x417F9351),
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xE7AF1D40),
        (0xDEADBEEF, 0xCAFEBABE, 512, 0x1996891B),
    ],
)
def test_jhash_2words_is_the_kernels(a: int, b: int, initval: int, expected: int) -> None:
    assert jhash_2words(a, b, initval) == expected


def test_jhash_2words_is_the_kernels_for_many() -> None:
    """One number over 100,000 inputs, folded in the same way in C."""

    def words() -> Iterator[int]:
        word = 1
        while True:
            word = (word * 1664525 + 1013904223) % 2**32
            yield word

    stream = words()
    folded = 0
    for _ in range(100_000):
        folded = (folded * 31 + jhash_2words(next(stream), next(stream), next(stream))) % 2**32
    assert folded == 0xC3367E99


def test_jhash_slot_reads_the_packet() -> None:
    """A client at 192.168.0.1, port 1000, to port 443."""
    address = int.from_bytes(bytes([192, 168, 0, 1]), "little")
    ports = int.from_bytes((1000).to_bytes(2, "big") + (443).to_bytes(2, "big"), "little")
    assert (address, ports) == (0x0100A8C0, 0xBB01E803)
    assert jhash_slot(address, ports) == 0xEF9BE0D5 % 512 == 213


@pytest.mark.parametrize(
    ("client", "ports", "seed", "expected", "slot"),
    [
        pytest.param([0], 0, 1, 0xE220A8397B1DCDAF, 57889, id="first-of-splitmix64-from-0"),
        pytest.param([1], 0, 0, 0x5692161D100B05E5, 22162, id="one"),
        pytest.param([0x020A00C0], 0xBB013930, 1, 0x00F61347642C2C91, 246, id="a-flow"),
        pytest.param(
            [2**32 - 1], 2**32 - 1, 2**64 - 1, 0xE4D971771B652C20, 58586, id="largest-words"
        ),
        pytest.param([1, 2], 3, 0, 0xFD44FDFA0C8416C4, 64837, id="two-words"),
        pytest.param(
            [0xB80D0120, 0x3412000000000000],
            0xBB01409C,
            42,
            0x884827DAA181F06B,
            34888,
            id="a-flow-of-ipv6",
        ),
        pytest.param(
            [2**64 - 1] * 2, 2**32 - 1, 2**64 - 1, 0xFE9D24E24A85D49C, 65182, id="largest-of-ipv6"
        ),
    ],
)
def test_flow_hash_and_its_slot(
    client: list[int], ports: int, seed: int, expected: int, slot: int
) -> None:
    assert flow_hash(client, ports, seed) == expected
    assert maglev_slot(expected) == slot


@pytest.mark.parametrize(
    ("client", "ports", "service", "protocol", "secret", "expected"),
    [
        pytest.param([1], 0, [0], 0, 0, 1, id="one"),
        pytest.param(
            [0x020A00C0],
            0xBB013930,
            [0x0A0200C0],
            6,
            0x0123456789ABCDEF,
            0x0AC6911678CFECC4,
            id="a-flow",
        ),
        pytest.param(
            [2**32 - 1],
            2**32 - 1,
            [2**32 - 1],
            17,
            2**64 - 1,
            0x0000001100000014,
            id="largest-words",
        ),
        pytest.param(
            [0xB80D0120, 0x3412000000000000],
            0xBB01409C,
            [0xB80D0120, 0x1000000000000000],
            17,
            0xFEDCBA9876543210,
            0xE090852FCB95BAAC,
            id="a-flow-of-ipv6",
        ),
    ],
)
def test_fingerprint(
    client: list[int],
    ports: int,
    service: list[int],
    protocol: int,
    secret: int,
    expected: int,
) -> None:
    assert fingerprint(client, ports, service, protocol, secret) == expected


Known = tuple[int, ...]
"""All that a stranger can choose of a flow: the words of client and service, ports, protocol."""


def flipped(*bits: tuple[int, int]) -> Callable[[Known], Known]:
    """A flow that differs in bits of words, (number of the word, bit)."""

    def other(flow: Known) -> Known:
        words = list(flow)
        for word, bit in bits:
            words[word] ^= 1 << bit
        return tuple(words)

    return other


def golden(flow: Known) -> Known:
    """Another port, and an address that made up for it once."""
    upper, lower, *service, ports, protocol = flow
    other = ports ^ 0x5AA5
    lower ^= (ports * 0x9E3779B97F4A7C15 ^ other * 0x9E3779B97F4A7C15) % 2**64
    return (upper, lower, *service, other, protocol)


def swapped(flow: Known) -> Known:
    """The halves of the address the other way round."""
    upper, lower, *rest = flow
    return (lower, upper, *rest)


RELATIVES = {
    4: [
        *(flipped((0, bit)) for bit in range(32)),
        *(flipped((2, bit)) for bit in range(32)),
        *(flipped((1, bit)) for bit in range(0, 32, 7)),
        *(flipped((0, bit), (2, bit)) for bit in range(0, 32, 5)),
        *(flipped((0, bit), (1, bit)) for bit in range(0, 32, 5)),
        flipped((3, 0), (3, 1), (3, 2), (3, 4)),  # TCP and UDP
    ],
    6: [
        *(flipped((0, bit)) for bit in range(0, 64, 3)),
        *(flipped((1, bit)) for bit in range(0, 64, 3)),
        *(flipped((4, bit)) for bit in range(0, 32, 3)),
        *(flipped((0, bit), (1, bit)) for bit in range(0, 64, 3)),
        flipped((0, 63), (1, 63)),
        *(flipped((1, bit + 32), (4, bit)) for bit in range(0, 32, 5)),
        flipped((0, 31), (1, 31), (4, 31)),
        golden,
        swapped,
    ],
}


@pytest.mark.parametrize("version", [4, 6])
def test_related_flows_share_a_set_by_chance_only(version: int) -> None:
    """Whatever a stranger knows of flows, whose secrets are random to him."""
    random_ = random.Random(version)
    sizes = {4: (32, 32, 32, 5), 6: (64, 64, 64, 64, 32, 5)}[version]
    words = {4: 1, 6: 2}[version]
    secrets, sets = 2000, 256

    def of(flow: Known, secret: int) -> int:
        return fingerprint(flow[:words], flow[-2], flow[words:-2], flow[-1], secret)

    for relative in RELATIVES[version]:
        together = 0
        for _ in range(secrets):
            secret, flow = random_.getrandbits(64), tuple(map(random_.getrandbits, sizes))
            one, other = of(flow, secret), of(relative(flow), secret)
            assert one != other
            together += one * sets >> 64 == other * sets >> 64
        # 7.8 of them on average; more than 25 once in a million
        assert together <= 25, relative


def test_who_does_not_know_the_seed_finds_no_flows_of_one_slot() -> None:
    random_ = random.Random(6)
    together = 0
    for _ in range(2000):
        seed, flow = random_.getrandbits(64), tuple(map(random_.getrandbits, (64, 64, 0, 0, 32, 0)))
        slots = [
            maglev_slot(flow_hash(one[:2], one[4], seed)) * 256 // MAGLEV_SLOTS
            for one in (flow, golden(flow), swapped(flow))
        ]
        together += len(set(slots)) < 3
    assert together <= 55  # 23 of them on average


@pytest.mark.parametrize(("flow", "slot"), [(0, 0), (2**32 - 1, 0), (2**64 - 1, MAGLEV_SLOTS - 1)])
def test_maglev_slot_spans_the_table(flow: int, slot: int) -> None:
    assert maglev_slot(flow) == slot


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_flow_hash_spreads_neighbours(seed: int) -> None:
    """Clients that differ in a few bits only must not share slots more often than chance has it."""
    clients = [0xC000020A << 32 | client for client in range(64)]
    flows = [([0, client], 443 << 16 | port) for client in clients for port in range(64)]
    buckets = Counter(maglev_slot(flow_hash(*flow, seed)) * 64 // MAGLEV_SLOTS for flow in flows)
    chi_square = sum((buckets[bucket] - 64) ** 2 / 64 for bucket in range(64))
    assert 25 < chi_square < 120  # 63 degrees of freedom; outside once in about 50,000 random cases
