# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results: a table to read, and JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.xdp.l4lb.plugins.module_utils import compiler

from tests.bench.cases import FLOOR, SEED, Limit


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


def table(results: Sequence[Line]) -> str:
    """For people."""
    width = max(len(line.name) for line in results)
    rows = [f"{'net cost of a packet':{width}}  median   min ns  x seed x floor  value  target"]
    for line in results:
        head = f"{line.name:{width}}"
        if line.net_ns_median is None or line.net_ns_min is None:
            rows.append(f"{head}  not measured: {line.error}")
            continue
        if line.ratio_to_seed is None or line.ratio_to_floor is None:
            times = (line.net_ns_median / 1e6, line.net_ns_min / 1e6)
            row = f"{head} {times[0]:7.1f}  {times[1]:7.1f} ms" + 13 * " "
        else:
            row = f"{head} {line.net_ns_median:7.1f}  {line.net_ns_min:7.1f}"
            row += f"  {line.ratio_to_seed:6.2f}  {line.ratio_to_floor:6.2f}"
        if line.value is not None:
            row += f"  {line.value:5.3g}  {line.target}: {'met' if line.met else 'MISSED'}"
        rows.append(row)
    return "\n".join(rows)


def write(path: Path, results: Iterable[Line]) -> None:
    """For programs."""
    path.parent.mkdir(exist_ok=True)
    headers = compiler.find_headers()
    document = {
        "cases": [asdict(line) for line in results],
        "environment": {
            "kernel": platform.release(),
            "processor": _processor(),
            "bcc": compiler.bcc_version(),
            "headers": headers.release if headers else None,
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
