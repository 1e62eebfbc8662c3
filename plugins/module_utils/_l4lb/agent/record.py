# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent knows of a balancer that it looks after: when it looks again, what it does then,
and what it says. All of it is pure: time is what the caller says.

It is noted in the lock of the agent, so that others can show it, and the next agent goes on with it
if this one is killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..kernel import lock
from ..kernel.paths import Paths

if TYPE_CHECKING:
    from ..operations.repair import Found

_AT_LEAST = 60.0
"""Seconds after which it looks again if nothing was heard, as not all that changes is told."""
_SHARE = 0.05
"""of a CPU, at most, is spent on looking, however much changes and however many services are."""
_BUSY = 2.0
"""Seconds for which another run is let alone."""
_GRACE = 10.0
"""Seconds for which a program is left detached, in case that whoever did it is not done yet."""
_DETACHED = "{} lost its program; it is attached again if nobody does within {:g} s"
_LEFT = (
    "{} lost its program again, which is left so; run l4lb restore, or l4lb pause if that is meant"
)
_REFUSED = "{} lost its program, and could not get it back: {}; run l4lb restore"


@dataclass
class Record:
    """Of one balancer.

    repairs, at, done: how often something was repaired, when last (of time.time), and what.
    problem: what is wrong and left so.
    """

    repairs: int = 0
    at: float = 0.0
    done: str = ""
    problem: str = ""
    state: tuple[int, ...] = ()
    mode: str | None = None
    has_attached: bool = False
    """Since a deploy, a program that had gone: that is done once."""
    refusal: str = ""
    """Why that failed."""
    missed: float | None = None
    """When a program was seen to be gone, of time.monotonic."""
    _sign: Hashable = None
    _not_before: float = 0.0
    _again: float = 0.0

    # When

    def is_due(self, sign: Hashable, now: float) -> bool:
        """Whether it is time for a look. sign: all that is seen without one."""
        return now >= self._not_before and (sign != self._sign or now >= self._again)

    def attaches(self, now: float) -> bool:
        """Whether programs that have gone are to be attached again."""
        return not self.has_attached and self.missed is not None and now - self.missed >= _GRACE

    def looked(self, sign: Hashable, now: float, seconds: float) -> None:
        """There was a look, which took these seconds of a CPU."""
        self._sign = sign
        self._not_before, self._again = now + seconds / _SHARE, now + _AT_LEAST
        if self.missed is not None and not self.has_attached:
            self._again = max(self._not_before, self.missed + _GRACE)

    def wait(self, now: float) -> None:
        """Another run is at work."""
        self._not_before = now + _BUSY

    # What

    def hear(self, found: Found, attached: bool, now: float, clock: float) -> None:
        """Take note of what a look has found. attached: it was to attach what had gone."""
        if found.paused or found.before != self.state:  # somebody has seen to it
            self.has_attached, self.refusal = False, ""
        if attached:
            self.has_attached = True
        elif self.missed is not None and not found.detached:  # somebody else has attached it
            self.has_attached, self.refusal = False, ""
        if found.detached and self.missed is None:
            self.missed = now
        elif not found.detached:
            self.missed = None
        self.state, self.mode = found.state, found.mode or self.mode
        self.problem = found.problem or self._loss(found)
        if found.repaired:
            self.repairs, self.at, self.done = self.repairs + 1, clock, "; ".join(found.repaired)

    def fail(self, problem: str, attached: bool) -> None:
        """A look or a repair did not succeed."""
        self.problem = problem
        if attached:
            self.has_attached, self.refusal = True, problem

    def _loss(self, found: Found) -> str:
        if not found.detached:
            return ""
        names = ", ".join(found.detached)
        if self.refusal:
            return _REFUSED.format(names, self.refusal)
        return _LEFT.format(names) if self.has_attached else _DETACHED.format(names, _GRACE)

    # For others

    def shown(self, since: float) -> dict[str, Any]:
        """What was repaired, and what is left; times in whole seconds since 1970.

        since: when counting repairs began.
        """
        return {
            "since": int(since),
            "repairs": self.repairs,
            "last": {"at": int(self.at), "done": self.done} if self.repairs else None,
            "problem": self.problem or None,
        }

    # Over the agent's death

    def dump(self) -> dict[str, Any]:
        """What is noted of it."""
        return {name: value for name, value in asdict(self).items() if name in _NOTED}

    @classmethod
    def load(cls, raw: dict[str, Any]) -> Record:
        """What `dump` gave. Raises TypeError, ValueError or KeyError if it is something else."""
        return cls(**{**{name: raw[name] for name in _NOTED}, "state": tuple(raw["state"])})


_NOTED = ("repairs", "at", "done", "problem", "state", "mode", "has_attached", "refusal")


def trouble(name: str) -> str:
    """That something is wrong with a balancer."""
    return f"{name} is not as it should be"


def read(text: bytes, now: float) -> tuple[float, dict[str, Record]]:
    """Since when repairs are counted, and what was noted: nothing, but by an agent that died."""
    try:
        raw = json.loads(text)
        balancers = raw["balancers"].items()
        return float(raw["since"]), {name: Record.load(one) for name, one in balancers}
    except (ValueError, KeyError, TypeError, AttributeError):
        return now, {}


# For others


def noted(paths: Paths) -> dict[str, tuple[Record, float]]:
    """What the agent of this host knows of its balancers, and since when it counts."""
    since, records = read(lock.note_of_agent(paths), 0.0)
    return {name: (one, since) for name, one in records.items()}


def lines(records: dict[str, tuple[Record, float]]) -> Iterator[str]:
    """What was repaired, for people."""
    for name, (one, since) in records.items():
        if one.repairs:
            times = "once" if one.repairs == 1 else f"{one.repairs} times"
            yield (
                f"The agent has repaired {name} {times} since {_when(since)}, last at "
                f"{_when(one.at)}: {one.done}"
            )


def troubles(records: dict[str, tuple[Record, float]]) -> Iterator[str]:
    """What is wrong, for people."""
    for name, (one, _since) in records.items():
        if one.problem:
            yield f"{trouble(name)}: {one.problem}"


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
