# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent says: a line for each thing that happens, and when a trouble begins or ends."""

from __future__ import annotations

from collections.abc import Callable

_WARNING, _NOTICE = 4, 5
"""Priorities of sd-daemon(3), which journald takes from the start of a line."""


class Journal:
    """Writes lines, and remembers the troubles that there are."""

    def __init__(self, write: Callable[[str], None], prefixed: bool = False) -> None:
        """prefixed: whether who reads it takes priorities from the start of a line."""
        self._write, self._prefixed = write, prefixed
        self.troubles: dict[str, str] = {}
        """What is wrong -> why."""

    def tell(self, line: str, priority: int = _NOTICE) -> None:
        """Something has happened."""
        self._write(f"<{priority}>{line}" if self._prefixed else line)

    def alarm(self, trouble: str, reason: str) -> None:
        """Something is wrong, and said once, or again for another reason."""
        if self.troubles.get(trouble) != reason:
            self.troubles[trouble] = reason
            self.tell(f"{trouble}: {reason}", _WARNING)

    def calm(self, trouble: str) -> None:
        """It is no more."""
        if self.troubles.pop(trouble, None) is not None:
            self.tell(f"{trouble}: over")
