# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many neighbours the kernel keeps: of an IP version, in all network namespaces together.

Only the initial network namespace sees these limits (ip-sysctl: gc_thresh1 to gc_thresh3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..kernel.paths import Paths, told

_NAMES = ("gc_thresh1", "gc_thresh2", "gc_thresh3")
_COMMENT = "# Neighbours that the kernel keeps, for the backends of l4lb; see its manage_sysctls.\n"


class Limits(NamedTuple):
    """In numbers of neighbours: below the first none is forgotten, beyond the second the kernel
    forgets what nobody has used for 5 seconds, and the last is the end."""

    idle: int
    soft: int
    hard: int


def name(version: int, limit: str) -> str:
    """The sysctl of a field of Limits."""
    return f"net.ipv{version}.neigh.default.{_NAMES[Limits._fields.index(limit)]}"


def limits(paths: Paths, version: int) -> Limits | None:
    """Those of an IP version; None: this network namespace does not see them."""
    try:
        return Limits(*(_read(paths, name(version, limit)) for limit in Limits._fields))
    except (OSError, ValueError):
        return None


def file_of(paths: Paths) -> Path:
    """What sets them at boot."""
    return paths.sysctl_d / "60-l4lb.conf"


class Settings:
    """Some sysctls as they are, to have them so again."""

    def __init__(self, paths: Paths, names: Mapping[str, int]) -> None:
        """names: of the sysctls; their values do not matter. Raises HostError."""
        self._paths = paths
        with told(f"read {file_of(paths)}"):
            self._live = {each: _read(paths, each) for each in names}
            self._file = content(paths)

    def put_back(self) -> None:
        """Raises HostError."""
        _write_file(self._paths, self._file)
        _write_live(self._paths, self._live)


def set_limits(paths: Paths, values: Mapping[str, int]) -> None:
    """Set sysctls, by name, now and at each boot. Raises HostError."""
    known: dict[str, int] = {}
    for line in (content(paths) or "").splitlines():
        each, _equals, value = line.partition("=")
        with contextlib.suppress(ValueError):  # a comment, or what somebody else wrote
            known[each.strip()] = int(value)
    lines = (f"{each} = {value}\n" for each, value in sorted({**known, **values}.items()))
    _write_file(paths, _COMMENT + "".join(lines))
    _write_live(paths, values)


def forget_limits(paths: Paths) -> None:
    """Have them no longer set at boot. Until then they stay, as by now others may need them.

    Raises HostError.
    """
    _write_file(paths, None)


def content(paths: Paths) -> str | None:
    """What `file_of` says; None if there is none. Raises HostError."""
    file = file_of(paths)
    with told(f"read {file}"):
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else None


def _write_file(paths: Paths, text: str | None) -> None:
    file = file_of(paths)
    new = file.with_suffix(".conf.new")  # sysctl reads none of that name
    with told(f"write {file}"):
        if text is None:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(file)


def _write_live(paths: Paths, values: Mapping[str, int]) -> None:
    for each, value in values.items():
        with told(f"set {each}"):
            _path(paths, each).write_text(f"{value}\n", encoding="ascii")


def _read(paths: Paths, each: str) -> int:
    return int(_path(paths, each).read_text(encoding="ascii"))


def _path(paths: Paths, each: str) -> Path:
    return paths.sysctl / each.replace(".", "/")
