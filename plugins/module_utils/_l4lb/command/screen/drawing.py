# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows and what is above them, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...operations.table import scaled
from ...printable import clipped, printable, width
from .look import Look
from .rows import Row, Sample

_NOTHING = "This host does not balance."
_SERVICE, _BACKEND = 16, 15
"""Widths of columns, at most and at least."""
_RATE, _TOTAL = 6, 8
"""Digits."""
_MOST_PROBLEMS = 3


class Line(NamedTuple):
    """What a line says, and what it is: title, problem, head, row, bad (row) or keys."""

    text: str
    kind: str


def text(sample: Sample, look: Look, clock: str) -> list[str]:
    """For who reads on and on, as in a file: all of it. clock: the time of day."""
    rows = look.chosen(sample.rows)
    lines = [*_above(sample, look, rows, clock), *_table(rows, slice(None))]
    return [printable(line.text).rstrip() for line in lines]


class Drawn(NamedTuple):
    """Lines for a terminal, one for each of its rows; the look, of which nothing is beyond the end;
    and for how many rows of backends there is room."""

    lines: list[Line]
    look: Look
    page: int


def screen(sample: Sample, look: Look, clock: str, columns: int, height: int) -> Drawn:
    """What there is room for on a terminal."""
    rows = look.chosen(sample.rows)
    above = [*_above(sample, look, rows, clock, _MOST_PROBLEMS)]
    space = max(1, height - len(above) - 2)
    look = look.within(len(rows), space)
    last = min(len(rows), look.first + space)
    shown = [*above, *_table(rows, slice(look.first, last))][: height - 1]
    shown += [Line("", "row")] * (height - 1 - len(shown))
    shown.append(_keys(look, f"{look.first + 1 if rows else 0}-{last} of {len(rows)}"))
    lines = [Line(clipped(printable(one.text), columns - 1), one.kind) for one in shown]
    return Drawn(lines, look, space)


def _above(
    sample: Sample, look: Look, rows: Sequence[Row], clock: str, most: int | None = None
) -> Iterator[Line]:
    names = ", ".join(f"{name} ({mode})" for name, mode in sample.modes.items())
    packets, bits = sum(row.packet_rate for row in rows), sum(row.bit_rate for row in rows)
    bad = sum(row.bad for row in rows)
    health = f"; {bad} of {len(rows)} unhealthy" if bad else ""
    rates = f"{scaled(int(packets), _RATE, 'pps').strip()}, "
    rates += scaled(int(bits), _RATE, "bit/s").strip()
    yield Line(f"{clock} {names or 'no balancer'}: {rates}{health}", "title")
    problems = [*sample.problems]
    if most is not None and len(problems) > most:
        problems[most - 1 :] = [f"... {len(problems) - most + 1} more problems"]
    yield from (Line(problem, "problem") for problem in problems)
    drops = [
        f"{drop.reason} {drop.rate:.0f}/s ({drop.packets})"
        + (f" on {drop.interface}" if len(sample.modes) > 1 else "")
        for drop in sample.drops
    ]
    kind = "problem" if any(drop.rate for drop in sample.drops) else "row"
    yield Line(f"drops: {', '.join(drops)}" if drops else "drops: none", kind)
    if look.filter and not look.typing:
        yield Line(f"only: {look.filter}", "row")
    if not sample.modes and not problems:
        yield Line(_NOTHING, "row")


def _table(rows: Sequence[Row], shown: slice) -> list[Line]:
    """The heads of columns, and those rows that are shown."""
    if not rows:
        return []
    several = len({row.interface for row in rows}) > 1
    names = [f"{row.service} {row.interface}" if several else row.service for row in rows]
    wide = max(width(printable(name)) for name in {*names})
    service = min(_SERVICE, max(len("SERVICE"), wide))
    backend = max(_BACKEND, *(len(row.backend) for row in rows))
    head = (
        f"{'SERVICE':{service}} {'BACKEND':{backend}} {'PPS':>{_RATE + 1}} {'BIT/S':>{_RATE + 1}} "
        f"{'PACKETS':>{_TOTAL + 1}} STATE"
    )
    lines = [Line(head, "head")]
    for row, name in zip(rows[shown], names[shown]):
        label = clipped(printable(name), service)
        label += " " * (service - width(label))
        rates = f"{_number(row.packet_rate, _RATE)} {_number(row.bit_rate, _RATE)}"
        numbers = f"{rates} {_number(row.packets, _TOTAL)}"
        line = f"{label} {row.backend:{backend}} {numbers} {row.state}"
        lines.append(Line(line, "bad" if row.bad else "row"))
    return lines


def _number(value: float, digits: int) -> str:
    return scaled(int(value), digits, "").strip().rjust(digits + 1)


def _keys(look: Look, place: str) -> Line:
    if look.typing:
        return Line(f"only rows with: {look.filter}_   Enter keeps it, Esc ends it", "keys")
    way = "reversed" if look.reverse else "sorted"
    return Line(f"{place}, {way} by {look.sort}   q quit  s sort  r reverse  / filter", "keys")
