# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what a packet costs, what real frames cost, and what changes take, in time and memory.
Prints tables; a run of everything also writes build/bench.json. Exit status 1 if a target is
missed."""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import L4lbError

from tests.bench import ROOT, control, growth, report, sandbox
from tests.bench.cases import (
    DROP_ALONE,
    FLOOR,
    PASS_ALONE,
    SEED,
    TX_ALONE,
    Case,
    Chore,
    chores,
    packet_cases,
    wire_cases,
)
from tests.bench.report import Measured
from tests.bench.stopwatch import Stopwatch, WrongResultError
from tests.bench.veth import Lane, Road

RESULTS = ROOT / "build" / "bench.json"
CPUS = os.sched_getaffinity(0)
UNMEASURABLE = (L4lbError, WrongResultError, control.UnexpectedError, KeyError)


def main() -> int:
    """The command."""
    arguments = parse_arguments()
    patterns, quick = arguments.case, arguments.quick
    rounds = arguments.rounds or (16 if quick else 160)
    times = 5 if quick else 15

    sandbox.enter()
    document: dict[str, Any] = {"environment": report.environment()}
    with control.interface():
        document["cases"] = measure_cases(patterns, rounds, times)
        document["frames"] = measure_frames(patterns, max(1, rounds // 4))
        for key, named in (
            ("builds", growth.builds()),
            ("sizes", growth.sizes()),
            ("flow_tables", growth.flow_tables()),
        ):
            document[key] = measure_growth(named, patterns, 1 if quick else 3)

    progress("")
    print("\n\n".join(text for text in report.tables(document).values() if text))
    results = arguments.output or (None if patterns else RESULTS)
    if results:
        report.write(results, document)
    return 1 if any(line["met"] is False for line in document["cases"]) else 0


def parse_arguments() -> argparse.Namespace:
    """What to measure, and how thoroughly."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--case",
        action="append",
        metavar="PATTERN",
        help="only what has this in its name (* and ? allowed), and what that is compared with; "
        "names of real frames begin with their mode, as in 'native: seed', others with 'build: ', "
        "'size: ' or 'flow table: '; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each program")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where the results go, build/bench.json"
    )
    return parser.parse_args()


def matches(name: str, patterns: Sequence[str] | None) -> bool:
    """Whether something is asked for; all is if nothing is."""
    return not patterns or any(fnmatch(name.lower(), f"*{p.lower()}*") for p in patterns)


def measure_cases(patterns: Sequence[str] | None, rounds: int, times: int) -> list[dict[str, Any]]:
    """Net costs of packets, and chores."""
    wanted = select(list(packet_cases()), patterns)
    wanted_chores = select(list(chores()), patterns)
    measured: dict[str, Measured] = {}
    errors: dict[str, str] = {}
    if wanted:
        measure_packets(wanted, rounds, measured, errors)
    measure_chores(wanted_chores, times, measured, errors)
    limits = {case.name: case.limit for case in wanted}
    limits.update((chore.name, chore.limit) for chore in wanted_chores)
    return [asdict(line) for line in report.lines(limits, measured, errors)]


Wanted = TypeVar("Wanted", Case, Chore)


def select(cases: list[Wanted], patterns: Sequence[str] | None) -> list[Wanted]:
    """What is asked for, and what that is compared with."""
    names = {case.name for case in cases if matches(case.name, patterns)}
    if names and isinstance(cases[0], Case):
        names |= {FLOOR, SEED}
    names |= {c.limit.than for c in cases if c.name in names and c.limit and c.limit.than}
    return [case for case in cases if case.name in names]


def measure_packets(
    cases: list[Case], rounds: int, measured: dict[str, Measured], errors: dict[str, str]
) -> None:
    """Load all programs, then measure them in turns, on one CPU."""
    frames = {case.name: case.frames() for case in cases}
    with one_cpu():
        watch = Stopwatch(len(cases), sum(map(len, frames.values())))
        for number, case in enumerate(cases, 1):
            name = case.name
            progress(f"loading {number}/{len(cases)}: {name}")
            try:
                track = watch.add(name, case.subject(), frames[name], case.verdict, case.fresh)
            except UNMEASURABLE as e:
                errors[name] = f"{type(e).__name__}: {e}"
                continue
            if case.crowded:
                watch.crowd(track)
        progress(f"measuring {len(watch.tracks)} cases")
        with sandbox.undisturbed():
            watch.measure(rounds, random.Random(rounds))
    for track in watch.tracks:
        measured[track.name] = Measured(track.median, track.minimum)


def measure_frames(patterns: Sequence[str] | None, rounds: int) -> list[dict[str, Any]]:
    """Real frames through all programs in turns, in both modes, on one CPU."""
    cases = {(mode, case.name): case for mode in ("native", "generic") for case in wire_cases()}
    wanted = {key for key in cases if matches(": ".join(key), patterns)}
    wanted |= {(mode, alone) for mode, _name in wanted for alone in (PASS_ALONE, TX_ALONE)}
    wanted |= {("native", DROP_ALONE)} if wanted else set()
    cases = {key: case for key, case in cases.items() if key in wanted}
    if not cases:
        return []
    errors: dict[tuple[str, str], str] = {}
    lanes: dict[tuple[str, str], Lane] = {}
    road = Road()
    with one_cpu():
        for number, ((mode, name), case) in enumerate(cases.items(), 1):
            progress(f"attaching {number}/{len(cases)}: {mode}: {name}")
            try:
                (frame,) = case.frames()
                subject = case.subject()
                lane = road.add(f"{mode}: {name}", mode, subject, frame, case.verdict, case.fresh)
                lanes[mode, name] = lane
            except UNMEASURABLE as e:
                errors[mode, name] = f"{type(e).__name__}: {e}"
        progress(f"measuring {len(lanes)} programs with real frames")
        try:
            with sandbox.undisturbed():
                road.measure(rounds, random.Random(rounds))
        except WrongResultError as e:
            errors, lanes = dict.fromkeys(cases, str(e)), {}
    road.close()
    measured = {key: Measured(lane.median, lane.minimum) for key, lane in lanes.items()}
    verdicts = {key: case.verdict for key, case in cases.items()}
    return [asdict(line) for line in report.wire_lines(verdicts, measured, errors)]


@contextmanager
def one_cpu() -> Iterator[None]:
    """Stay on the last CPU, which has the fewest interrupts."""
    os.sched_setaffinity(0, {max(CPUS)})
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        os.sched_setaffinity(0, CPUS)


def measure_chores(
    wanted: list[Chore], times: int, measured: dict[str, Measured], errors: dict[str, str]
) -> None:
    """One after the other, on any CPU."""
    for chore in wanted:
        progress(chore.name)
        try:
            with sandbox.undisturbed():
                taken = [seconds * 1000 for seconds in chore.seconds(times)]
        except UNMEASURABLE as e:
            errors[chore.name] = str(e)
            continue
        measured[chore.name] = Measured(median(taken), min(taken), "ms")


def measure_growth(
    named: Iterator[tuple[str, Callable[[int], Any]]],
    patterns: Sequence[str] | None,
    times: int,
) -> list[dict[str, Any]]:
    """One after the other, on any CPU."""
    results = []
    for name, measure in named:
        if not matches(name, patterns):
            continue
        progress(name)
        try:
            results.append(asdict(measure(times)))
        except UNMEASURABLE as e:
            results.append({"name": name, "error": f"{type(e).__name__}: {e}"})
    return results


def progress(what: str) -> None:
    """Say on a terminal what is going on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
