# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane: a loaded program with its maps, and what is in them.

A change happens in three steps: `stage` writes what no packet can see yet, `switch` exchanges the
service table, which is the one moment at which the new state takes effect, and `finish` removes
what is no longer used. Until then the first two can be undone.
"""

from __future__ import annotations

import math
import operator
import os
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import L4lbError
from ..kernel import bpf, compiler
from ..kernel.bpf import Map, Program
from ..kernel.clock import ticks, ticks_per_second
from ..kernel.undo import Undo
from ..maps import (
    backend_record,
    egress_record,
    flow_table,
    image,
    layout,
    numbering,
    service_table,
    sizes,
)
from ..maps.manifest import Manifest, Table, checksum
from ..maps.reasons import ANSWERS, DROPS, FLOW_EVENTS
from ..maps.sizes import Room
from ..model.config import Address, Config, Service, is_settled
from ..model.interface import Source
from ..schedulers.jhash import JHASH_SLOTS
from .build import _FIXED_SHAPES, _PER_BACKEND, build_flags, program_text

PROGRAM = "l4lb"
_MOST_FLOWS_READ = 1 << 22
"""64 MB of a flow table, in a fraction of a second."""


@dataclass(frozen=True)
class Count:
    """Transmitted Ethernet frames and their bytes, encapsulation included."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.bytes + other.bytes)


@dataclass(frozen=True)
class Statistics:
    """All counters, summed over CPUs: by service name; by (service name, backend address); drops
    by reason; answers by kind; flows: what the flow table did."""

    services: dict[str, Count]
    backends: dict[tuple[str, Address], Count]
    drops: dict[str, int]
    answers: dict[str, int] = field(default_factory=dict)
    flows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Silences:
    """Seconds since the last packet of each flow: confirmed ones, and tentative ones, of which a
    single packet was seen."""

    confirmed: list[float] = field(default_factory=list)
    tentative: list[float] = field(default_factory=list)


@dataclass
class Staged:
    """What `stage` has written and `switch` will make current."""

    manifest: Manifest
    manifest_map: Map
    source: Source
    records: dict[int, bytes]
    """Of all backends: number -> struct backend."""


