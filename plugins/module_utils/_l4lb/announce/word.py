# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The word of an operator that a host announces nothing, which holds until it is taken back,
whatever is deployed or restarted; or, of one that shuts down, until it has booted again."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from ..kernel.paths import Paths, is_empty, told

_NAME = "withdrawn"


@dataclass(frozen=True)
class Withdrawn:
    """since: in seconds since 1970. until_boot: whether it ends by itself then."""

    since: float
    until_boot: bool

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        if self.until_boot:
            return f"withdrawn since {when} until the next boot; l4lb announce ends that"
        return f"withdrawn by the operator since {when}; l4lb announce ends that"


def withdrawn(paths: Paths) -> Withdrawn | None:
    """What holds; None: the host announces what it serves."""
    for path, until_boot in ((_lasting(paths), False), (_passing(paths), True)):
        with contextlib.suppress(OSError):
            return Withdrawn(path.stat().st_mtime, until_boot)
    return None


def withdraw(paths: Paths, until_boot: bool = False) -> None:
    """Have it hold. Raises HostError."""
    path = _passing(paths) if until_boot else _lasting(paths)
    with told(f"write {path}"):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.touch(mode=0o600)


def announce(paths: Paths) -> None:
    """Have it hold no more. Raises HostError."""
    for path in (_lasting(paths), _passing(paths)):
        with told(f"remove {path}"):
            path.unlink(missing_ok=True)
            if is_empty(path.parent):
                path.parent.rmdir()


def _lasting(paths: Paths) -> Path:
    return paths.etc / _NAME


def _passing(paths: Paths) -> Path:
    return paths.run / _NAME
