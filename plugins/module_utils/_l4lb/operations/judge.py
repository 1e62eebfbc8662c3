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
class _Known:
    """The state that the last exchange has brought about, or has found."""

    data_path: DataPath
    manifest: Manifest
    ingress: Ingress
    table: int
    """The id of the service table."""
    deals: dict[tuple[str, tuple[int, ...]], Deal] = field(default_factory=dict)

    def deal(self, service: Service, stands: Standing) -> Deal:
        """What the table of a service is dealt from, found out once."""
        key = service.name, stands.members
        if key not in self.deals:
            self.deals[key] = image.deal(service, self.manifest.config.hash_seed, stands)
        return self.deals[key]


class Judge:
    """Has the balancer of an interface follow verdicts."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer, self._places = balancer, balancer.places
        self._known: _Known | None = None

    def look(self) -> Manifest:
        """The state there is, which another run may have changed. Raises L4lbError, such as
        IdleError if there is none."""
        known = self._known
        if known is None or not self._is_current(known):
            known = self._known = self._read()
        return known.manifest

    def follow(self, verdicts: Mapping[str, Verdicts], patience: float = 0.0) -> Manifest:
        """Have packets find the backends as these say; returns the state there is then.

        verdicts: of the services named, all that there are of each. What is said of backends and
            services that are not there (any more), or not checked, is left out.
        patience: seconds to wait for another run to end.

        Raises L4lbError of some kind; the data plane is then as before.
        """
        with lock.of_interface(self._balancer.interface, self._places.paths, patience):
            now = self.look()
            services = {one.name: one for one in now.config.services if one.name in verdicts}
            wanted = {name: kept_verdicts(one, verdicts[name]) for name, one in services.items()}
            changed = {
                name: found for name, found in wanted.items() if found != now.verdicts.get(name, {})
            }
            if changed and self._known:
                self._switch(self._known, now.judged(changed), [services[name] for name in changed])
                return self._known.manifest
            return now

    def records(self, names: Collection[str]) -> dict[str, dict[Address, bytes]]:
        """The struct backend of each backend of these services, as packets of clients meet it."""
        manifest = self.look()
        if self._known is None or not names:
            return {}
        backends = self._known.data_path.backends
        content = backends.read()
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
    def ingress(self) -> Ingress | None:
        """What the interface has; None before the first look."""
        return self._known.ingress if self._known else None

    # What is there

    def _read(self) -> _Known:
        found, data_path, manifest = live.at_work(self._places, or_paused=True)
        now = observe.ingress_of(found.link, manifest.config)
        table = data_path.services.inner(0)
        return _Known(
            data_path,
            manifest,
            observe.ingress_then(data_path, manifest, now),
            table.id if table else 0,
        )

    def _is_current(self, known: _Known) -> bool:
        pinned = self._places.pins.program()
        table = known.data_path.services.inner(0)
        return bool(
            pinned and table and pinned.id == known.data_path.program.id and table.id == known.table
        )

    # What changes

    def _switch(self, known: _Known, after: Manifest, services: Sequence[Service]) -> None:
        """The exchange. Records are changed while they are in use, as what changes of them is in
        one word, which packets find as it was or as it becomes: of backends that are to take flows
        before, of others afterwards."""
        data_path, pins = known.data_path, self._places.pins
        after = replace(after, tables=_tables(known, after, services))
        more, less = _records(known, after, services)
        health = Array.create("health", Health.by(after).dump())
        manifest_map = data_path.manifest_map.id if data_path.manifest_map else 0
        content = Image(after, known.ingress, {}).service_table(manifest_map, health.id)
        table = Array.create("service_table", content)
        with Undo() as undo:
            pins.set("health%next", health)  # else it would go with this process
            undo.add(data_path.backends.update_many, [(n, was) for n, was, unused in more])
            data_path.backends.update_many((number, becomes) for number, unused, becomes in more)
            data_path.services.set_inner(0, table)
        known.manifest, known.table, data_path.health_map = after, table.id, health
        data_path.backends.update_many((number, becomes) for number, unused, becomes in less)
        pins.set("health", health)
        pins.drop_others({"program", *data_path.pinned_maps()})


def _tables(known: _Known, after: Manifest, services: Sequence[Service]) -> dict[str, LookupTable]:
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
    known: _Known, after: Manifest, services: Sequence[Service]
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
