# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of what is answered: headers that can be believed, and no more than so many a second.

References: RFC 791 (options of IPv4), RFC 8200 section 4.4 (routing header).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

from tests.packet.hashing import ones_complement_sum

END_OF_OPTIONS, NO_OPERATION = 0, 1
LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE = 131, 137
FIXED_HEADER = 20

Clock = Callable[[], float]
"""Seconds since some moment."""


class Limiter:
    """Admits `rate` a second: that many at once at the most, after a second of silence."""

    def __init__(self, rate: int, clock: Clock = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._left = Fraction(rate)
        self._then = clock()

    def admits(self) -> bool:
        """Whether one more is."""
        now = self._clock()
        self._left = min(self._left + Fraction(now - self._then) * self.rate, Fraction(self.rate))
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def is_sound(header: bytes) -> bool:
    """Whether a header of IPv4 is as it was sent, and has no source route."""
    return ones_complement_sum(header) == 0xFFFF and not is_dubious(header[FIXED_HEADER:])


def is_dubious(options: bytes) -> bool:
    """Whether options name a source route, or cannot be read."""
    while options and options[0] != END_OF_OPTIONS:
        if options[0] == NO_OPERATION:
            options = options[1:]
            continue
        if options[0] in (LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE) or len(options) < 2:
            return True
        if not 2 <= options[1] <= len(options):
            return True
        options = options[options[1] :]
    return False
