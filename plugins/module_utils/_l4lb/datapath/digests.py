# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the balancers of a fleet are compared by: versions, options and digests, each the same on
every balancer that was told the same, whatever it calls its interfaces.

So nothing is in them that is a host's own: names of interfaces, MAC addresses, where tunnels come
from, numbers of backends in the maps, the secret of the flow table. Of the seed there is what
people may see. A digest is 64 bits of a SHA-256, as 16 hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..maps.manifest import Manifest
from ..model.config import Backend, Config, Service
from . import flows
from .program import DataPath

COMMAND = Path("/usr/lib/l4lb/l4lb")
"""Where the role installs the command."""
_OF_A_HOST = ("interface", "source_address", "source_address6", "gateway_mac", "own_macs")
_OF_ALL = ("name", "address", "port", "protocol")


def versions(manifest: Manifest, command: Path = COMMAND) -> dict[str, str | None]:
    """Of all that a balancer is made of; None: not known."""
    build = manifest.build
    return {
        "collection": _collection(command),
        "program": str(build["sources"])[:16] if build.get("sources") else None,
        "bcc": build.get("bcc"),
        "kernel": platform.release(),
    }


def _collection(command: Path) -> str | None:
    """That the command is of, which is installed with the rest."""
    try:
        with zipfile.ZipFile(command) as archive:
            return archive.comment.decode() or None
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def settings(config: Config) -> dict[str, Any]:
    """Options of an interface."""
    given = config.options(shown=True)
    return {name: value for name, value in given.items() if name not in _OF_A_HOST}


def options(service: Service) -> dict[str, Any]:
    """Options of a service, beside those that facts have anyway."""
    return {name: value for name, value in service.options.items() if name not in _OF_ALL}


def of_balancer(config: Config) -> str:
    """Of the configuration of an interface: its settings and all services."""
    return _digest([settings(config), *map(_configured, config.services)])


def of_service(data_path: DataPath, service: Service, manifest: Manifest) -> dict[str, str]:
    """Three of a service: of its configuration, of the lookup table that the kernel has now, and of
    the states in which packets find its backends. Raises L4lbError."""
    return {
        "configuration": _digest(_configured(service)),
        "lookup_table": _table(flows.slots(data_path, service, manifest), service, manifest),
        "states": _digest(_states(service, manifest)),
    }


def _configured(service: Service) -> dict[str, Any]:
    """As it was told, without states, which orders and checks change."""
    return {**service.options, "backends": [*map(_told, service.backends)]}


def _told(backend: Backend) -> dict[str, Any]:
    configured = backend.configured_weight
    return {
        "address": str(backend.address),
        "weight": backend.weight if configured is None else configured,
        "mtu": backend.mtu,
        "backup": backend.backup,
    }


def _states(service: Service, manifest: Manifest) -> list[Any]:
    verdicts = manifest.verdicts.get(service.name, {})
    stands = manifest.standings[service.name]
    found = []
    for backend in sorted(stands.backends, key=lambda one: one.order):
        verdict = verdicts.get(backend.address)
        held = backend.weight if backend.configured_weight is not None else None
        share = 100 if verdict is None else verdict.share
        found.append([str(backend.address), backend.state, share, held])
    return [stands.fails_open, *found]


def _table(slots: Sequence[int], service: Service, manifest: Manifest) -> str:
    """Backends in it are told by their places among all addresses in order, from 1 on."""
    addresses = sorted(service.backends, key=lambda backend: backend.order)
    numbers = manifest.numbers[service.name]
    places = array("H", [0]) * (max(numbers.values(), default=0) + 1)
    for place, backend in enumerate(addresses, 1):
        places[numbers[backend.address]] = place
    names = [str(backend.address) for backend in addresses]
    unknown = set(slots).difference(numbers.values(), {0})
    if unknown:  # somebody has written there
        return _digest([names, *slots])
    content = array("H", map(places.__getitem__, slots))
    return hashlib.sha256(json.dumps(names).encode() + content.tobytes()).hexdigest()[:16]


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
