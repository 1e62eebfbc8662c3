# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for people: nothing in it that a terminal would obey, and no more than they read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

COLUMNS = 80
"""Of the narrowest terminal that tables are for."""
_MOST_LISTED, _MOST_LISTED_CHARACTERS = 8, 160


def printable(text: str) -> str:
    """The text, with Python's escape sequences in place of all that is not seen as what it is.

    Interfaces, files and users may have names that a terminal would take for orders.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def listed(names: Iterable[object]) -> str:
    """Names one after the other; of very many the first, and how many more there are."""
    all_names = [*map(str, names)]
    most = _MOST_LISTED if len(all_names) > _MOST_LISTED + 1 else len(all_names)
    while most > 1 and len(", ".join(all_names[:most])) > _MOST_LISTED_CHARACTERS:
        most -= 1
    shown, rest = ", ".join(all_names[:most]), len(all_names) - most
    return f"{shown} and {rest} more" if rest else shown


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def clipped(text: str, columns: int) -> str:
    """What of a text there is room for."""
    return text if width(text) <= columns else "".join(_clipped(text, columns))


def wrapped(text: str, label: str = "", indent: str = "  ") -> list[str]:
    """The text in lines of at most `COLUMNS`, broken between words: the first behind a label, those
    after it indented. It is made printable."""
    lines = [""]
    for word in printable(text).split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else f"{label}{word}"
        if lines[-1] and width(longer) > COLUMNS:
            longer = f"{indent}{word}"
            lines.append("")
        lines[-1] = longer
    return lines


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _clipped(text: str, columns: int) -> Iterator[str]:
    for character in text:
        columns -= _columns(character)
        if columns < 0:
            return
        yield character
