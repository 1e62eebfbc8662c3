# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the balancer needs of its host besides the network: the bpf file system, pins, the lock,
and a kernel that answers route lookups."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .bpf import Map, Program
from .errors import HostError

_LOCK_TRIES_PER_SECOND = 20


@dataclass(frozen=True)
class Paths:
    """Where things are on the host."""

    bpffs: Path = Path("/sys/fs/bpf")
    run: Path = Path("/run/l4lb")
    etc: Path = Path("/etc/l4lb")
    sysctl: Path = Path("/proc/sys")


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


# The bpf file system and pins


def bpffs_is_mounted(paths: Paths) -> bool:
    """Whether a bpf file system is mounted where pins go."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    for line in mounts:
        fields, _separator, rest = line.partition(" - ")
        if rest.startswith("bpf ") and fields.split()[4] == str(paths.bpffs):
            return True
    return False


def mount_bpffs(paths: Paths) -> None:
    """Mount a bpf file system where pins go, unless there is one."""
    if bpffs_is_mounted(paths):
        return
    with told(f"make {paths.bpffs}"):
        paths.bpffs.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", str(paths.bpffs).encode(), b"bpf", 0, b"mode=0700") != 0:
        error = os.strerror(ctypes.get_errno())
        raise HostError(f"mount a bpf file system on {paths.bpffs}: {error}; mount it by hand")


def encode(interface: str) -> str:
    """The interface's name as a file name of a bpf file system, which allows no dots."""
    plain = re.compile(rb"[A-Za-z0-9_-]")
    bytes_ = (bytes([byte]) for byte in interface.encode())
    return "".join(b.decode() if plain.fullmatch(b) else f"%{b[0]:02x}" for b in bytes_)


def decode(name: str) -> str:
    """The inverse of `encode`."""
    head, *rest = name.split("%")
    return (
        head.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
    ).decode()


def require_own(directory: Path) -> None:
    """Raises HostError if a directory is there in which others than root may put something.

    Unless systemd mounts it, anyone may make directories in a bpf file system.
    """
    with contextlib.suppress(FileNotFoundError):
        found = directory.lstat()
        is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not is_own or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise HostError(f"{directory} may be changed by others than root; remove it")


class Pins:
    """A directory of pins that belong together.

    A pin is replaced by renaming a new one over it, so that there is always one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def of(cls, interface: str, paths: Paths) -> Pins:
        """Where the balancer of an interface lives."""
        return cls(paths.bpffs / "l4lb" / encode(interface))

    @classmethod
    def staging(cls, interface: str, paths: Paths) -> Pins:
        """Where a new program of an interface finds the maps it shall use."""
        return cls(paths.bpffs / "l4lb" / (encode(interface) + "%new"))

    def create(self) -> None:
        """Make the directory, for root only."""
        for directory in (self.directory.parent, self.directory):
            with told(f"make {directory}"):
                directory.mkdir(mode=0o700, exist_ok=True)
            require_own(directory)

    def program(self) -> Program | None:
        """The pinned program; None if there is none. Raises HostError if it may be anyone's."""
        require_own(self.directory.parent)
        require_own(self.directory)
        path = self.directory / "program"
        return Program.open_pin(str(path)) if path.exists() else None  # without libbpf, too

    def map(self, name: str) -> Map | None:
        """The pinned map of this name; None if there is none."""
        return Map.open_pin(str(self.directory / name))

    def set(self, name: str, thing: Map | Program) -> None:
        """Make `name` the pin of `thing`, whatever it was before."""
        path = self.directory / name
        new = self.directory / f"{name}%new"
        with told(f"pin {path}"):
            new.unlink(missing_ok=True)
            thing.pin(str(new))
            new.rename(path)

    def complete(self, program: Program, maps: Mapping[str, Map]) -> bool:
        """Whether the pins are those of `program` and `maps`, and no others."""
        if not self.directory.is_dir():
            return False
        if {path.name for path in self.directory.iterdir()} != {"program", *maps}:
            return False
        pinned = self.program()
        if pinned is None or pinned.id != program.id:
            return False
        for name, map_ in maps.items():
            found = self.map(name)
            if found is None or found.id != map_.id:
                return False
        return True

    def drop_others(self, names: Collection[str]) -> None:
        """Remove all pins but these."""
        with told(f"remove pins from {self.directory}"):
            for path in self.directory.iterdir():
                if path.name not in names:
                    path.unlink()

    def exists(self) -> bool:
        """Whether there is anything to remove."""
        return self.directory.exists() or is_empty(self.directory.parent)

    def remove(self) -> None:
        """Remove the pins, and the directory above if it is empty then."""
        if self.directory.is_dir():
            with told(f"remove {self.directory}"):
                for path in self.directory.iterdir():
                    path.unlink()
                self.directory.rmdir()
        with contextlib.suppress(OSError):
            self.directory.parent.rmdir()


def pinned_interfaces(paths: Paths) -> list[str]:
    """The interfaces that have a balancer, attached or not. Raises HostError if others than root
    may have made them up."""
    parent = paths.bpffs / "l4lb"
    require_own(parent)
    if not parent.is_dir():
        return []
    names = sorted(path.name for path in parent.iterdir() if (path / "program").exists())
    return [decode(name) for name in names if not name.endswith("%new")]


# One writer at a time


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


# Route lookups


def routing_answers(paths: Paths, version: int) -> bool:
    """Whether the kernel answers the data plane's route lookups of this IP version.

    It refuses them for an interface that does not forward. The data plane asks from the loopback
    interface, where forwarding lets nothing through that was not let through before.
    """
    path = _forwarding(paths, version, "lo")
    return not path.exists() or path.read_text(encoding="ascii").strip() != "0"


def let_routing_answer(paths: Paths, version: int) -> None:
    """Make the kernel answer the data plane's route lookups of this IP version."""
    path = _forwarding(paths, version, "lo")
    with told(f"write {path}"):
        path.write_text("1\n", encoding="ascii")


def restore_routing(paths: Paths, version: int) -> None:
    """Undo `let_routing_answer`: loopback forwards again as all others do."""
    path, everywhere = (_forwarding(paths, version, name) for name in ("lo", "all"))
    if path.exists() and path.read_text(encoding="ascii") != everywhere.read_text(encoding="ascii"):
        with told(f"write {path}"):
            path.write_text(everywhere.read_text(encoding="ascii"), encoding="ascii")


def _forwarding(paths: Paths, version: int, interface: str) -> Path:
    return paths.sysctl / f"net/ipv{version}/conf/{interface}/forwarding"
