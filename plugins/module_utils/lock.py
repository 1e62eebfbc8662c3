# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import HostError
from .host import Paths, encode, told

_LOCK_TRIES_PER_SECOND = 20


@contextlib.contextmanager
def lock(interface: str, paths: Paths, patience: float = 60.0) -> Iterator[float]:
    """Hold the interface's lock; yields how many seconds it was waited for.

    Raises HostError after `patience` seconds.
    """
    path = paths.run / f"{encode(interface)}.lock"
    start = time.monotonic()
    while True:
        fd = _try_lock(path)
        if fd is not None:
            break
        if time.monotonic() - start > patience:
            raise HostError(
                f"{path} has been held for {patience:.0f} seconds; another run is busy or stuck"
            )
        time.sleep(1 / _LOCK_TRIES_PER_SECOND)
    try:
        yield time.monotonic() - start
    finally:
        # While it is held; whoever opened this file before notices that it is gone.
        with contextlib.suppress(OSError):  # other interfaces have theirs in the directory
            path.unlink()
            paths.run.rmdir()
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    """The locked file; None if another holds it, or has just removed what was opened here."""
    with told(f"make {path}"):
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileExistsError, FileNotFoundError):  # another run has just removed the directory
            return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), path.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None
