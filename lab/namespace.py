# SPDX-License-Identifier: GPL-3.0-or-later
"""Being in another network namespace for a moment."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def network(namespace: Path) -> Iterator[None]:
    """What this thread opens meanwhile belongs to the namespace, also afterwards."""
    with Path("/proc/thread-self/ns/net").open() as own, namespace.open() as other:
        _enter(other.fileno())
        try:
            yield
        finally:
            _enter(own.fileno())


def _enter(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
