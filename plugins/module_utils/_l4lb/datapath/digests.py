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
_NOBODY = 65535
"""In place of a number in a lookup table that is none of the service's backends."""
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


class Digests:
    """Those of a balancer."""

    def __init__(self, data_path: DataPath, manifest: Manifest) -> None:
        self._data_path, self._manifest = data_path, manifest
        services = manifest.config.services
        self._configured = {one.name: _digest(_configured(one)) for one in services}

    @property
    def configuration(self) -> str:
        """Of the settings of the interface and all services."""
        return _digest([settings(self._manifest.config), self._configured])

    def of_service(self, service: Service) -> dict[str, str]:
        """Three of a service: of its configuration, of the lookup table that the kernel has now,
        and of the states in which packets find its backends. Raises L4lbError."""
        manifest = self._manifest
        slots = flows.slots(self._data_path, service, manifest)
        return {
            "configuration": self._configured[service.name],
            "lookup_table": _table(slots, service, manifest),
            "states": _digest(_states(service, manifest)),
        }


def _configured(service: Service) -> dict[str, Any]:
    """As it was told, without states, which orders and checks change."""
    return {**service.options, "backends": [*map(_told, service.backends)]}


def _told(backend: Backend) -> dict[str, Any]:
    configured = backend.configured_weight
    return {
        "address": backend.options["address"],
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
        found.append([backend.options["address"], backend.state, share, held])
    return [stands.fails_open, *found]


def _table(slots: Sequence[int], service: Service, manifest: Manifest) -> str:
    """Backends in it are told by their places among all addresses in order, from 1 on."""
    backends = sorted(service.backends, key=lambda backend: backend.order)
    numbers = manifest.numbers[service.name]
    places = [_NOBODY] * (1 << 16)
    places[0] = 0
    for place, backend in enumerate(backends, 1):
        places[numbers[backend.address]] = place
    content = array("H", map(places.__getitem__, slots))
    names = ",".join(backend.options["address"] for backend in backends)
    return _shortened(names.encode() + content.tobytes())


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return _shortened(text.encode())


def _shortened(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
