# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for people: nothing in it that a terminal would obey."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text, with Python's escape sequences in place of all that is not seen as what it is.

    Interfaces, files and users may have names that a terminal would take for orders.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