class DataPath:
    """A loaded program and its maps."""

    def __init__(self, program: Program, maps: Mapping[str, Map]) -> None:
        self.program = program
        self.maps = dict(maps)
        self.manifest_map: Map | None = None

    @classmethod
    def load(
        cls,
        sources: Mapping[str, str],
        config: Config,
        room: Room | None = None,
        flags: Sequence[str] = (),
    ) -> DataPath:
        """Compile and load a program that serves `config`. It is not attached, its maps are empty.

        flags: more -D flags; -DPIN_DIR="..." pins its maps there, and uses those that are there.

        Raises HostError or CompileError.
        """
        room = room or sizes.room_for(None, config)
        program = compiler.load(
            program_text(sources), [*build_flags(config, room), *flags], PROGRAM
        )
        made = cls(program, program.maps())
        key = made.maps.get("flow_key")
        if key and not made.flow_key:
            key.update(0, os.urandom(flow_table.FLOW_KEY_SIZE))
        if "all_flows" in made.maps:
            made.maps["all_flows"].set_inner(0, made.maps["flows"])
        return made

    @classmethod
    def of(cls, program: Program) -> DataPath | None:
        """The data path of a program in the kernel; None if the program is not ours."""
        maps = program.maps()
        if program.name != PROGRAM or not {"services", "lookup_tables", "backends"} <= set(maps):
            return None
        return cls(program, maps)

    def pinned_maps(self) -> dict[str, Map]:
        """The maps that are pinned, by the name of the pin."""
        maps = dict(self.maps)
        if self.manifest_map:
            maps["manifest"] = self.manifest_map
        return maps

    @property
    def flow_key(self) -> int:
        """The secret that flows are found by in the flow table; 0 if there is none."""
        content = self.maps["flow_key"].lookup(0) if "flow_key" in self.maps else None
        return int.from_bytes(content or b"", sys.byteorder)

    @property
    def room(self) -> Room:
        """How much the maps hold."""
        return Room(
            self.maps["backends"].shape.max_entries, self.maps["lookup_tables"].shape.max_entries
        )

    def read(self) -> Manifest | None:
        """What the maps hold; None if they are of another layout, or their manifest is lost or no
        longer readable."""
        table = self.maps["services"].inner(0)
        content = table.lookup(0) if table else None
        if content is None:  # before the first switch
            return None
        version, number = service_table.unpack_layout(content)
        if version != layout.VERSION:
            return None
        manifest_map = Map.by_id(number)
        if manifest_map is None:
            return None
        content = manifest_map.lookup(0) or b""  # where that fails, nothing is said of the maps
        try:
            manifest = Manifest.load(content)
        except L4lbError:
            return None
        self.manifest_map = manifest_map
        return manifest

    def differences(self, manifest: Manifest, source: Source) -> list[str]:
        """Where the maps do not hold what `manifest` says: names of services, "services" for the
        service table, "backends" for their records."""
        found = []
        header = _header(manifest, self.manifest_map, source)
        entries = image.service_entries(manifest)
        table = self.maps["services"].inner(0)
        if table is None or table.lookup(0) != service_table.pack_service_table(header, entries):
            found.append("services")
        for name, expected in manifest.tables.items():
            content = self.maps["lookup_tables"].lookup(expected.index) or b""
            if checksum(content) != expected.checksum:
                found.append(name)
        if self._unlike(image.backend_records(manifest, source)):
            found.append("backends")
        return found

    def source_then(self, now: Source) -> Source:
        """What the interface had when the current state was made, as far as the maps hold that."""
        table = self.maps["services"].inner(0)
        content = table.lookup(0) if table else None
        return image.source_of(content, now) if content else now

    def stage(
        self,
        config: Config,
        source: Source,
        build: dict[str, Any] | None = None,
        before: Manifest | None = None,
        repair: Sequence[str] = (),
        shared: Collection[str] = _FIXED_SHAPES.keys() | _PER_BACKEND.keys() | {"lookup_tables"},
        undo: Undo | None = None,
    ) -> Staged:
        """Write all of `config` that no packet can see before `switch`.

        before: the current state; what did not change keeps its numbers, and so its counters.
        repair: services whose lookup table is to be written anew, changed or not.
        shared: names of the maps that hold the current state, and so may be in use by packets.
        undo: gets what puts everything back that a plan would find to differ.
        """
        if before and "backends" in shared:
            self._let_go(before)
        manifest = numbering.place(config, build or {}, before, self.room.backends)
        manifest.route_mtus.update(source.route_mtus)
        if "lookup_tables" not in shared:
            manifest.tables.clear()
        damaged = {
            one.key for one in (before.config.services if before else ()) if one.name in repair
        }
        for service in config.services:
            if service.key in damaged:  # by now it may have another name
                manifest.tables.pop(service.name, None)
        used = [table.index for table in (before.tables if before else {}).values()]
        spare = numbering.spare_tables(used)
        for service in config.services:
            if service.name not in manifest.tables and not is_settled(service):
                self._write_table(service, manifest, next(spare))
        records = image.backend_records(manifest, source)
        empty = bytes(backend_record.BACKEND_CPU_SIZE * bpf.possible_cpus())
        self.maps["backend_cpus"].update_many(
            (number, empty)
            for number in manifest.all_numbers - (before.all_numbers if before else set())
        )
        if before and "backends" in shared:
            self._write_other_records(manifest, records, undo or Undo())
        else:
            pairs = ((number, record * 2) for number, record in records.items())
            self.maps["backends"].update_many(pairs)
        return Staged(manifest, Map.create_array("manifest", manifest.dump()), source, records)

    def egresses(self) -> dict[egress_record.EgressKey, egress_record.Egress]:
        """How frames leave by the host's interfaces, as was settled."""
        table = self.maps.get("egresses")
        found = table.items() if table else {}
        return dict(egress_record.unpack_egress(*item) for item in found.items())

    def write_egresses(
        self, wanted: Mapping[egress_record.EgressKey, egress_record.Egress]
    ) -> None:
        """Add and change these. Packets see them at once: what is true of the host's interfaces
        holds for any state."""
        there = self.egresses()
        for key, egress in wanted.items():
            if there.get(key) != egress:
                self.maps["egresses"].update(*egress_record.pack_egress(key, egress))

    def set_egresses(self, wanted: Mapping[egress_record.EgressKey, egress_record.Egress]) -> None:
        """Have these, and no others."""
        self.write_egresses(wanted)
        for key, egress in self.egresses().items():
            if key not in wanted:
                self.maps["egresses"].delete(egress_record.pack_egress(key, egress)[0])

    def _write_other_records(
        self, manifest: Manifest, records: Mapping[int, bytes], undo: Undo
    ) -> None:
        """Write the records of services of which any changes or is new, but those that their
        packets do not use now, and have these services go over; enter that in the manifest.

        Also of a new backend only one is written: a flow that is older than the number's last owner
        may remember it.
        """
        content = self.maps["backends"].lookup_all()
        was, becomes = {}, {}
        for service in manifest.config.services:
            numbers = manifest.numbers[service.name].values()
            second = service.name in manifest.second
            pairs = {number: _records_of(content, number) for number in numbers}
            if all(both[second] == records[number] for number, both in pairs.items()):
                continue
            manifest.second.symmetric_difference_update({service.name})
            for number, (first, other) in pairs.items():
                was[number] = first + other
                # what is in use is written too, but as it is
                becomes[number] = records[number] + other if second else first + records[number]
        undo.add(self.maps["backends"].update_many, was.items())
        self.maps["backends"].update_many(becomes.items())

    def _unlike(self, records: Mapping[int, bytes]) -> list[int]:
        """The numbers both of whose records are not as they shall be: these, or empty."""
        content, size = self.maps["backends"].lookup_all(), backend_record.BACKEND_RECORDS_SIZE
        expected = bytearray(len(content))
        for number, record in records.items():
            expected[number * size : (number + 1) * size] = record * 2
        if content == expected:
            return []
        starts = range(0, len(content), size)
        return [at // size for at in starts if content[at : at + size] != expected[at : at + size]]

    def _let_go(self, manifest: Manifest) -> None:
        """Empty the records of backends that `manifest` does not have: of those that have gone, and
        what an interrupted run has left. Their service remembers their counters."""
        content, known = self.maps["backends"].lookup_all(), _numbers(manifest)
        empty = bytes(backend_record.BACKEND_RECORDS_SIZE)
        services = {
            at // len(empty): backend_record.service_of(
                content[at : at + backend_record.BACKEND_SIZE]
            )
            for at in range(0, len(content), len(empty))
            if content[at : at + len(empty)] != empty and at // len(empty) not in known
        }
        self.maps["backends"].update_many((number, empty) for number in services)
        heirs = {manifest.service_ids[name]: number for name, number in manifest.past.items()}
        cpus = self.maps["backend_cpus"]
        for number, service in services.items():
            if service in heirs:
                heir = heirs[service]
                both = [cpus.lookup(heir) or b"", cpus.lookup(number) or b""]
                cpus.update(heir, _add_counters(both))

    def _write_table(self, service: Service, manifest: Manifest, index: int) -> None:
        """Write the lookup table of a service to `index`, and enter it in the manifest."""
        numbers, seed = manifest.numbers[service.name], manifest.config.hash_seed
        content = image.lookup_table(service, seed, numbers)
        manifest.tables[service.name] = Table(
            index, image.table_digest(service, seed, numbers), checksum(content)
        )
        self.maps["lookup_tables"].update(index, content)

    def switch(self, staged: Staged, undo: Undo | None = None) -> None:
        """Make the staged state current for this program: one atomic exchange."""
        header = _header(staged.manifest, staged.manifest_map, staged.source)
        entries = image.service_entries(staged.manifest)
        table = Map.create_array("service_table", service_table.pack_service_table(header, entries))
        before = self.maps["services"].inner(0)
        if undo and before:
            undo.add(self._exchange, before, self.manifest_map)
        self._exchange(table, staged.manifest_map)

    def _exchange(self, table: Map, manifest_map: Map | None) -> None:
        self.maps["services"].set_inner(0, table)
        self.manifest_map = manifest_map

    def finish(self, staged: Staged) -> None:
        """Update the records that are not in use; drop those of what has gone."""
        unlike = self._unlike(staged.records)
        pairs = {n: staged.records[n] * 2 for n in unlike if n in staged.records}
        self.maps["backends"].update_many(pairs.items())
        self._let_go(staged.manifest)

    def write(self, config: Config, source: Source) -> Manifest:
        """Make a program that is not attached do what `config` says."""
        self.set_egresses(source.egresses)
        staged = self.stage(config, source, before=self.read())
        self.switch(staged)
        self.finish(staged)
        return staged.manifest

    def copy_counters(self, other: DataPath) -> dict[str, bytes]:
        """Take over the counters of `other` from those of its maps that are not shared; returns
        what these held, by name."""
        copied = {}
        for name in ("drops", "answers", "flow_events", "backend_cpus"):
            mine, theirs = self.maps.get(name), other.maps.get(name)
            if mine is None or theirs is None or theirs.id == mine.id:
                continue
            if theirs.shape != replace(mine.shape, max_entries=theirs.shape.max_entries):
                continue
            values = copied[name] = theirs.lookup_all()
            count = min(theirs.shape.max_entries, mine.shape.max_entries)
            stride = len(values) // theirs.shape.max_entries
            mine.update_many((i, values[i * stride : (i + 1) * stride]) for i in range(count))
        return copied

    def catch_up(self, other: DataPath, copied: Mapping[str, bytes]) -> None:
        """Add what `other` has counted for backends since `copy_counters`; it has stopped by now.

        This program counts already. Of what it counts for a backend in the microseconds between
        reading and writing its counters, nothing remains.
        """
        before = copied.get("backend_cpus", b"")
        after = other.maps["backend_cpus"].lookup_all() if before else b""
        mine = self.maps["backend_cpus"]
        stride = backend_record.BACKEND_CPU_SIZE * bpf.possible_cpus()
        for at in range(0, len(before), stride):
            old, new = before[at : at + stride], after[at : at + stride]
            if old != new:
                number = at // stride
                mine.update(number, _add_counters([mine.lookup(number) or b"", new], less=old))

    def packets(self, number: int) -> int:
        """How many packets were sent to a backend."""
        record = self.maps["backend_cpus"].lookup(number) or b""
        return sum(
            backend_record.COUNTER.unpack_from(record, at)[0]
            for at in range(0, len(record), backend_record.BACKEND_CPU_SIZE)
        )

    def silences(
        self, owners: Collection[flow_table.FlowOwner]
    ) -> dict[flow_table.FlowOwner, Silences]:
        """How long the flows are silent that the flow table remembers of these owners."""
        flows: list[flow_table.RememberedFlow] = []
        if "flows" in self.maps:
            table = self.maps["flows"]
            for index in range(table.shape.max_entries):  # not all at once: it may be gigabytes
                flows += flow_table.flows_of(owners, table.lookup(index) or b"")
        now, second = ticks(), ticks_per_second()
        found: dict[flow_table.FlowOwner, dict[int, tuple[float, bool]]] = {o: {} for o in owners}
        for owner, fingerprint, tick, confirmed in flows:
            # each CPU that saw packets of a flow remembers it
            least, known = found[owner].get(fingerprint, (math.inf, False))
            silence = (now - tick) % 2**32 / second
            found[owner][fingerprint] = min(least, silence), known or confirmed
        return {
            owner: Silences(
                [silence for silence, confirmed in each.values() if confirmed],
                [silence for silence, confirmed in each.values() if not confirmed],
            )
            for owner, each in found.items()
        }

    def slots(self, service: Service, manifest: Manifest) -> Sequence[int]:
        """The lookup table of a service: slot -> number of a backend, 0 for none."""
        length = JHASH_SLOTS if service.scheduler == "jhash" else layout.TABLE_SLOTS
        if is_settled(service):
            return array("H", [image.only_number(service, manifest)]) * length
        content = self.maps["lookup_tables"].lookup(manifest.tables[service.name].index)
        return array("H", (content or bytes(layout.LOOKUP_TABLE_SIZE))[: 2 * length])

    def remembered_flows(self) -> dict[tuple[int, int], int]:
        """How many confirmed flows are remembered, by (id of the service, number of the backend).

        Those count that ended long ago: there is no telling. Of a very large table only a part is
        read; flows are spread evenly over it.
        """
        if "flows" not in self.maps:
            return {}
        flows = self.maps["flows"]
        blocks = flows.shape.max_entries
        read = max(1, _MOST_FLOWS_READ // (flow_table.FLOW_BLOCK_FLOWS * bpf.possible_cpus()))
        read = min(read, blocks)
        counts = Counter(memoryview(flows.lookup_all(read)).cast("I")[3::4])
        owners = ((flow_table.confirmed_owner(word), n) for word, n in counts.items())
        return {(owner[1], owner[0]): n * blocks // read for owner, n in owners if owner}

    def run(self, frame: bytes, index: int = 0) -> tuple[int, bytes]:
        """The verdict of the program on one frame, and what it makes of it.

        index: of the interface that it comes in by; 0: the loopback interface.
        """
        return self.program.test_run(frame, index=index)

    def statistics(self, manifest: Manifest | None = None) -> Statistics:
        """All counters of the services in `manifest`; default: what the maps hold."""
        manifest = manifest or self.read()
        if manifest is None:
            raise L4lbError("the maps do not say what they hold; apply the configuration again")
        sent = _Sums(self.maps["backend_cpus"], 2)
        drops, answers = _Sums(self.maps["drops"], 1), _Sums(self.maps["answers"], 1)
        backends = {
            (name, address): Count(*sent(number))
            for name, numbers in manifest.numbers.items()
            for address, number in numbers.items()
        }
        services = {name: Count(*sent(number)) for name, number in manifest.past.items()}
        for (name, _address), count in backends.items():
            services[name] += count
        flows: Sequence[int] = [0] * len(FLOW_EVENTS)
        if "flow_events" in self.maps:
            flows = _Sums(self.maps["flow_events"], len(FLOW_EVENTS))(0)
        return Statistics(
            services,
            backends,
            {reason: drops(number)[0] for number, reason in enumerate(DROPS, 1)},
            {kind: answers(number)[0] for number, kind in enumerate(ANSWERS)},
            dict(zip(FLOW_EVENTS, flows)),
        )


def _add_counters(records: Sequence[bytes], less: bytes = b"") -> bytes:
    """The first of some struct backend_cpu of all CPUs, with the counters of all of them, less
    those of another."""
    total = bytearray(records[0])
    for at in range(0, len(total), backend_record.BACKEND_CPU_SIZE):
        sums = [
            sum(each) for each in zip(*(backend_record.COUNTER.unpack_from(r, at) for r in records))
        ]
        minus = backend_record.COUNTER.unpack_from(less, at) if less else (0, 0)
        backend_record.COUNTER.pack_into(total, at, *map(operator.sub, sums, minus))
    return bytes(total)


class _Sums:
    """Index -> the first `fields` 64-bit counters of a per-CPU element, summed over the CPUs."""

    def __init__(self, map_: Map, fields: int) -> None:
        self._values = map_.lookup_all()
        self._stride = (map_.shape.value_size + 7) // 8 * 8
        self._counters = struct.Struct(f"={fields}Q")
        self._cpus = bpf.possible_cpus()

    def __call__(self, index: int) -> tuple[int, ...]:
        first = index * self._stride * self._cpus
        each = (
            self._counters.unpack_from(self._values, first + cpu * self._stride)
            for cpu in range(self._cpus)
        )
        return tuple(map(sum, zip(*each)))


def _header(
    manifest: Manifest, manifest_map: Map | None, source: Source
) -> service_table.ServiceHeader:
    """The head of the service table of a state."""
    config = manifest.config
    own_macs = image.own_macs(config, source)
    return service_table.ServiceHeader(
        layout.VERSION,
        manifest.generation,
        manifest_map.id if manifest_map else 0,
        flags=service_table.TABLE_DROPS_NO_SERVICE if config.no_service == "drop" else 0,
        seed=config.hash_seed,
        echo_rate=config.echo_rate,
        too_big_rate=config.too_big_rate,
        address=source.address,
        address6=source.address6,
        own_macs=own_macs,
        receivers=image.receivers(own_macs, source),
    )


def _records_of(content: bytes, number: int) -> tuple[bytes, bytes]:
    """Both records of a backend in what the map holds."""
    at, size = number * backend_record.BACKEND_RECORDS_SIZE, backend_record.BACKEND_SIZE
    return content[at : at + size], content[at + size : at + 2 * size]


def _numbers(manifest: Manifest | None) -> set[int]:
    """All backend numbers of a manifest."""
    if manifest is None:
        return set()
    return {number for numbers in manifest.numbers.values() for number in numbers.values()}
