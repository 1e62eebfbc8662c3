# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results as JSON and as tables.

The document has the keys "cases" (net cost of a packet, and chores of the control plane), "frames"
(real frames over veth), "builds", "sizes" and "flow_tables" (time and memory), each a list of
objects with the fields of `Line`, `WireLine`, and the classes of growth.py; and "environment".
What could not be measured says why in "error".
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import requirements
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.headers import find_headers

from tests.bench.cases import DROP_ALONE, FLOOR, PASS_ALONE, SEED, TX_ALONE, XDP_PASS, Limit


@dataclass(frozen=True)
class Measured:
    """What was measured of a case."""

    median: float
    minimum: float
    unit: str = "ns"


@dataclass(frozen=True)
class Line:
    """A case with its result; the fields that have no meaning for it are None."""

    name: str
    net_ns_median: float | None = None
    net_ns_min: float | None = None
    ratio_to_seed: float | None = None
    ratio_to_floor: float | None = None
    target: str | None = None
    value: float | None = None
    """What the target is about: a ratio, or a time in the unit of the target."""
    met: bool | None = None
    error: str | None = None
    """Why it was not measured."""


@dataclass(frozen=True)
class WireLine:
    """A program that real frames went through."""

    name: str
    mode: str
    ns_median: float | None = None
    """For the whole way of a frame: sender, veth, program, veth, sink."""
    ns_min: float | None = None
    balancer_ns: float | None = None
    """Without sender and sink: less than a way that ends in a drop as soon as frames arrive."""
    frames_per_cpu_second: int | None = None
    """That a CPU manages which does nothing but balance, from `balancer_ns`."""
    program_ns: float | None = None
    """Beyond a program that returns nothing but the verdict, in the same mode."""
    error: str | None = None


NANOSECONDS = {"ns": 1, "ms": 1_000_000}


def lines(
    limits: Mapping[str, Limit | None],
    measured: Mapping[str, Measured],
    errors: Mapping[str, str],
) -> list[Line]:
    """Judge what was measured, in the order of `limits`, which has all cases."""
    return [_line(name, limit, measured, errors) for name, limit in limits.items()]


def _line(
    name: str,
    limit: Limit | None,
    measured: Mapping[str, Measured],
    errors: Mapping[str, str],
) -> Line:
    target = str(limit) if limit else None
    if name not in measured:
        return Line(name, target=target, met=False if limit else None, error=errors[name])
    mine = measured[name]
    value = None
    if limit:
        value = mine.median / measured[limit.than].median if limit.than else mine.median
    packet = mine.unit == "ns"
    return Line(
        name,
        round(mine.median * NANOSECONDS[mine.unit], 1),
        round(mine.minimum * NANOSECONDS[mine.unit], 1),
        round(mine.median / measured[SEED].median, 3) if packet else None,
        round(mine.median / measured[FLOOR].median, 3) if packet else None,
        target,
        None if value is None else round(value, 3),
        None if limit is None or value is None else value <= limit.most,
    )


def wire_lines(
    verdicts: Mapping[tuple[str, str], int],
    measured: Mapping[tuple[str, str], Measured],
    errors: Mapping[tuple[str, str], str],
) -> list[WireLine]:
    """The results of real frames, in the order of `verdicts`; keys are mode and name."""

    def line(mode: str, name: str, verdict: int) -> WireLine:
        mine = measured.get((mode, name))
        if mine is None:
            return WireLine(name, mode, error=errors[mode, name])
        ends = measured.get(("native", DROP_ALONE))
        alone = measured.get((mode, PASS_ALONE if verdict == XDP_PASS else TX_ALONE))
        balancer = mine.median - ends.median if ends and name != DROP_ALONE else None
        return WireLine(
            name,
            mode,
            round(mine.median, 1),
            round(mine.minimum, 1),
            None if balancer is None else round(balancer, 1),
            None if not balancer or balancer <= 0 else round(1e9 / balancer),
            round(mine.median - alone.median, 1) if alone and "alone" not in name else None,
        )

    return [line(mode, name, verdict) for (mode, name), verdict in verdicts.items()]


def environment() -> dict[str, Any]:
    """Where and when this was measured."""
    headers = find_headers()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "kernel": platform.release(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "virtual": " hypervisor " in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "bcc": requirements.bcc_version(),
        "headers": headers.release if headers else None,
    }


