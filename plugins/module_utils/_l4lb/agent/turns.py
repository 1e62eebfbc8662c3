# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for very many moments by one timer of the event loop: one for each would take a third of
a kilobyte."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar


class Turn:
    """What has its turn at a time.

    due: when, by the clock of the event loop; it stays as it is while that is waited for.
    over: nobody waits for it any more.
    """

    __slots__ = ("due", "over")

    def __init__(self) -> None:
        self.due = 0.0
        self.over = False

    def __lt__(self, other: Turn) -> bool:
        return self.due < other.due


T = TypeVar("T", bound=Turn)


class Turns(Generic[T]):
    """Waits for turns, the earliest first."""

    def __init__(self, begin: Callable[[T], None]) -> None:
        """begin: is called with each when it is due."""
        self._begin = begin
        self._waiting: list[T] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, turn: T) -> None:
        """Wait for this, too."""
        heapq.heappush(self._waiting, turn)
        if self._waiting[0] is turn:
            self._wait()

    def close(self) -> None:
        """Wait for nothing any more."""
        self._waiting.clear()
        self._wait()

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._waiting[0].due, self._ring)

    def _ring(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0].due <= now:
            turn = heapq.heappop(self._waiting)
            if not turn.over:
                self._begin(turn)
        self._wait()
