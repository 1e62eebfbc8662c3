# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The word of an operator that a host announces nothing, which holds until it is taken back,
whatever is deployed or restarted; or, of one that shuts down, until it has booted again.

Others may say so, too, by a name of theirs: each ends what it has said itself, the operator all.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

from ..kernel.paths import Paths, is_empty, told

OPERATOR = "operator"
SPEAKERS = re.compile("[a-z][a-z0-9-]{0,30}")
"""What they may be called."""
_NAME = "withdrawn"


@dataclass(frozen=True)
class Withdrawn:
    """since: in seconds since 1970. until_boot: whether it ends by itself then. by: who says so."""

    since: float
    until_boot: bool
    by: str = OPERATOR

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        if self.until_boot:
            return f"withdrawn since {when} until the next boot; l4lb announce ends that"
        who = "the operator" if self.by == OPERATOR else self.by
        return f"withdrawn by {who} since {when}; l4lb announce ends that"


def withdrawn(paths: Paths) -> Withdrawn | None:
    """What holds, the operator's word first; None: the host announces what it serves."""
    found = []
    for path, until_boot in ((_lasting(paths), False), (_passing(paths), True)):
        with contextlib.suppress(OSError):
            found.append(Withdrawn(path.stat().st_mtime, until_boot, _speaker(path)))
    return min(found, key=lambda one: one.by != OPERATOR, default=None)


def withdraw(paths: Paths, until_boot: bool = False, by: str = OPERATOR) -> None:
    """Have it hold. by: of SPEAKERS; what has been said before stays, unless it is the operator who
    says it now. Raises HostError."""
    path = _passing(paths) if until_boot else _lasting(paths)
    if by != OPERATOR and path.exists():
        return
    with told(f"write {path}"):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text("" if by == OPERATOR else f"{by}\n", encoding="ascii")


def announce(paths: Paths, by: str = OPERATOR) -> None:
    """Have it hold no more; by: as far as this one has said it. Raises HostError."""
    for path in (_lasting(paths), _passing(paths)):
        with told(f"remove {path}"):
            if by in (OPERATOR, _speaker(path)):
                path.unlink(missing_ok=True)
            if is_empty(path.parent):
                path.parent.rmdir()


def _speaker(path: Path) -> str:
    """Who has said it; the operator where that cannot be told, as nobody else ends his word."""
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="ascii", errors="replace").strip()
        return text if SPEAKERS.fullmatch(text) else OPERATOR
    return OPERATOR


def _lasting(paths: Paths) -> Path:
    return paths.etc / _NAME


def _passing(paths: Paths) -> Path:
    return paths.run / _NAME
