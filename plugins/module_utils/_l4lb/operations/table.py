# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The statistics as people read them: one line per backend, grouped by service, with totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Union


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
    remark: str = ""


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
    for service in services:
        endpoint = f"{service['address']} {service['protocol']} {service['port'] or 'every port'}"
        lines.append(f"{service['name']} on {interface} ({balancer['mode']}), {endpoint}")
        for backend in service["backends"]:
            state = backend.get("state", "enabled")
            remark = "" if state == "enabled" else state
            lines.append(_Row(backend["address"], _Counters.of(backend), remark))
        lines.append(_Row("total", _sum(service["backends"])))
    if len(services) > 1:
        everything = [backend for service in services for backend in service["backends"]]
        lines.append(_Row(f"all of {interface}", _sum(everything)))
    drops = {reason: count for reason, count in balancer.get("drops", {}).items() if count}
    if drops:
        reasons = ", ".join(f"{reason} {count}" for reason, count in drops.items())
        lines.append(f"{sum(drops.values())} pkts dropped on {interface} ({reasons})")
    return lines


def _sum(backends: Iterable[Mapping[str, Any]]) -> _Counters:
    return sum((_Counters.of(backend) for backend in backends), _Counters())


def _lay_out(lines: list[_Line], with_rates: bool) -> list[str]:
    """Columns have a least width; a longer entry widens its column."""
    rows = [line for line in lines if isinstance(line, _Row)]
    label = _widest(15, (row.label for row in rows))
    packets = _widest(8, (str(row.counters.packets) for row in rows))
    kbytes = _widest(11, (str(row.counters.bytes // 1000) for row in rows))

    def text(row: _Row) -> str:
        counters = row.counters
        pps = mbits = ""
        if with_rates:
            pps = f" ( {int(counters.packets_per_second):10} pps )"
            mbits = f" ( {int(counters.bits_per_second / 1e6):6} Mbits/s )"
        return (
            f"{row.label:<{label}} {counters.packets:{packets}} pkts{pps}"
            f" {counters.bytes // 1000:{kbytes}} Kbytes{mbits} {row.remark}"
        ).rstrip()

    return [line if isinstance(line, str) else text(line) for line in lines]


def _widest(least: int, entries: Iterable[str]) -> int:
    return max([least, *(len(entry) for entry in entries)])
