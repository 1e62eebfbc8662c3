# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The statistics as people read them: one line per backend, grouped by service, with totals.

All fits a terminal of 80 columns. Numbers that do not fit their column are given in a larger unit;
a label that does not fit its own has a line to itself, above its numbers; and other lines are
broken between words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Union

from ..printable import COLUMNS, printable, wrapped

_LABEL = 15
"""Least width of the column of labels."""
_PREFIXES = "KMGTPE"


@dataclass(frozen=True)
class _Counters:
    packets: int = 0
    bytes: int = 0
    packets_per_second: float = 0
    bits_per_second: float = 0

    def __add__(self, other: _Counters) -> _Counters:
        return _Counters(*(a + b for a, b in zip(astuple(self), astuple(other))))

    @classmethod
    def of(cls, backend: Mapping[str, Any]) -> _Counters:
        return cls(**{name: backend.get(name) or 0 for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class _Row:
    label: str
    counters: _Counters


_Line = Union[_Row, str]


def table(balancers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines for `balancers`: what `l4lb_stats` reports, by interface.

    Kbytes are 1000 bytes and Mbits 1000000 bits, cut off and not rounded. Statistics without
    rates give a table without them. What was dropped is told only where something was.
    """
    lines: list[_Line] = []
    for interface, balancer in balancers.items():
        lines += _balancer(interface, balancer)
    return _lay_out(lines, with_rates=_have_rates(balancers))


def title(service: Mapping[str, Any] | None, interface: str, mode: str) -> list[str]:
    """The line, or lines, above the backends of a service; None: there is no service."""
    if service is None:
        return wrapped(f"no services on {interface} ({mode})")
    endpoint = f"{service['address']} {service['protocol']} {service['port'] or 'every port'}"
    return wrapped(f"{service['name']} on {interface} ({mode}), {endpoint}")


def _have_rates(balancers: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(
        backend.get("packets_per_second") is not None
        for balancer in balancers.values()
        for service in balancer["services"]
        for backend in service["backends"]
    )


def _balancer(interface: str, balancer: Mapping[str, Any]) -> list[_Line]:
    lines: list[_Line] = []
    services = balancer["services"]
    if not services:
        lines += title(None, interface, balancer["mode"])
    for service in services:
        lines += title(service, interface, balancer["mode"])
        for backend in service["backends"]:
            state = backend.get("state", "enabled")
            remark = "" if state == "enabled" else f" {state}"
            remark += "" if backend.get("healthy", True) else " unhealthy"
            lines.append(_Row(f"{backend['address']}{remark}", _Counters.of(backend)))
        lines.append(_Row("total", _sum(service["backends"])))
    if len(services) > 1:
        everything = [backend for service in services for backend in service["backends"]]
        lines.append(_Row(f"all of {printable(interface)}", _sum(everything)))
    drops = {reason: count for reason, count in balancer.get("drops", {}).items() if count}
    if drops:
        reasons = ", ".join(f"{reason} {count}" for reason, count in drops.items())
        lines += wrapped(f"{sum(drops.values())} pkts dropped on {interface} ({reasons})")
    return lines


def _sum(backends: Iterable[Mapping[str, Any]]) -> _Counters:
    return sum((_Counters.of(backend) for backend in backends), _Counters())


def _lay_out(lines: list[_Line], with_rates: bool) -> list[str]:
    """Columns of numbers are always of the same width, so that nothing jumps while one watches."""
    room = COLUMNS - len(_numbers(_Counters(), with_rates))
    labels = (len(line.label) for line in lines if isinstance(line, _Row))
    column = max([_LABEL, *(label for label in labels if label <= room)])
    found = []
    for line in lines:
        if isinstance(line, str):
            found.append(line)
            continue
        label = line.label
        if len(label) > column:
            found.append(label)
            label = ""
        found.append(f"{label:<{column}}{_numbers(line.counters, with_rates)}")
    return found


def _numbers(counters: _Counters, with_rates: bool) -> str:
    packets, kbytes = counters.packets, counters.bytes // 1000
    if not with_rates:
        return f" {scaled(packets, 8, 'pkts')} {scaled(kbytes, 11, 'bytes', 'K')}"
    pps = scaled(int(counters.packets_per_second), 6, "pps")
    mbits = scaled(int(counters.bits_per_second / 1e6), 4, "bits/s", "M")
    sums = scaled(packets, 7, "pkts"), scaled(kbytes, 7, "bytes", "K")
    return f" {sums[0]} ( {pps} ) {sums[1]} ( {mbits} )"


def scaled(value: int, digits: int, unit: str, prefix: str = "") -> str:
    """A number in a column for so many digits, in a larger unit if it has more, cut off.

    prefix: of the unit that `value` is in.
    """
    width = digits + len(f" {prefix}{unit}")
    larger = iter(_PREFIXES.partition(prefix)[2] if prefix else _PREFIXES)
    text = f"{value} {prefix}{unit}"
    while len(text) > width:
        value //= 1000
        text = f"{value} {next(larger)}{unit}"
    return text.rjust(width)
