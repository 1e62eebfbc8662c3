# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the cost of a packet is measured: harness.c is the kernel's half of this.

Programs take turns by blocks of 4096 packets, one of each flow, which last less than a millisecond,
in another order every round. Each follows a program that does nothing, and what it takes beyond
that is its net cost. Machines are noisy: what slows them for seconds falls on all programs alike,
and what comes between for milliseconds falls on few of many blocks, so the median does not see it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import sub
from statistics import median
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import maps_of

from tests.bench.frames import FLOWS, HEAD_LEN, flow
from tests.bench.subjects import Subject, Tally, baseline, compile_own

BLOCK = struct.Struct("QIIIIII")
BASELINE_WARM_UP, BASELINE_TIMED = 1, 1
WARM_UP, TIMED = 4, 2
"""Blocks of each program in a round. What it touches is out of the caches by then, and takes some
passes to be back: a cache does not simply drop what was used least."""
BLOCKS_EACH = BASELINE_WARM_UP + BASELINE_TIMED + WARM_UP + TIMED

ROUNDS_AT_ONCE = 8
"""In one system call: the kernel takes a tenth of a second to prepare for one."""

CROWD = 32
"""Blocks of new flows that fill a flow table."""

XDP_PASS = 2


class WrongResultError(Exception):
    """A program did something else than what was to be measured."""


@dataclass
class Track:
    """A program with its frames, and how long its blocks have taken."""

    name: str
    subject: Subject
    frames: Sequence[bytes]
    verdict: int
    fresh: bool
    slot: int
    first: int
    times: list[float] = field(default_factory=list)
    baselines: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Net ns per packet: the median of what it takes beyond doing nothing in the same round."""
        bases = [base for base in self.baselines for _block in range(TIMED // BASELINE_TIMED)]
        return median(map(sub, self.times, bases))

    @property
    def minimum(self) -> float:
        """Net ns per packet of the fastest blocks. Not the smallest difference: that is noise."""
        return min(self.times) - min(self.baselines)


class Stopwatch:
    """The harness, and what runs in it."""

    BASELINE = 0

    def __init__(self, size: int, heads: int) -> None:
        """size: how many tracks there will be; heads: how many frames they have in all."""
        blocks = size * BLOCKS_EACH * ROUNDS_AT_ONCE + 1
        flags = [f"-DFLOWS={FLOWS}", f"-DHEADS={heads}", f"-DBLOCKS={blocks}"]
        self._program = compile_own("harness", flags)
        self._maps: dict[str, Any] = maps_of(self._program)
        self._heads = 0
        self._flows = FLOWS
        self.tracks: list[Track] = []
        self._set_program(self.BASELINE, baseline())

    def add(
        self,
        name: str,
        subject: Subject,
        frames: Sequence[bytes],
        verdict: int,
        fresh: bool = False,
    ) -> Track:
        """Prepare to measure a program with these frames.

        Raises WrongResultError if it does something else with them.
        """
        if len({frame[HEAD_LEN:] for frame in frames}) != 1:
            raise ValueError("the harness wants frames that end alike")
        heads = [frame[:HEAD_LEN] for frame in frames]
        slot = len(self.tracks) + 1
        track = Track(name, subject, frames, verdict, fresh, slot, self._heads)
        self._maps["heads"].update_many(enumerate(heads, self._heads))
        self._heads += len(heads)
        self._set_program(track.slot, subject)
        self._check(track)
        self.tracks.append(track)
        return track

    def measure(self, rounds: int, rng: random.Random) -> None:
        """Measure all of them. Raises WrongResultError if one did not count what it was given."""
        before = [track.subject.tally and track.subject.tally() for track in self.tracks]
        rounds = -(-rounds // ROUNDS_AT_ONCE) * ROUNDS_AT_ONCE
        for _unused in range(rounds // ROUNDS_AT_ONCE):
            self._measure(rng)
        for track, old in zip(self.tracks, before):
            if track.subject.tally and old and track.verdict != XDP_PASS:
                sharing = [t for t in self.tracks if t.subject is track.subject]
                served = sum(t.verdict != XDP_PASS for t in sharing)
                given = served * rounds * (WARM_UP + TIMED) * FLOWS
                _verify(track, track.subject.tally(), old, given)

    def crowd(self, track: Track) -> None:
        """Show a program many flows that never come again."""
        blocks = [(replace(track, fresh=True), track.slot)] * CROWD
        self._schedule(blocks)
        self._program.test_run(track.frames[0], len(blocks) * FLOWS)

    def _measure(self, rng: random.Random) -> None:
        blocks: list[tuple[Track, int, list[float] | None]] = []
        for _round in range(ROUNDS_AT_ONCE):
            for track in rng.sample(self.tracks, len(self.tracks)):
                blocks += [(track, self.BASELINE, None)] * BASELINE_WARM_UP
                blocks += [(track, self.BASELINE, track.baselines)] * BASELINE_TIMED
                blocks += [(track, track.slot, None)] * WARM_UP
                blocks += [(track, track.slot, track.times)] * TIMED
        self._schedule([(track, slot) for track, slot, _times in blocks])
        longest = max((track.frames[0] for track in self.tracks), key=len)
        # one packet more, for the end of the last block
        self._program.test_run(longest, len(blocks) * FLOWS + 1)
        values = BLOCK.iter_unpack(self._maps["schedule"].read())
        begins = [value[0] for value in values]
        for (_track, _slot, kept), begin, end in zip(blocks, begins, begins[1:]):
            if kept is not None:
                kept.append((end - begin) / FLOWS)

    def _schedule(self, blocks: Sequence[tuple[Track, int]]) -> None:
        packed = []
        for track, slot in blocks:
            number = 0
            if track.fresh:
                number, self._flows = self._flows, self._flows + FLOWS
            mask, length = len(track.frames) - 1, len(track.frames[0])
            packed.append(BLOCK.pack(0, slot, track.first, mask, length, number, 0))
        packed.append(BLOCK.pack(0, self.BASELINE, 0, 0, HEAD_LEN, 0, 0))
        self._maps["schedule"].update_many(enumerate(packed))
        self._maps["position"].update(0, bytes(8))

    def _set_program(self, slot: int, subject: Subject) -> None:
        self._maps["programs"].update(slot, subject.program.fd.to_bytes(4, "little"))

    def _check(self, track: Track) -> None:
        """See that the harness gives the program what it should, and that it does its work."""
        alone = track.subject.program.test_run
        self._schedule([(track, track.slot)])
        first = 0
        for repeat in (1, 2, 7):
            got = self._program.test_run(track.frames[0], repeat)
            last = first + repeat - 1
            frame = flow(track.frames[last % len(track.frames)], last)
            if not track.fresh and got != alone(frame):
                raise WrongResultError(f"frame {last} fares otherwise in the harness than alone")
            if got[0] != track.verdict:
                raise WrongResultError(f"frame {last}: verdict {got[0]} instead of {track.verdict}")
            first = last + 1


def _verify(track: Track, now: Tally, before: Tally, given: int) -> None:
    """See that a program has done what was measured, by its own account."""
    sent, hits, misses = now.sent - before.sent, now.hits - before.hits, now.misses - before.misses
    if sent != given:
        raise WrongResultError(f"{track.name}: was given {given} packets, sent {sent}")
    if hits + misses and (hits if track.fresh else misses) > given / 20:
        raise WrongResultError(f"{track.name}: {hits} hits, {misses} misses of {given} packets")
