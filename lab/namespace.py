# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Being in another network namespace for a moment; making mount namespaces that stay."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lab.command import call
from lab.topology import LabError

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


def pinned(directory: Path) -> list[str]:
    """The beginning of commands that bind a mount namespace to a file in a directory.

    The kernel wants it to be younger than the one that it is bound in. From Linux 6.18 on it goes
    by numbers of which each CPU has a stock, and so does not see the age of one that another CPU
    has made. What serves is, for one, the CPU on which the outer one was made.
    """
    file = directory / "mnt"
    file.touch()
    for cpu in sorted(os.sched_getaffinity(0)):
        command = ["taskset", "--cpu-list", str(cpu)]
        with contextlib.suppress(LabError):
            call([*command, "unshare", f"--mount={file}", "true"])
            call(["umount", str(file)])
            file.unlink()
            return command
    raise LabError(f"no mount namespace can be bound to {file}")


def _enter(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
