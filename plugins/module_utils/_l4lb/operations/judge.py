# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From verdicts about backends to the data plane, by one exchange of the service table.

That is what any change is, but this one comes often and shall take effect at once, also where one
server is behind many services. So the manifest stays as it is, only slots that change hands are
written, and what is the same for several services is computed once.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, count
from operator import ne

from ..balancer import live, observe
from ..balancer.balancer import Balancer
from ..datapath.program import DataPath
from ..kernel import lock
from ..kernel.maps import Array
from ..kernel.pins import Pins
from ..kernel.undo import Undo
from ..maps import backend_record, image, numbering
from ..maps.health import Health
from ..maps.image import Deal, Image
from ..maps.manifest import LookupTable, Manifest, checksum
from ..model.config import Address, Service
from ..model.interface import Ingress
from ..model.options import STATES
from ..model.standing import Standing, Verdicts, kept_verdicts

_Patch = Sequence[tuple[int, int]]
"""Slots that change hands, and the places of their new backends in the service, from 1 on."""
_Record = tuple[int, bytes, bytes]
"""An element of the map of backends: its number, as it is, and as it becomes."""


@dataclass
class Judged:
    """A data plane, and the state that the last exchange has brought about, or has found."""

    data_path: DataPath
    manifest: Manifest
    ingress: Ingress
    table: int
    """The id of the service table."""
    deals: dict[tuple[str, tuple[int, ...]], Deal] = field(default_factory=dict)

    @classmethod
    def found(cls, data_path: DataPath, manifest: Manifest, ingress: Ingress) -> Judged:
        """One that does what this says, as it is now."""
        table = data_path.services.inner(0)
        return cls(data_path, manifest, ingress, table.id if table else 0)

    def deal(self, service: Service, stands: Standing) -> Deal:
        """What the table of a service is dealt from, found out once."""
        key = service.name, stands.members
        if key not in self.deals:
            self.deals[key] = image.deal(service, self.manifest.config.hash_seed, stands)
        return self.deals[key]

    def follow(self, verdicts: Mapping[str, Verdicts], pins: Pins) -> None:
        """As Judge.follow; pins: where the maps of the data plane are. The lock is held."""
        now = self.manifest
        services = {one.name: one for one in now.config.services if one.name in verdicts}
        wanted = {name: kept_verdicts(one, verdicts[name]) for name, one in services.items()}
        changed = {
            name: found for name, found in wanted.items() if found != now.verdicts.get(name, {})
        }
        if changed:
            self._switch(now.judged(changed), [services[name] for name in changed], pins)

    def _switch(self, after: Manifest, services: Sequence[Service], pins: Pins) -> None:
        """The exchange. Records are changed while they are in use, as what changes of them is in
        one word, which packets find as it was or as it becomes: of backends that are to take flows
        before, of others afterwards."""
        data_path = self.data_path
        after = replace(after, tables=_tables(self, after, services))
        more, less = _records(self, after, services)
        health = Array.create("health", Health.by(after).dump())
        manifest_map = data_path.manifest_map.id if data_path.manifest_map else 0
        content = Image(after, self.ingress, {}).service_table(manifest_map, health.id)
        table = Array.create("service_table", content)
        with Undo() as undo:
            pins.set("health%next", health)  # else it would go with this process
            undo.add(data_path.backends.update_many, [(n, was) for n, was, unused in more])
            data_path.backends.update_many((number, becomes) for number, unused, becomes in more)
            data_path.services.set_inner(0, table)
        self.manifest, self.table, data_path.health_map = after, table.id, health
        data_path.backends.update_many((number, becomes) for number, unused, becomes in less)
        pins.set("health", health)
        pins.drop_others({"program", *data_path.pinned_maps()})


