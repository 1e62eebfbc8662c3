# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of each interface on disk, from which it is restored after a reboot.

What a balancer does now is in the kernel; this file is what it shall do when the kernel has
forgotten. A new one is written beside the old one before a change, so that a full disk is noticed
while nothing has changed yet, and takes its place after it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import L4lbError
from ..kernel.paths import Paths, is_empty, read_file, told
from ..kernel.pins import decode, encode
from ..model.config import Config
from ..model.parse import parse_config

VERSION = 1
_REMEDY = "apply the configuration again"


class Saved:
    """The file of one interface."""

    def __init__(self, interface: str, paths: Paths) -> None:
        self.interface = interface
        self.path = paths.etc / f"{encode(interface)}.json"
        self._new = self.path.with_suffix(".json.new")
        self._mark = self.path.with_suffix(".paused")

    def read(self) -> Config | None:
        """The state that is saved; None if there is none. Raises L4lbError if it is unreadable."""
        raw = self._read()
        if raw is None:
            return None
        try:
            config = parse_config(raw)
        except L4lbError as e:
            raise L4lbError(f"{self.path}: {e}; {_REMEDY}") from e
        if config.interface != self.interface:
            raise L4lbError(f"{self.path} is of the interface {config.interface}; {_REMEDY}")
        return config

    def holds(self, config: Config) -> bool:
        """Whether the file says this, and no interrupted run has left another one beside it."""
        try:
            return bool(self._read() == config.dump()) and not self._new.exists()
        except L4lbError:
            return False

    def exists(self) -> bool:
        """Whether there is anything to remove."""
        there = (self.path, self._new, self._mark)
        return any(path.exists() for path in there) or is_empty(self.path.parent)

    def prepare(self, config: Config) -> None:
        """Write a new file beside the old one, down to the disk. Raises HostError."""
        with told(f"write {self._new}"):
            self._write(text(config.dump()).encode())

    def commit(self) -> None:
        """Put what `prepare` wrote in place of the old file. Raises HostError."""
        with told(f"write {self.path}"):
            self._new.replace(self.path)
            _sync(self.path.parent)

    def content(self) -> bytes | None:
        """The file as it is; None if there is none. Raises HostError."""
        with told(f"read {self.path}"):
            return self.path.read_bytes() if self.path.exists() else None

    def put_back(self, content: bytes | None) -> None:
        """Undo `commit`: have the file again that `content` returned before. Raises HostError."""
        if self.content() == content:
            return
        with told(f"write {self.path}"):
            if content is None:
                self.path.unlink()
            else:
                self._write(content)
                self._new.replace(self.path)

    def abandon(self) -> None:
        """Undo `prepare`."""
        with contextlib.suppress(OSError):
            self._new.unlink()
        with contextlib.suppress(OSError):  # others have theirs in it
            self.path.parent.rmdir()

    def set_aside(self) -> None:
        """Have no state saved, but so that `take_back` needs no room on the disk.

        Raises HostError.
        """
        if self.path.exists():
            with told(f"remove {self.path}"):
                self.path.replace(self._new)

    def take_back(self, content: bytes | None) -> None:
        """Undo `set_aside`, and `discard`: as `put_back`, but for the room. Raises HostError."""
        if content is not None and self._new.exists() and not self.path.exists():
            with told(f"write {self.path}"):
                self._new.replace(self.path)
        self.put_back(content)

    def discard(self) -> None:
        """Remove what is set aside, and the directory if it is empty then. Raises HostError."""
        with told(f"remove {self.path}"):
            self._new.unlink(missing_ok=True)
            self._mark.unlink(missing_ok=True)
        self.abandon()

    # Pauses

    @property
    def paused(self) -> int | None:
        """Since when the operator has the interface paused, in seconds since 1970; None: it is not
        paused."""
        try:
            return int(self._mark.stat().st_mtime)
        except OSError:
            return None

    def mark(self, since: int | None) -> None:
        """Have it paused, down to the disk; None: not paused. Raises HostError."""
        with told(f"write {self._mark}"):
            if since is None:
                self._mark.unlink(missing_ok=True)
            else:
                self._mark.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._mark.touch(mode=0o600)
                os.utime(self._mark, (since, since))
            if is_empty(self._mark.parent):
                self._mark.parent.rmdir()
            elif self._mark.parent.exists():
                _sync(self._mark.parent)

    def _write(self, content: bytes) -> None:
        """A new file beside the old one, down to the disk."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._new.unlink(missing_ok=True)
        fd = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)

    def _read(self) -> Any:
        """What the file says under "config"; None if there is no file. Raises L4lbError."""
        try:
            return config_in(json.loads(read_file(self.path)), str(self.path))
        except FileNotFoundError:
            return None
        except L4lbError as e:
            raise L4lbError(f"{e}; {_REMEDY}") from e
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
            raise L4lbError(f"{self.path} is not readable ({e!r}); {_REMEDY}") from e


def _sync(directory: Path) -> None:
    """Have the disk know which files there are. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def content(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is saved for what `Config.dump` gives."""
    return {"version": VERSION, "config": config}


def config_in(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The inverse of `content`. Raises L4lbError if another version wrote it, KeyError or TypeError
    if it is something else.

    name: of the file.
    """
    version, config = raw["version"], raw["config"]
    if version != VERSION or not isinstance(config, dict):
        raise L4lbError(f"{name} is of another version of the collection")
    return config


def saved_interfaces(paths: Paths) -> list[str]:
    """The interfaces whose state is saved."""
    names = []
    for path in paths.etc.glob("*.json"):
        with contextlib.suppress(ValueError):  # some other file
            names.append(decode(path.stem))
    return sorted(name for name in names if Saved(name, paths).path.exists())


def text(config: Mapping[str, Any]) -> str:
    """The file for what `Config.dump` gives: JSON with a line for each option of the configuration
    and for each backend."""
    options = {name: value for name, value in config.items() if name != "services"}
    lines = [f"    {_json(name)}: {_json(value)},\n" for name, value in options.items()]
    services = _rows([_service(one) for one in config["services"]], indent=6)
    return (
        f'{{\n  "version": {VERSION},\n  "config": {{\n{"".join(lines)}    "services": {services}\n'
        "  }\n}\n"
    )


def _service(service: Mapping[str, Any]) -> str:
    options = {name: value for name, value in service.items() if name != "backends"}
    start = "\n" + " " * 10
    # at once, as there may be very many; their values are numbers, addresses and single words
    rows = _json(service["backends"])[1:-1].replace("}, {", f"}},{start}{{")
    backends = f"[{start}{rows}{start[:-2]}]" if rows else "[]"
    return f'{_json(options)[:-1]},\n        "backends": {backends}\n      }}'


def _rows(items: Sequence[str], indent: int) -> str:
    """An array with an item a line."""
    if not items:
        return "[]"
    start = "\n" + " " * indent
    return f"[{start}{f',{start}'.join(items)}{start[:-2]}]"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
