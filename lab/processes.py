# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that outlive the command that started them, and are ended by their own identity."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

GRACE = 5.0  # seconds between asking a process to end and making it

# The process writes down itself what it is, before it becomes the command: so none is ever
# without a record, whenever its starter is interrupted.
RECORDED = 'cat /proc/$$/stat >"$0" && exec "$@"'


def start(
    command: list[str],
    environment: dict[str, str],
    log: Path,
    record: Path,
    descriptors: Collection[int] = (),
) -> int:
    """Start a command in the background and write down which process it is.

    descriptors: files that it has open from the beginning.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", RECORDED, str(record), *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o022,
            pass_fds=descriptors,
        )
    while running(record) is None and process.poll() is None:
        time.sleep(0.001)
    # The process is the record's from here on; Popen need not warn that it still runs.
    process.returncode = 0
    return process.pid


def running(record: Path) -> int | None:
    """The process of a record, unless it has ended; its number may be another's by now."""
    recorded = _identity(record)
    if recorded is None or recorded != _identity(Path(f"/proc/{recorded[0]}/stat")):
        return None
    return recorded[0]


def stop(record: Path) -> None:
    """End the process of a record, and forget it."""
    pid = running(record)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while running(record):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # where it was started by this very process
    record.unlink(missing_ok=True)


def inside(namespace: Path) -> list[int]:
    """The processes in the namespace that a file is bound to."""
    wanted = _inode(namespace)
    files = Path("/proc").glob(f"[0-9]*/ns/{namespace.name}")
    return [int(file.parts[2]) for file in files if wanted and _inode(file) == wanted]


def _inode(namespace: Path) -> int | None:
    try:
        return namespace.stat().st_ino
    except OSError:  # the process, if it is of one, has ended meanwhile
        return None


def _identity(stat: Path) -> tuple[int, int] | None:
    """Number and start time, in clock ticks since boot, of a process that has not ended."""
    try:
        text = stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may contain any character.
    number, _space, rest = text.partition(" ")
    fields = rest.rpartition(")")[2].split()
    # A zombie is but the exit code of a process, which nobody has asked for yet.
    return (int(number), int(fields[19])) if fields and fields[0] != "Z" else None