class Judge:
    """Has the balancer of an interface follow verdicts."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer, self._places = balancer, balancer.places
        self._known: Judged | None = None

    def look(self) -> Manifest:
        """The state there is, which another run may have changed. Raises L4lbError, such as
        IdleError if there is none."""
        return self._current().manifest

    def follow(self, verdicts: Mapping[str, Verdicts], patience: float = 0.0) -> Manifest:
        """Have packets find the backends as these say; returns the state there is then.

        verdicts: of the services named, all that there are of each. What is said of backends and
            services that are not there (any more), or not checked, is left out.
        patience: seconds to wait for another run to end.

        Raises L4lbError of some kind; the data plane is then as before.
        """
        with lock.of_interface(self._balancer.interface, self._places.paths, patience):
            now = self._current()
            now.follow(verdicts, self._places.pins)
            return now.manifest

    def records(self, names: Collection[str]) -> dict[str, dict[Address, bytes]]:
        """The struct backend of each backend of these services, as packets of clients meet it."""
        now = self._current()
        manifest, backends = now.manifest, now.data_path.backends
        content = backends.read() if names else b""
        return {
            name: {
                address: backend_record.both_records(backends.element(content, number))[
                    name in manifest.second
                ]
                for address, number in numbers.items()
            }
            for name, numbers in manifest.numbers.items()
            if name in names
        }

    @property
    def known(self) -> Judged | None:
        """What was there at the last look; None before the first."""
        return self._known

    @property
    def ingress(self) -> Ingress | None:
        """What the interface has; None before the first look."""
        return self._known.ingress if self._known else None

    @property
    def program(self) -> int:
        """The id of the program; 0 before the first look."""
        return self._known.data_path.program.id if self._known else 0

    # What is there

    def _current(self) -> Judged:
        known = self._known
        if known is None or not self._is_current(known):
            known = self._known = self._read()
        return known

    def _read(self) -> Judged:
        found, data_path, manifest = live.at_work(self._places, or_paused=True)
        now = observe.ingress_of(found.link, manifest.config)
        return Judged.found(data_path, manifest, observe.ingress_then(data_path, manifest, now))

    def _is_current(self, known: Judged) -> bool:
        pinned = self._places.pins.program()
        table = known.data_path.services.inner(0)
        return bool(
            pinned and table and pinned.id == known.data_path.program.id and table.id == known.table
        )


def _tables(known: Judged, after: Manifest, services: Sequence[Service]) -> dict[str, LookupTable]:
    """Of all services; those of these are written where no packet looks yet."""
    before, seed = known.manifest, after.config.hash_seed
    tables = dict(before.tables)
    spare = numbering.spare_tables(table.index for table in before.tables.values())
    patches: dict[object, _Patch] = {}
    for service in services:
        name, numbers = service.name, after.numbers[service.name]
        was, becomes = before.standings[name], after.standings[name]
        old = tables.pop(name, None)
        if becomes.is_settled:
            continue
        if old is None or was.members != becomes.members:
            content = image.lookup_table(service, seed, numbers, becomes)
            digest = numbering.digest_of(after, service)
        else:
            dealt = known.deal(service, was)
            key = (dealt, *map(_differs, (was, becomes)))
            if key not in patches:
                patches[key] = _patch(dealt, was, becomes)
            content = _patched(known.data_path, old, [*numbers.values()], patches[key])
            digest = image.digest_without(old.digest, becomes)
        index = next(spare)
        known.data_path.lookup_tables.update(index, content)
        tables[name] = LookupTable(index, digest, checksum(content))
    return tables


def _differs(stands: Standing) -> object:
    """What makes the table of a standing another one than that which is dealt."""
    return stands.absent, tuple(stands.partly.items())


def _patch(dealt: Deal, was: Standing, becomes: Standing) -> _Patch:
    before, after = image.positions(dealt, was), image.positions(dealt, becomes)
    return [(slot, after[slot]) for slot in compress(count(), map(ne, before, after))]


def _patched(data_path: DataPath, old: LookupTable, numbers: Sequence[int], patch: _Patch) -> bytes:
    """A lookup table as the kernel has it, with other backends in some slots."""
    content = array("H", data_path.lookup_tables.lookup(old.index) or b"")
    for slot, place in patch:
        content[slot] = numbers[place - 1] if place else 0
    return content.tobytes()


def _records(
    known: Judged, after: Manifest, services: Sequence[Service]
) -> tuple[list[_Record], list[_Record]]:
    """Elements of the map of backends that change: those that get more flows, and the others."""
    more: list[_Record] = []
    less: list[_Record] = []
    for service in services:
        was, becomes = (each.standings[service.name] for each in (known.manifest, after))
        numbers = after.numbers[service.name]
        for place in {*was.aside, *becomes.aside}:
            old, new = was.backends[place], becomes.backends[place]
            if old.state == new.state:
                continue
            number = numbers[new.address]
            element = known.data_path.backends.lookup(number) or b""
            changed = b"".join(
                backend_record.with_flows(record, new.state != "disabled", new.share > 0)
                for record in backend_record.both_records(element)
            )
            gains = STATES.index(new.state) < STATES.index(old.state)
            (more if gains else less).append((number, element, changed))
    return more, less
