# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a configuration, from a file that may be anything."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from .errors import L4lbError

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
