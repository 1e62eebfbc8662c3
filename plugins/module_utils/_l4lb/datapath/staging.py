# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one state of the maps to another, in three steps.

`stage` writes what no packet can see yet, `switch` exchanges the service table, which is the one
moment at which the new state takes effect, and `finish` removes what is no longer used. Until then
the first two can be undone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..kernel.maps import Array
from ..kernel.undo import Undo
from ..maps import backend_record, image, numbering
from ..maps.health import Health
from ..maps.image import Image
from ..maps.manifest import Manifest, Refusal
from ..model.config import Address, Config
from ..model.interface import Ingress
from ..model.standing import Verdict
from . import counters
from .build import SHARED
from .compare import unlike
from .program import DataPath

_ROOM = 1024
"""Bytes for what is noted later."""


@dataclass(frozen=True)
class Staged:
    """What `stage` has written and `switch` will make current."""

    image: Image
    manifest_map: Array
    health_map: Array | None = None

    @property
    def maps(self) -> dict[str, Array]:
        """Those that come with it, by the name of the pin."""
        health = {"health": self.health_map} if self.health_map else {}
        return {"manifest": self.manifest_map, **health}

    @property
    def manifest(self) -> Manifest:
        """Of the new state."""
        return self.image.manifest

    def noted(self, refusal: Refusal | None) -> Staged:
        """The same, with a manifest that says this."""
        manifest = note(self.manifest_map, self.manifest, refusal)
        return replace(self, image=replace(self.image, manifest=manifest))


def stage(
    data_path: DataPath,
    config: Config,
    ingress: Ingress,
    build: Mapping[str, Any] | None = None,
    before: Manifest | None = None,
    repair: Sequence[str] = (),
    shared: Collection[str] = SHARED,
    route_mtus: Mapping[Address, int] | None = None,
    undo: Undo | None = None,
    newcomer: Verdict | None = None,
) -> Staged:
    """Write all of `config` that no packet can see before `switch`.

    before: the current state; what did not change keeps its numbers, and so its counters.
    repair: services whose lookup table is to be written anew, changed or not.
    shared: names of the maps that hold the current state, and so may be in use by packets.
    route_mtus: of the routes to backends that have one.
    undo: gets what puts everything back that a plan would find to differ.
    newcomer: as of `verdicts_after`.
    """
    in_use = before if "backends" in shared else None
    if in_use:
        _let_go(data_path, in_use)
    manifest = numbering.place(config, build or {}, before, data_path.room.backends, newcomer)
    keep = "lookup_tables" in shared
    manifest, tables = numbering.with_tables(manifest, before, repair, keep)
    refusal = before.refusal if before else None
    manifest = replace(manifest, route_mtus=route_mtus or {}, mtu=ingress.mtu, refusal=refusal)
    for index, content in tables.items():
        data_path.lookup_tables.update(index, content)
    new = image.draw(manifest, ingress)
    cpus = data_path.backend_cpus
    fresh = manifest.all_numbers - (before.all_numbers if before else set())
    cpus.update_many((number, cpus.empty) for number in fresh)
    if in_use:
        content = data_path.backends.read()
        new, was, becomes = new.beside(partial(data_path.backends.element, content))
        (undo or Undo()).add(data_path.backends.update_many, was.items())
        data_path.backends.update_many(becomes.items())
    else:
        data_path.backends.update_many((n, record * 2) for n, record in new.records.items())
    manifest_map = Array.create("manifest", new.manifest.dump() + bytes(_ROOM))
    return Staged(new, manifest_map, health_map_of(new.manifest))


def health_map_of(manifest: Manifest) -> Array | None:
    """A map that says what checks have found; None if that is nothing."""
    health = Health.of(manifest)
    return Array.create("health", health.dump()) if health else None


def note(manifest_map: Array, manifest: Manifest, refusal: Refusal | None) -> Manifest:
    """Have a manifest say this, which shows only when the program is attached; returns what the map
    says then: an older version left no room."""
    noted = replace(manifest, refusal=refusal)
    text = noted.dump()
    if len(text) > manifest_map.element_size:
        return manifest
    manifest_map.update(0, text.ljust(manifest_map.element_size, b"\0"))
    return noted


def switch(data_path: DataPath, staged: Staged, undo: Undo | None = None) -> None:
    """Make the staged state current for this program: one atomic exchange."""
    numbers = (map_.id for map_ in staged.maps.values())
    table = Array.create("service_table", staged.image.service_table(*numbers))
    before = data_path.services.inner(0)
    if undo and before:
        undo.add(_exchange, data_path, before, data_path.manifest_map, data_path.health_map)
    _exchange(data_path, table, staged.manifest_map, staged.health_map)


def _exchange(
    data_path: DataPath, table: Array, manifest_map: Array | None, health_map: Array | None
) -> None:
    data_path.services.set_inner(0, table)
    data_path.manifest_map, data_path.health_map = manifest_map, health_map


def finish(data_path: DataPath, staged: Staged) -> None:
    """Update the records that are not in use; drop those of what has gone."""
    records = staged.image.records
    outdated = unlike(data_path.backends, records)
    data_path.backends.update_many((n, records[n] * 2) for n in outdated if n in records)
    _let_go(data_path, staged.manifest)


def _let_go(data_path: DataPath, manifest: Manifest) -> None:
    """Empty the records of backends that `manifest` does not have: of those that have gone, and
    what an interrupted run has left. Their service remembers their counters."""
    backends, cpus = data_path.backends, data_path.backend_cpus
    content, empty = backends.read(), bytes(backends.element_size)
    numbers = range(backends.shape.max_entries)
    others = (number for number in numbers if number not in manifest.backend_numbers)
    services = {
        number: backend_record.service_of(both)
        for number in others
        if (both := backends.element(content, number)) != empty
    }
    backends.update_many((number, empty) for number in services)
    heirs = {manifest.service_ids[name]: number for name, number in manifest.past.items()}
    for number, service in services.items():
        if service in heirs:
            heir = heirs[service]
            counted = [cpus.lookup(heir) or b"", cpus.lookup(number) or b""]
            cpus.update(heir, counters.add(cpus, counted))
