# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How somebody looks at rows, and what the keys change of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .rows import Row

SORTS: dict[str, Callable[[Row], Any]] = {
    "rate": lambda row: -row.packet_rate,
    "bits": lambda row: -row.bit_rate,
    "packets": lambda row: -row.packets,
    "service": lambda row: row.service,
    "backend": lambda row: _address(row.backend),
    "state": lambda row: (not row.bad, row.state),
}
"""By what rows are sorted: numbers from the largest on, and what is wrong first."""
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "up", "down", "page up", "page down", "home", "end"
ENTER, ESCAPE, BACKSPACE = "enter", "escape", "backspace"
_LONGEST = 64


@dataclass(frozen=True)
class Look:
    """How somebody looks.

    sort: of SORTS. filter: shows only rows that have it in them. typing: it is being typed.
    first: of the rows that are shown, counted from 0. done: it is enough.
    """

    sort: str = "rate"
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    first: int = 0
    done: bool = False

    def chosen(self, rows: Sequence[Row]) -> list[Row]:
        """The rows to show, in their order; equal ones as they are configured."""
        wanted = self.filter.casefold()
        found = [row for row in rows if wanted in row.words] if wanted else rows
        return sorted(found, key=SORTS[self.sort], reverse=self.reverse)

    def pressed(self, key: str, page: int) -> Look:
        """After a key. page: how many rows there is room for."""
        if self.typing:
            return self._typed(key)
        names = [*SORTS]
        following = names[(names.index(self.sort) + 1) % len(names)]
        steps = {UP: -1, DOWN: 1, PAGE_UP: -page, PAGE_DOWN: page}
        if key in steps:
            return replace(self, first=max(0, self.first + steps[key]))
        changes: dict[str, dict[str, Any]] = {
            "q": {"done": True},
            "s": {"sort": following, "first": 0},
            "r": {"reverse": not self.reverse, "first": 0},
            "/": {"typing": True},
            ESCAPE: {"filter": "", "first": 0},
            HOME: {"first": 0},
            END: {"first": 1 << 31},
        }
        return replace(self, **changes.get(key, {}))

    def within(self, rows: int, page: int) -> Look:
        """Not beyond the last of so many rows."""
        return replace(self, first=max(0, min(self.first, rows - page)))

    def _typed(self, key: str) -> Look:
        if key == ENTER:
            return replace(self, typing=False)
        if key == ESCAPE:
            return replace(self, typing=False, filter="", first=0)
        if key == BACKSPACE:
            return replace(self, filter=self.filter[:-1], first=0)
        if len(key) == 1 and key.isprintable() and len(self.filter) < _LONGEST:
            return replace(self, filter=self.filter + key, first=0)
        return self


def _address(text: str) -> tuple[bool, list[str], str]:
    """The order of addresses: IPv4 first, by their numbers."""
    numbers = [part.rjust(3, "0") for part in text.split(".")] if ":" not in text else []
    return ":" in text, numbers, text
