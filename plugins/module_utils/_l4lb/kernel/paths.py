# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a configuration, from a file that may be anything."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import HostError, L4lbError

MOST_BYTES = 32 << 20
"""Twice what takes the most there can be: 65535 backends, each laid out over several lines."""


def read_file(path: Path, or_pipe: bool = False) -> bytes:
    """What a regular file has in it, or, if allowed, a pipe. Raises L4lbError, or OSError."""
    mode = path.stat().st_mode
    # Opening a device may do something. A directory is refused in the kernel's own words.
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (or_pipe and stat.S_ISFIFO(mode))):
        raise L4lbError(f"{path}: not a regular file{' or a pipe' if or_pipe else ''}")
    with path.open("rb") as file:
        return read_all(file, str(path))


def read_all(file: BinaryIO, name: str) -> bytes:
    """What is left to read, up to the end. Raises L4lbError if that is too much, or OSError."""
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise L4lbError(f"{name}: longer than {MOST_BYTES >> 20} MiB, as no configuration is")
    return content


@dataclass(frozen=True)
class Paths:
    """Where things are on the host."""

    bpffs: Path = Path("/sys/fs/bpf")
    run: Path = Path("/run/l4lb")
    etc: Path = Path("/etc/l4lb")
    sysctl: Path = Path("/proc/sys")
    sysctl_d: Path = Path("/etc/sysctl.d")


def require_root() -> None:
    """Raises HostError unless the process may load programs, and see those that are loaded."""
    if os.geteuid() != 0:
        raise HostError(
            "root is needed to load XDP programs, and to see them; use become: true or sudo"
        )


@contextlib.contextmanager
def told(action: str) -> Iterator[None]:
    """Raises HostError, which says what was to be done, in place of OSError."""
    try:
        yield
    except OSError as e:
        raise HostError(f"{action}: {e.strerror}") from e


def is_empty(directory: Path) -> bool:
    """Whether it is a directory, and nothing is in it."""
    return directory.is_dir() and not any(directory.iterdir())