def write(path: Path, document: Mapping[str, Any]) -> None:
    """For programs, and for document.py."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], Any]]
"""Its heading, and what it shows of an object."""

TARGETS: list[Column] = [
    ("case", lambda row: row["name"]),
    ("value", lambda row: f"{row['value']:.3g}"),
    ("target", lambda row: row["target"]),
    ("", lambda row: "met" if row["met"] else "**missed**"),
    ("net, median", lambda row: _duration(row["net_ns_median"])),
    ("fastest", lambda row: _duration(row["net_ns_min"])),
]
CASES: list[Column] = [
    ("case", lambda row: row["name"]),
    ("net ns, median", lambda row: row["net_ns_median"]),
    ("fastest", lambda row: row["net_ns_min"]),
    ("x seed", lambda row: f"{row['ratio_to_seed']:.2f}"),
    ("x floor", lambda row: f"{row['ratio_to_floor']:.2f}"),
]
FRAMES: list[Column] = [
    ("program", lambda row: row["name"]),
    ("mode", lambda row: row["mode"]),
    ("whole way, ns", lambda row: row["ns_median"]),
    ("fastest", lambda row: row["ns_min"]),
    ("balancer's part, ns", lambda row: row["balancer_ns"]),
    ("million frames per CPU second", lambda row: _millions(row["frames_per_cpu_second"])),
    ("program's part, ns", lambda row: row["program_ns"]),
]
BUILDS: list[Column] = [
    ("program", lambda row: row["name"]),
    ("compile, ms", lambda row: round(row["compile_ms"])),
    ("load, ms", lambda row: round(row["load_ms"])),
    ("instructions", lambda row: row["instructions"]),
]
SIZES: list[Column] = [
    ("services", lambda row: row["services"]),
    ("backends of each", lambda row: row["backends"]),
    ("first run, ms", lambda row: round(row["first_ms"])),
    ("replace a backend, ms", lambda row: round(row["replace_ms"])),
    ("no change, ms", lambda row: round(row["unchanged_ms"])),
    ("remove, ms", lambda row: round(row["remove_ms"])),
    ("service table, MiB", lambda row: _mib(row["services_kib"])),
    ("lookup tables, MiB", lambda row: _mib(row["lookup_tables_kib"])),
    ("backends, MiB", lambda row: _mib(row["backends_kib"])),
    ("other, MiB", lambda row: _mib(row["other_kib"])),
]
FLOW_TABLES: list[Column] = [
    ("flow_table_size", lambda row: row["flows"]),
    ("memory, MiB", lambda row: _mib(row["kib"])),
    ("CPUs", lambda row: row["cpus"]),
    ("bytes per flow and CPU", lambda row: _per_flow(row["kib"] / row["cpus"], row["flows"])),
]


def tables(document: Mapping[str, Any]) -> dict[str, str]:
    """Markdown, which reads well as it is, by name."""
    cases = document.get("cases", [])
    return {
        "environment": _describe(document["environment"]),
        "targets": _table(TARGETS, [case for case in cases if case["target"]]),
        "cases": _table(CASES, [case for case in cases if case["ratio_to_seed"] is not None]),
        "frames": _table(FRAMES, document.get("frames", [])),
        "builds": _table(BUILDS, document.get("builds", [])),
        "sizes": _table(SIZES, document.get("sizes", [])),
        "flow tables": _table(FLOW_TABLES, document.get("flow_tables", [])),
    }


def _describe(where: Row) -> str:
    machine = "a virtual machine" if where["virtual"] else "a machine"
    return (
        f"Measured on {where['date']} on {machine} with {where['cpus']} CPUs "
        f"({where['processor']}), Linux {where['kernel']}, bcc {where['bcc']}."
    )


def _table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    cells = [[heading for heading, _show in columns]]
    for row in rows:
        if row.get("error"):
            shown = [row["name"], f"not measured: {row['error']}"]
            cells.append([*shown, *[""] * (len(columns) - len(shown))])
        else:
            values = (show(row) for _heading, show in columns)
            cells.append(["" if value is None else str(value) for value in values])
    if len(cells) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*cells)]
    # what comes first is text, unless it is a number
    numbers = [all(_is_number(row[at]) for row in cells[1:]) for at in range(len(columns))]
    rules = [(width - 1) * "-" + (":" if n else "-") for width, n in zip(widths, numbers)]
    aligned = [
        [cell.rjust(w) if n else cell.ljust(w) for cell, w, n in zip(row, widths, numbers)]
        for row in cells
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [aligned[0], rules, *aligned[1:]])


def _is_number(cell: str) -> bool:
    return not cell.strip("0123456789.- ")


def _duration(nanoseconds: float) -> str:
    return f"{nanoseconds:.1f} ns" if nanoseconds < 1e5 else f"{nanoseconds / 1e6:.0f} ms"


def _millions(number: int | None) -> str | None:
    return None if number is None else f"{number / 1e6:.2f}"


def _mib(kib: float) -> str:
    return f"{kib / 1024:.2f}"


def _per_flow(kib: float, flows: int) -> str | None:
    return f"{kib * 1024 / flows:.1f}" if flows else None
