# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time: per interface, and for what the balancers of a host share.

A run holds the lock of its interface all the time, and for moments within it the host's. Who wants
several interfaces takes them in the order of their names, and while the host's is held nobody waits
for an interface; so nobody waits for ever.

In the file of its lock a run notes for the others what it is about to need. A note counts as long
as the lock is held, so one of a run that was killed does not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BusyError
from .paths import Paths, told
from .pins import decode, encode

_PATIENCE = 60.0
_TRIES_PER_SECOND = 20
_AGENT = "agent"
_MOST_NOTED = 1 << 20
"""Bytes."""


@dataclass(frozen=True)
class Held:
    """A lock, while it is held."""

    path: Path
    fd: int
    waited: float
    """Seconds that another run held it."""

    def note(self, text: bytes) -> None:
        """Note this for others, in place of what was noted before. Raises HostError."""
        with told(f"write {self.path}"):
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, text, 0)

    def noted(self) -> bytes:
        """What is noted. Raises HostError."""
        with told(f"read {self.path}"):
            return os.pread(self.fd, _MOST_NOTED, 0)


@contextlib.contextmanager
def of_interface(interface: str, paths: Paths, patience: float = _PATIENCE) -> Iterator[Held]:
    """Hold the lock of an interface. Raises BusyError after `patience` seconds."""
    path = _file(interface, paths)
    start = time.monotonic()
    fd = _wait_for(lambda: _try_file(path), path, patience)
    try:
        held = Held(path, fd, time.monotonic() - start)
        held.note(b"")  # a run that was killed may have left something
        yield held
    finally:
        # While it is held; whoever opened this file before notices that it is gone.
        with contextlib.suppress(OSError):  # other interfaces have theirs in the directory
            path.unlink()
            paths.run.rmdir()
        os.close(fd)


@contextlib.contextmanager
def of_host(paths: Paths, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock of what the balancers of this host share; that of an interface is held already,
    and so its directory is there. Raises BusyError after `patience` seconds."""
    with told(f"open {paths.run}"):
        fd = os.open(paths.run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _wait_for(lambda: fd if _try(fd, fcntl.LOCK_EX) else None, paths.run, patience)
        yield
    finally:
        os.close(fd)


def notes(paths: Paths) -> dict[str, bytes]:
    """What the runs that are under way have noted, by the name of the interface.

    A run that ends has changed before what its note said, so ask for the notes first.
    """
    found = {}
    for path in paths.run.glob("*.lock"):
        with contextlib.suppress(FileNotFoundError, ValueError), path.open("rb") as file:
            if not _try(file.fileno(), fcntl.LOCK_SH):
                found[decode(path.stem)] = file.read()
    return found


@contextlib.contextmanager
def of_agent(paths: Paths) -> Iterator[Held]:
    """Be the agent of this host. What one that was killed has noted is there still. Raises
    BusyError if another is."""
    path = paths.run / _AGENT
    fd = _try_file(path)
    if fd is None:
        raise BusyError(f"{path} is held{_by_whom(path)}: another agent is at work")
    try:
        yield Held(path, fd, 0.0)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            paths.run.rmdir()
        os.close(fd)


def agent_is_there(paths: Paths) -> bool:
    """Whether an agent is at work on this host."""
    try:
        with (paths.run / _AGENT).open("rb") as file:
            return not _try(file.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def note_of_agent(paths: Paths) -> bytes:
    """What the agent of this host has noted; nothing if there is none."""
    try:
        with (paths.run / _AGENT).open("rb") as file:
            return b"" if _try(file.fileno(), fcntl.LOCK_SH) else file.read(_MOST_NOTED)
    except OSError:
        return b""


def _file(interface: str, paths: Paths) -> Path:
    return paths.run / f"{encode(interface)}.lock"


def _wait_for(attempt: Callable[[], int | None], path: Path, patience: float) -> int:
    """What `attempt` returns in the end. Raises BusyError after `patience` seconds of None."""
    deadline = time.monotonic() + patience
    while True:
        fd = attempt()
        if fd is not None:
            return fd
        if time.monotonic() > deadline:
            raise BusyError(
                f"{path} has been held for {patience:.0f} seconds{_by_whom(path)}; another run is "
                "busy or stuck"
            )
        time.sleep(1 / _TRIES_PER_SECOND)


def _by_whom(path: Path) -> str:
    """In words, if the kernel tells (proc_locks(5)): it does not across containers."""
    with contextlib.suppress(OSError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 123 00:1a:4711 0 EOF
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
                return f" by process {fields[4]}"
    return ""


def _try_file(path: Path) -> int | None:
    """The locked file; None if another holds it, or has just removed what was opened here."""
    with told(f"make {path}"):
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileExistsError, FileNotFoundError):  # another run has just removed the directory
            return None
    with contextlib.suppress(FileNotFoundError):
        if _try(fd, fcntl.LOCK_EX) and os.path.samestat(os.fstat(fd), path.stat()):
            return fd
    os.close(fd)
    return None


def _try(fd: int, kind: int) -> bool:
    """Lock what is open, unless another holds it."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
