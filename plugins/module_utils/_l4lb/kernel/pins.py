# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bpf file system, and what is pinned in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from ..errors import HostError, KernelError
from .bpf import Program
from .maps import Map
from .paths import Paths, is_empty, told

_STAGING = "%new"
"""Ends the name of a directory of pins that no interface can have: see `Pins.staging`."""


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
    bytes_ = (bytes([byte]) for byte in os.fsencode(interface))
    return "".join(b.decode() if plain.fullmatch(b) else f"%{b[0]:02x}" for b in bytes_)


def decode(name: str) -> str:
    """The inverse of `encode`; of another name, that name."""
    head, *rest = os.fsencode(name).split(b"%")
    try:
        return os.fsdecode(
            head + b"".join(bytes.fromhex(part[:2].decode()) + part[2:] for part in rest)
        )
    except ValueError:  # nothing that `encode` has made
        return name


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
        return cls(paths.bpffs / "l4lb" / (encode(interface) + _STAGING))

    def create(self) -> None:
        """Make the directory, for root only. The one above is shared, so the host's lock is held
        while this, or `remove`, is done to the pins of a balancer."""
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

    def set_all(self, things: Mapping[str, Map], suffix: str = "") -> None:
        """The same for several, whose names get the suffix."""
        for name, thing in things.items():
            self.set(name + suffix, thing)

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

    def things(self) -> dict[str, Map | Program | None] | None:
        """All that is there, by the name of the pin; None for what is no pin of ours, or all, if
        there is no directory."""
        if not self.directory.is_dir():
            return None
        found: dict[str, Map | Program | None] = {}
        for path in self.directory.iterdir():
            found[path.name] = None
            with contextlib.suppress(KernelError):
                is_program = path.name == "program"
                found[path.name] = self.program() if is_program else self.map(path.name)
        return found

    def put_back(self, things: Mapping[str, Map | Program | None] | None) -> None:
        """Have these pinned again, and nothing else: what `things` returned before."""
        if things is None:
            self.remove()
            return
        self.create()
        now = self.things() or {}
        for name, thing in things.items():
            there = now.get(name)
            if thing and (there is None or there.id != thing.id):
                self.set(name, thing)
        self.drop_others(things)

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


def all_pins(paths: Paths) -> list[tuple[str, Pins]]:
    """Every directory of pins, and the interface that it is of: one may have two, see `staging`.

    Raises HostError if others than root may have made them up.
    """
    parent = paths.bpffs / "l4lb"
    require_own(parent)
    found = sorted(parent.iterdir()) if parent.is_dir() else []
    return [(decode(path.name.removesuffix(_STAGING)), Pins(path)) for path in found]


def pinned_interfaces(paths: Paths) -> list[str]:
    """The interfaces that have a balancer, attached or not. Raises HostError if others than root
    may have made them up."""
    return [
        name
        for name, pins in all_pins(paths)
        if not pins.directory.name.endswith(_STAGING) and (pins.directory / "program").exists()
    ]
