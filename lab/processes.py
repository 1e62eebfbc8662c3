"""Processes that outlive the command that started them, and are ended by their own identity."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

GRACE = 5.0  # seconds between asking a process to end and making it


def start(command: list[str], environment: dict[str, str], log: Path, record: Path) -> int:
    """Start a command in the background and write down which process it is."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record.write_text(f"{process.pid} {_start_time(process.pid)}\n")
    # The process is the record's from here on; Popen need not warn that it still runs.
    process.returncode = 0
    return process.pid


def running(record: Path) -> int | None:
    """The process of a record, unless it has ended; its number may be another's by now."""
    try:
        pid, started = (int(word) for word in record.read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    return pid if started == _start_time(pid) else None


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
    if not namespace.exists():
        return []
    found = []
    for entry in Path("/proc").glob("[0-9]*/ns/" + namespace.name):
        try:
            if entry.stat().st_ino == namespace.stat().st_ino:
                found.append(int(entry.parts[2]))
        except OSError:
            continue  # it ended while we looked
    return found


def _start_time(pid: int) -> int | None:
    """In clock ticks since boot, or nothing if there is no such process or only its exit code is left."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may contain any character.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])
