# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what a packet costs, and what a change takes. Prints a table; a run of all cases also
writes build/bench.json. Exit status 1 if a target is missed."""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
from fnmatch import fnmatch
from statistics import median

from ansible_collections.xdp.l4lb.plugins.module_utils.errors import L4lbError

from tests.bench import ROOT, control, report, sandbox
from tests.bench.cases import FLOOR, SEED, Case, Chore, chores, packet_cases
from tests.bench.report import Measured
from tests.bench.stopwatch import Stopwatch, WrongResultError

RESULTS = ROOT / "build" / "bench.json"
CPUS = os.sched_getaffinity(0)


def main() -> int:
    """The command."""
    arguments = parse_arguments()
    packets = list(packet_cases())
    wanted = select(packets, arguments.case)
    wanted_chores = [chore for chore in chores() if matches(chore.name, arguments.case)]
    rounds = arguments.rounds or (16 if arguments.quick else 160)
    times = 5 if arguments.quick else 15

    sandbox.enter()
    measured: dict[str, Measured] = {}
    errors: dict[str, str] = {}
    with control.interface():
        measure_packets(wanted, rounds, measured, errors)
        measure_chores(wanted_chores, times, measured, errors)

    limits = {case.name: case.limit for case in wanted}
    limits.update((chore.name, chore.limit) for chore in wanted_chores)
    results = report.lines(limits, measured, errors)
    print(report.table(results))
    if not arguments.case:
        report.write(RESULTS, results)
    return 1 if any(line.met is False for line in results) else 0


def parse_arguments() -> argparse.Namespace:
    """What to measure, and how thoroughly."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--case",
        action="append",
        metavar="PATTERN",
        help="only cases with this in their name (* and ? allowed), and those they are compared "
        "with; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each program")
    return parser.parse_args()


def matches(name: str, patterns: list[str] | None) -> bool:
    """Whether a case is asked for; all are if none is."""
    return not patterns or any(fnmatch(name.lower(), f"*{p.lower()}*") for p in patterns)


def select(cases: list[Case], patterns: list[str] | None) -> list[Case]:
    """The cases that are asked for, and those that they are compared with."""
    names = {case.name for case in cases if matches(case.name, patterns)} | {FLOOR, SEED}
    names |= {c.limit.than for c in cases if c.name in names and c.limit and c.limit.than}
    return [case for case in cases if case.name in names]


def measure_packets(
    cases: list[Case], rounds: int, measured: dict[str, Measured], errors: dict[str, str]
) -> None:
    """Load all programs, then measure them in turns, on one CPU."""
    os.sched_setaffinity(0, {max(CPUS)})
    frames = {case.name: case.frames() for case in cases}
    watch = Stopwatch(len(cases), sum(map(len, frames.values())))
    for number, case in enumerate(cases, 1):
        name = case.name
        progress(f"loading {number}/{len(cases)}: {name}")
        try:
            track = watch.add(name, case.subject(), frames[name], case.verdict, case.fresh)
        except (L4lbError, WrongResultError, KeyError) as e:
            errors[name] = f"{type(e).__name__}: {e}"
            continue
        if case.crowded:
            watch.crowd(track)
    progress(f"measuring {len(watch.tracks)} cases")
    gc.disable()
    with sandbox.undisturbed():
        watch.measure(rounds, random.Random(rounds))
    gc.enable()
    for track in watch.tracks:
        measured[track.name] = Measured(track.median, track.minimum)


def measure_chores(
    wanted: list[Chore], times: int, measured: dict[str, Measured], errors: dict[str, str]
) -> None:
    """One after the other, on any CPU."""
    os.sched_setaffinity(0, CPUS)
    for chore in wanted:
        progress(chore.name)
        try:
            with sandbox.undisturbed():
                taken = [seconds * 1000 for seconds in chore.seconds(times)]
        except (L4lbError, control.UnexpectedError) as e:
            errors[chore.name] = str(e)
            continue
        measured[chore.name] = Measured(median(taken), min(taken), "ms")


def progress(what: str) -> None:
    """Say on a terminal what is going on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
