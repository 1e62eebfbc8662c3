# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of the balancers of a host at a moment: a row for each backend of a service."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Facts = Mapping[str, Mapping[str, Any]]
"""Interface -> what l4lb_stats reports of its balancer."""
_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


@dataclass(frozen=True)
class Row:
    """A backend of a service. Rates are per second; state is in words; bad: it is to be noticed."""

    interface: str
    service: str
    backend: str
    state: str
    bad: bool = False
    packets: int = 0
    packet_rate: float = 0.0
    bit_rate: float = 0.0

    @property
    def words(self) -> str:
        """What a filter looks at."""
        return f"{self.interface} {self.service} {self.backend} {self.state}".casefold()


@dataclass(frozen=True)
class Drop:
    """Packets that were dropped, in all and per second."""

    interface: str
    reason: str
    packets: int
    rate: float


@dataclass(frozen=True)
class Sample:
    """All that is seen. modes: by interface. problems: in words, one line each."""

    rows: Sequence[Row] = ()
    drops: Sequence[Drop] = ()
    modes: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()


def sample(
    found: Facts,
    before: Facts,
    seconds: float,
    problems: Iterable[str] = (),
    now: float | None = None,
) -> Sample:
    """What was found, and so many seconds before. now: of time.time, for how long backends are
    unhealthy."""
    now = time.time() if now is None else now
    return Sample(
        [row for name, balancer in found.items() for row in _rows(name, balancer, now)],
        [*_drops(found, before, seconds)],
        {name: balancer["mode"] for name, balancer in found.items()},
        [*problems, *_open(found)],
    )


def _rows(interface: str, balancer: Mapping[str, Any], now: float) -> Iterator[Row]:
    for service in balancer["services"]:
        for backend in service["backends"]:
            state = _state(backend, now)
            yield Row(
                interface,
                service["name"],
                backend["address"],
                state,
                not backend.get("healthy", True),
                backend["packets"],
                backend.get("packets_per_second", 0.0),
                backend.get("bits_per_second", 0.0),
            )


def _state(backend: Mapping[str, Any], now: float) -> str:
    """How packets meet it, and why."""
    state = backend["state"]
    held = " held" if backend.get("held") else ""
    words = [] if state == "enabled" and not held else [f"{state}{held}"]
    if not backend.get("healthy", True):
        since = _duration(max(0.0, now - backend.get("unhealthy_since", now)))
        words.append(f"unhealthy for {since}: {backend.get('reason', '')}")
    elif "share_percent" in backend:
        words.append(f"healthy, {backend['share_percent']} % of its share")
    elif "healthy" in backend:
        words.append("healthy")
    return ", ".join(words) or state


def _duration(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _drops(found: Facts, before: Facts, seconds: float) -> Iterator[Drop]:
    """The most frequent first, then those of which there were most."""
    drops = []
    for name, balancer in found.items():
        earlier = before.get(name, {}).get("drops", {})
        for reason, count in balancer.get("drops", {}).items():
            more = max(0, count - earlier.get(reason, count))
            drops.append(Drop(name, reason, count, more / seconds if seconds > 0 else 0.0))
    seen = (drop for drop in drops if drop.packets)
    yield from sorted(seen, key=lambda drop: (-drop.rate, -drop.packets))


def _open(found: Facts) -> Iterator[str]:
    """Services of which too few backends are healthy."""
    for name, balancer in found.items():
        for service in balancer["services"]:
            if service.get("fails_open"):
                yield f"{service['name']} on {name}: too few backends are healthy, so all are used"
