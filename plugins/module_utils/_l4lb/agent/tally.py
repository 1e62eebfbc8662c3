# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the answers of one backend to a verdict. All of it is pure: time is what the caller says."""

from __future__ import annotations

from dataclasses import replace

from ..metrics.checks import CheckCounts
from ..model.check import Check
from ..model.standing import Verdict
from .probes.answer import Answer

_MEMORY = 600.0
"""Seconds for which a failure counts when a backend flaps."""
_FLAPS = 3
"""So many failures within these are said to be flapping."""
_LONGEST_HOLD = 60.0
"""Seconds that a backend which flaps must be good before it counts as healthy."""
_MOST = 100
"""Answers on end that count: no check has more for its rise or fall."""
STEPS = 10
"""In which the share of a backend grows that is healthy again."""
_SLOW = "healthy again, with a growing share"


class Tally:
    """What is known of the health of one backend of a service. There may be very many.

    verdict: None: it is healthy, and that is all. Taken over from the data plane, and changed by
        fresh answers only.
    slow_start: seconds over which its share grows when it is healthy again.
    counts: all answers so far, whatever came of them.
    """

    __slots__ = (
        "_bad",
        "_failures",
        "_good",
        "_good_since",
        "_grown",
        "_silent",
        "check",
        "counts",
        "slow_start",
        "verdict",
    )

    def __init__(self, check: Check, verdict: Verdict | None = None, slow_start: int = 0) -> None:
        self.check, self.verdict, self.slow_start = check, verdict, slow_start
        self.counts = CheckCounts()
        self._good = self._bad = self._silent = 0
        self._good_since = self._grown = 0.0
        self._failures: tuple[float, ...] = ()
        """When it failed of late."""

    @property
    def is_unhealthy(self) -> bool:
        """Whether it takes no flows, if others can."""
        return self.verdict is not None and not self.verdict.share

    @property
    def is_known(self) -> bool:
        """Whether it has been checked, and how that ended: before, it only counts as healthy."""
        return self._good > 0 or (self.verdict is not None and not self.verdict.is_new)

    def hear(self, answer: Answer, now: float, clock: float) -> bool:
        """Count an answer; whether it changed what the verdict does to packets.

        now: of time.monotonic. clock: of time.time, for people.
        """
        self.counts.count(answer.seconds, answer.failure)
        if answer.healthy:
            self._bad = self._silent = 0
            self._good_since = self._good_since if self._good else now
            self._good = min(self._good + 1, _MOST)
            if self.is_unhealthy:
                return self._returns(now, clock)
            return self._grows(now)
        self._good = 0
        self._bad = min(self._bad + 1, _MOST)
        self._silent = 0 if answer.answered else min(self._silent + 1, _MOST)
        if self.verdict is None or self.verdict.share:
            return self._bad >= self.check.fall and self._fails(answer, now, clock)
        return self._goes_on(self.verdict, answer)

    def held_back(self, now: float) -> float:
        """Seconds that it must be good before it counts as healthy: twice as many for each failure
        of late, since who flaps costs flows each time; 0 if once is all that it failed."""
        self._failures = tuple(then for then in self._failures if now - then <= _MEMORY)
        count = len(self._failures)
        once = self.check.rise * self.check.interval
        return min(_LONGEST_HOLD, once * 2.0 ** (count - 1)) if count > 1 else 0.0

    def flaps(self, now: float) -> bool:
        """Whether it fails again and again."""
        return self.held_back(now) > 0 and len(self._failures) >= _FLAPS

    def _returns(self, now: float, clock: float) -> bool:
        rise = 1 if self.verdict and self.verdict.is_new else self.check.rise
        if self._good < rise or now - self._good_since < self.held_back(now):
            return False
        self._grown, self.verdict = now, None
        if self.slow_start:
            self.verdict = Verdict(True, _SLOW, int(clock), 100 // STEPS)
        return True

    def _grows(self, now: float) -> bool:
        """By as many steps as it is time for; after a restart the first takes as long as any."""
        if self.verdict is None:
            return False
        self._grown = self._grown or now
        steps = int((now - self._grown) * STEPS / self.slow_start) if self.slow_start else STEPS
        if not steps:
            return False
        self._grown += steps * self.slow_start / STEPS
        share = self.verdict.share + steps * 100 // STEPS
        self.verdict = replace(self.verdict, share=share) if share < 100 else None
        return True

    def _fails(self, answer: Answer, now: float, clock: float) -> bool:
        """Who answers now and then is there: only silence all the time takes its flows away."""
        self._failures = (*self._failures, now)
        self.verdict = Verdict(self._silent < self.check.fall, answer.reason, int(clock))
        return True

    def _goes_on(self, verdict: Verdict, answer: Answer) -> bool:
        """Unhealthy as before, but perhaps in another way."""
        answered = answer.answered or (verdict.answered and self._silent < self.check.fall)
        self.verdict = replace(verdict, answered=answered, reason=answer.reason)
        return answered != verdict.answered
