# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured of late, in as little memory as it takes: rings of numbers. All of it is pure:
time is what the caller says."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping
from typing import Optional

STEP = 5
"""Seconds from one point to the next."""
POINTS = 180
"""So many are kept: 15 minutes."""
_UNKNOWN = -1.0
"""What is measured is never less than 0."""

Points = list[Optional[float]]
"""The oldest first; None: it was not measured then."""


class History:
    """Series of numbers from 0 on, all of them measured at the same moments, told by some key."""

    def __init__(self) -> None:
        self._rings: dict[Hashable, array[float]] = {}
        self._moment = 0
        """Of the newest point, in steps."""

    def add(self, now: float, values: Mapping[Hashable, float]) -> None:
        """Take note of what was measured. Series that are not among these have ended.

        now: seconds of a clock that only goes on. Of the same step the last counts.
        """
        moment = int(now // STEP)
        missed = min(max(moment - self._moment, 0), POINTS)
        for key in self._rings.keys() - values.keys():
            del self._rings[key]
        for key, value in values.items():
            ring = self._rings.get(key)
            if ring is None:
                ring = self._rings[key] = array("f", [_UNKNOWN]) * POINTS
            for behind in range(missed):
                ring[(moment - behind) % POINTS] = _UNKNOWN
            ring[moment % POINTS] = value
        self._moment = max(moment, self._moment)

    def points(self, key: Hashable) -> Points:
        """A series; nothing is known of one that there is not."""
        ring = self._rings.get(key)
        if ring is None:
            return [None] * POINTS
        start = (self._moment + 1) % POINTS
        return [_shown(value) for value in (*ring[start:], *ring[:start])]

    def keys(self) -> list[Hashable]:
        """Those that there are."""
        return list(self._rings)


def _shown(value: float) -> float | None:
    return None if value < 0 else round(value, 1)
