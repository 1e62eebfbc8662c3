# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A terminal on which a command runs: what it shows, and keys that are pressed on it.

It understands what an xterm does, as far as curses makes use of it (ECMA-48).
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.interruptible import interruptible

PATIENCE = 60.0
_ORDERS = re.compile(
    r"\x1b\[(?P<numbers>[\d;?]*)(?P<order>[A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>M]|[\x00-\x1f]|[^\x00-\x1f]"
)
_UNFINISHED = re.compile(r"\x1b(\[[\d;?]*|[()])?$")


class Screen:
    """What is shown: rows of characters."""

    def __init__(self, rows: int, columns: int) -> None:
        self._rows, self._columns = rows, columns
        self._cells = [[" "] * columns for row in range(rows)]
        self._row = self._column = self._top = 0
        self._bottom = rows - 1
        self._rest, self._last = "", " "

    @property
    def lines(self) -> list[str]:
        return ["".join(cells).rstrip() for cells in self._cells]

    def feed(self, text: str) -> None:
        """The terminal has been sent this."""
        text, self._rest = self._rest + text, ""
        unfinished = _UNFINISHED.search(text)
        if unfinished:
            self._rest = text[unfinished.start() :]
            text = text[: unfinished.start()]
        for found in _ORDERS.finditer(text):
            if found["order"]:
                numbers = [int(number or 0) for number in found["numbers"].strip("?").split(";")]
                self._obey(found["order"], numbers)
            else:
                self._put(found[0])

    def _obey(self, order: str, numbers: list[int]) -> None:
        first = max(1, numbers[0])
        if order == "H":
            self._row, self._column = first - 1, max(1, numbers[-1]) - 1 if numbers[1:] else 0
        elif order in {"A", "B", "d"}:
            self._row = {"A": self._row - first, "B": self._row + first}.get(order, first - 1)
        elif order in "CDG":
            self._column = {"C": self._column + first, "D": self._column - first}.get(
                order, first - 1
            )
        elif order in "XP@":
            self._change(order, first)
        elif order == "r":
            self._top, self._bottom = first - 1, (numbers[-1] or self._rows) - 1
            self._row = self._column = 0
        elif order == "b":
            for _again in range(first):
                self._put(self._last)
        elif order == "K":
            start, end = (0, self._column + 1) if numbers[0] == 1 else (self._column, self._columns)
            self._cells[self._row][start:end] = " " * (end - start)
        elif order == "J":
            self._cells[self._row][self._column :] = " " * (self._columns - self._column)
            for row in range(self._row + 1, self._rows):
                self._cells[row] = [" "] * self._columns
        else:
            assert order in "mhlt", f"curses has sent {order}"

    def _change(self, order: str, count: int) -> None:
        """Erase, delete or insert characters."""
        cells, blank, at = self._cells[self._row], [" "] * count, self._column
        if order == "X":
            cells[at : at + count] = blank
        elif order == "P":
            cells[at:] = cells[at + count :] + blank
        else:
            cells[at:] = blank + cells[at:]
        del cells[self._columns :]

    def _move_line(self, gone: int, new: int) -> None:
        """Those between move, too."""
        del self._cells[gone]
        self._cells.insert(new, [" "] * self._columns)

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n" and self._row == self._bottom:
            self._move_line(self._top, self._bottom)
        elif character == "\x1bM" and self._row == self._top:
            self._move_line(self._bottom, self._top)
        elif character in ("\n", "\x1bM"):
            self._row += 1 if character == "\n" else -1
        elif character == "\b":
            self._column -= 1
        elif character == "\t":
            self._column = min((self._column // 8 + 1) * 8, self._columns - 1)
        elif character >= " ":
            self._cells[self._row][self._column] = self._last = character
            self._column = min(self._column + 1, self._columns - 1)


class Terminal:
    """A command's."""

    def __init__(self, fd: int, process: subprocess.Popen[Any], rows: int, columns: int) -> None:
        self.process = process
        self._fd, self._screen = fd, Screen(rows, columns)

    @property
    def echoes(self) -> bool:
        """Whether keys are shown as they are pressed, as where nobody has changed that."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """As when somebody pulls at the window."""
        self._screen = Screen(rows, columns)
        _set_size(self._fd, rows, columns)

    def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        """What it shows when that holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self._screen.lines):
            going_on = self.process.poll() is None and time.monotonic() < deadline
            assert going_on, "\n".join(self._screen.lines)
            self._read(0.1)
        return self._screen.lines

    def end(self) -> int:
        """Wait for the command; its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "\n".join(self._screen.lines)
            self._read(0.1)
        return self.process.returncode

    def _read(self, seconds: float) -> None:
        if select.select([self._fd], [], [], seconds)[0]:
            try:
                self._screen.feed(os.read(self._fd, 4096).decode())
            except OSError:  # nobody has it open any more
                time.sleep(seconds)


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


@contextmanager
def terminal(
    command: list[str], environment: Mapping[str, str], rows: int = 24, columns: int = 80
) -> Iterator[Terminal]:
    """Run a command on one, in a session of its own, so that a new size is told to it."""
    ours, theirs = pty.openpty()
    _set_size(theirs, rows, columns)
    with interruptible(
        ["setsid", "--ctty", *command],
        env={**environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        yield Terminal(ours, process, rows, columns)
        if process.poll() is None:
            process.kill()
    os.close(ours)
