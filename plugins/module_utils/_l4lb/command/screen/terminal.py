# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal that somebody looks at, and types on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from . import drawing
from .look import BACKSPACE, DOWN, END, ENTER, ESCAPE, HOME, PAGE_DOWN, PAGE_UP, UP, Look
from .rows import Sample

_CHARACTERS = {"\n": ENTER, "\r": ENTER, "\x1b": ESCAPE, "\x7f": BACKSPACE, "\b": BACKSPACE}


def is_there() -> bool:
    """Whether there is one that can be drawn on, and keys that can be pressed."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        import curses
    except ImportError:  # some distributions have it apart from the rest of Python
        return False
    try:
        curses.setupterm(os.environ.get("TERM", "dumb"), sys.stdout.fileno())
    except curses.error:
        return False
    return curses.tigetstr("cup") is not None


def show(take: Callable[[], Sample], interval: float, look: Look) -> None:
    """Draw what is seen every so many seconds, until q is pressed, or Ctrl-C."""
    import curses

    curses.set_escdelay(50)
    with _ended_by(signal.SIGTERM, signal.SIGHUP):
        curses.wrapper(_Screen(take, interval, look).run)


@contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Have them end the process so that the terminal is left as it was."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Screen:
    """What is on it."""

    def __init__(self, take: Callable[[], Sample], interval: float, look: Look) -> None:
        self._take, self._interval, self._look = take, interval, look
        self._sample = Sample()
        self._page = 1

    def run(self, window: Any) -> None:
        """Until it is enough."""
        import curses

        with _tolerant(curses.error):
            curses.use_default_colors()
        with _tolerant(curses.error):
            curses.curs_set(0)
        due = time.monotonic()
        while not self._look.done:
            if time.monotonic() >= due:
                self._sample = self._take()
                due = time.monotonic() + self._interval
            self._draw(window)
            window.timeout(max(0, int((due - time.monotonic()) * 1000)))
            key = self._key(window)
            if key:
                self._look = self._look.pressed(key, self._page)

    def _key(self, window: Any) -> str:
        """What was pressed; empty: nothing in time, or what means nothing."""
        import curses

        named = {
            curses.KEY_UP: UP,
            curses.KEY_DOWN: DOWN,
            curses.KEY_PPAGE: PAGE_UP,
            curses.KEY_NPAGE: PAGE_DOWN,
            curses.KEY_HOME: HOME,
            curses.KEY_END: END,
            curses.KEY_ENTER: ENTER,
            curses.KEY_BACKSPACE: BACKSPACE,
        }
        try:
            key = window.get_wch()
        except curses.error:
            return ""
        return named.get(key, "") if isinstance(key, int) else _CHARACTERS.get(key, key)

    def _draw(self, window: Any) -> None:
        import curses

        marks = {
            "title": curses.A_BOLD,
            "problem": curses.A_BOLD,
            "bad": curses.A_BOLD,
            "head": curses.A_REVERSE,
            "keys": curses.A_REVERSE,
        }
        height, columns = window.getmaxyx()
        lines, self._look, self._page = drawing.screen(
            self._sample, self._look, time.strftime("%H:%M:%S"), columns, height
        )
        window.erase()
        for number, line in enumerate(lines):
            mark = marks.get(line.kind, curses.A_NORMAL)
            shown = line.text.encode(window.encoding, "backslashreplace").decode(window.encoding)
            with _tolerant(curses.error):  # it may have become smaller meanwhile
                window.addnstr(number, 0, shown, columns - 1, mark)
        window.refresh()


@contextmanager
def _tolerant(error: type[Exception]) -> Iterator[None]:
    try:
        yield
    except error:
        return
