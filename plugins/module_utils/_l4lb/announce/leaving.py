# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Having all traffic go elsewhere: routing daemons first ask for that, as long as the routes are
there (RFC 8326), then the routes go, and then the last packets have passed."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..datapath.counters import statistics
from ..datapath.program import DataPath
from ..kernel.paths import Paths
from ..kernel.pins import Pins, pinned_interfaces
from . import table, word

LONGEST_LEAVE = 10.0
"""Seconds for which routes stay while traffic is asked to go elsewhere; it may not be able to."""
_QUIET = 1.0
"""Seconds without a packet to a service, after which traffic has gone."""
_STEP = 0.1


def withdraw(
    paths: Paths,
    until_boot: bool = False,
    patience: float = 0.0,
    by: str = word.OPERATOR,
    sleep: Callable[[float], None] = time.sleep,
) -> int | None:
    """Announce nothing until `word.announce`.

    until_boot: or the next boot. patience: seconds to wait at most for traffic to leave; 0: routes
        go at once. by: who says so.

    Returns how many packets came to services in the last second; None: that was not waited for.
    Raises L4lbError of some kind.
    """
    word.withdraw(paths, until_boot, by)
    deadline = time.monotonic() + patience
    there = table.routes()
    if until_boot and not there:
        return None
    if patience and there:
        table.leave(there)
        await_quiet(paths, min(patience / 2, LONGEST_LEAVE), sleep)
    table.withdraw({**there, **table.routes()})
    return await_quiet(paths, deadline - time.monotonic(), sleep) if patience else None


def await_quiet(paths: Paths, patience: float, sleep: Callable[[float], None] = time.sleep) -> int:
    """Wait until there was no packet to a service for a while, up to so many seconds; returns how
    many there were at last."""
    deadline = time.monotonic() + patience
    before = _packets(paths)
    while True:
        began, came = time.monotonic(), 0
        while time.monotonic() - began < _QUIET:
            sleep(_STEP)
            now = _packets(paths)
            came += now - before
            before = now
            if came and time.monotonic() < deadline:
                break
        if not came or time.monotonic() >= deadline:
            return came


def _packets(paths: Paths) -> int:
    total = 0
    for name in pinned_interfaces(paths):
        program = Pins.of(name, paths).program()
        data_path = DataPath.of(program) if program else None
        if data_path:
            total += sum(one.packets for one in statistics(data_path).services.values())
    return total
