# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data path: a loaded program and its maps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TypeVar

from ..errors import L4lbError
from ..kernel.bpf import Program
from ..kernel.maps import Array, ArrayOfMaps, Map, PerCpuArray, array_by_id, maps_of
from ..maps import layout, service_table
from ..maps.health import Health
from ..maps.manifest import Manifest
from ..maps.sizes import Room

PROGRAM = "l4lb"
AnyMap = TypeVar("AnyMap", bound=Map)
_KINDS: Mapping[str, type[Map]] = {
    "services": ArrayOfMaps,
    "lookup_tables": Array,
    "backends": Array,
}
"""Of the maps by which a program is known to be ours."""


class DataPath:
    """A loaded program and its maps."""

    def __init__(self, program: Program, maps: Mapping[str, Map]) -> None:
        self.program = program
        self.maps = dict(maps)
        self.manifest_map: Array | None = None
        self.health_map: Array | None = None

    @classmethod
    def of(cls, program: Program) -> DataPath | None:
        """The data path of a program in the kernel; None if the program is not ours."""
        maps = maps_of(program)
        if program.name != PROGRAM:
            return None
        if not all(isinstance(maps.get(name), kind) for name, kind in _KINDS.items()):
            return None
        return cls(program, maps)

    # Maps

    def pinned_maps(self) -> dict[str, Map]:
        """The maps that are pinned, by the name of the pin."""
        maps = dict(self.maps)
        if self.manifest_map:
            maps["manifest"] = self.manifest_map
        if self.health_map:
            maps["health"] = self.health_map
        return maps

    @property
    def services(self) -> ArrayOfMaps:
        """Holds the service table."""
        return self.of_kind("services", ArrayOfMaps)

    @property
    def lookup_tables(self) -> Array:
        """A struct lookup_table each."""
        return self._array("lookup_tables")

    @property
    def backends(self) -> Array:
        """Two struct backend each."""
        return self._array("backends")

    @property
    def backend_cpus(self) -> PerCpuArray:
        """A struct backend_cpu each."""
        return self.counters("backend_cpus")

    @property
    def flows(self) -> PerCpuArray | None:
        """A struct flow_block each; None if no service remembers flows."""
        return self.counters("flows") if "flows" in self.maps else None

    def counters(self, name: str) -> PerCpuArray:
        """A map of counters. Raises L4lbError if there is none."""
        return self.of_kind(name, PerCpuArray)

    def _array(self, name: str) -> Array:
        return self.of_kind(name, Array)

    def of_kind(self, name: str, kind: type[AnyMap]) -> AnyMap:
        """The map of this name. Raises L4lbError if there is none, or of another kind."""
        found = self.maps.get(name)
        if not isinstance(found, kind):
            raise L4lbError(
                f"the program has no map {name} as this version of the collection makes it; apply "
                "the configuration again"
            )
        return found

    # What they hold

    @property
    def flow_key(self) -> int | None:
        """The secret that flows are found by in the flow table; None if there is none."""
        if "flow_key" not in self.maps:
            return None
        return int.from_bytes(self._array("flow_key").lookup(0) or b"", sys.byteorder)

    @property
    def room(self) -> Room:
        """How much the maps hold."""
        return Room(self.backends.shape.max_entries, self.lookup_tables.shape.max_entries)

    def service_table(self) -> bytes | None:
        """The struct service_table in use; None before the first switch."""
        table = self.services.inner(0)
        return table.lookup(0) if table else None

    def read(self) -> Manifest | None:
        """What the maps hold; None if they are of another layout, or their manifest is lost or no
        longer readable."""
        content = self.service_table()
        if content is None:
            return None
        version, number, health = service_table.unpack_layout(content)
        manifest_map = array_by_id(number) if version == layout.VERSION else None
        health_map = array_by_id(health) if health else None
        if manifest_map is None or (health and health_map is None):
            return None
        # where a look-up fails, nothing is said of the maps
        text = manifest_map.lookup(0) or b""
        more = (health_map.lookup(0) or b"") if health_map else None
        try:
            manifest = Manifest.load(text)
            if more is not None:
                manifest = Health.load(more).onto(manifest)
        except L4lbError:
            return None
        self.manifest_map, self.health_map = manifest_map, health_map
        return manifest

    def run(self, frame: bytes, index: int = 0) -> tuple[int, bytes]:
        """The verdict of the program on one frame, and what it makes of it.

        index: of the interface that it comes in by; 0: the loopback interface.
        """
        return self.program.test_run(frame, index=index)
