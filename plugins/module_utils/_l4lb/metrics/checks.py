# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of the checks of a backend, counted."""

from __future__ import annotations


class CheckCounts:
    """Of one backend of a service. There may be very many.

    seconds: that the checks took which found something out; made: how many these were.
    """

    __slots__ = ("_failures", "made", "seconds")

    def __init__(self) -> None:
        self.made, self.seconds = 0, 0.0
        self._failures: dict[str, int] | None = None

    @property
    def failures(self) -> dict[str, int]:
        """How many, by reason, of FAILURES."""
        return self._failures or {}

    def count(self, seconds: float, failure: str) -> None:
        """A check that has found something out; failure: why it failed; empty if it did not."""
        self.made += 1
        self.seconds += seconds
        if failure:
            self.fail(failure)

    def fail(self, failure: str) -> None:
        """A check that failed, whether it has found something out or not."""
        if self._failures is None:
            self._failures = {}
        self._failures[failure] = self._failures.get(failure, 0) + 1
