# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real server has on disk: the desired state, from which it is restored after a reboot, and
what of the host it must give back.

The file is written before anything changes, so that what is to be given back survives a crash; a
run that fails puts the old one back.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ..errors import L4lbError
from ..kernel.paths import Paths, read_file, told
from ..model.config import Address
from .desired import Desired
from .options import parse_desired

_VERSION = 1


@dataclass(frozen=True)
class Memory:
    """sysctls: as they were before this server was set up. addresses: VIPs that were there already,
    which are not ours to remove."""

    desired: Desired = field(default_factory=Desired)
    sysctls: Mapping[str, int] = field(default_factory=dict)
    addresses: frozenset[Address] = frozenset()


def path(paths: Paths) -> Path:
    """Of the file; a folder of its own, as what is beside it is of balancers."""
    return paths.etc / "real-server" / "state.json"


def read(paths: Paths) -> Memory | None:
    """None if nothing is saved. Raises L4lbError."""
    file = path(paths)
    try:
        raw = json.loads(read_file(file))
        if raw["version"] != _VERSION:
            raise L4lbError(f"{file} is of another version of the collection; deploy again")
        return Memory(
            parse_desired(raw["config"]),
            {str(name): int(value) for name, value in raw["former"]["sysctls"].items()},
            frozenset(map(ip_address, raw["former"]["addresses"])),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise L4lbError(f"{file} is not readable ({e!r}); remove it, and deploy again") from e


def content(memory: Memory) -> bytes:
    """Of the file."""
    raw: dict[str, Any] = {
        "version": _VERSION,
        "config": memory.desired.dump(),
        "former": {
            "sysctls": dict(sorted(memory.sysctls.items())),
            "addresses": sorted(map(str, memory.addresses)),
        },
    }
    return (json.dumps(raw, indent=2) + "\n").encode()


def there(paths: Paths) -> bytes | None:
    """The content of the file; None if there is none. Raises HostError."""
    file = path(paths)
    with told(f"read {file}"):
        return file.read_bytes() if file.exists() else None


def put(content: bytes | None, paths: Paths) -> None:
    """Have a file of this, or none. Raises HostError."""
    file = path(paths)
    if content is None:
        with told(f"remove {file}"):
            file.unlink(missing_ok=True)
        for folder in (file.parent, file.parent.parent):
            with contextlib.suppress(OSError):  # other files are in it
                folder.rmdir()
        return
    with told(f"write {file}"):
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(fd)
        new.replace(file)
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
