# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which numbers services and backends have."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import L4lbError
from ..model.config import Address, Config, Service
from ..model.standing import Verdict, Verdicts, verdicts_after
from . import layout
from .image import lookup_table, table_digest
from .manifest import LookupTable, Manifest, checksum


def place(
    config: Config,
    build: Mapping[str, Any],
    before: Manifest | None,
    capacity: int,
    newcomer: Verdict | None = None,
) -> Manifest:
    """Find numbers for all of `config`; what `before` knows keeps its own.

    A service is known by its address, port and protocol, a backend by its address in a service.
    Numbers that are given up are reused as late as possible, so that a packet under way cannot
    count for the wrong one. `tables` of services that changed are left out: see `with_tables`.

    capacity: how many backends the maps hold, number 0 included.
    newcomer: as of `verdicts_after`.
    """
    before = before or Manifest(Config(config.interface))
    old_services = {service.key: service for service in before.config.services}
    old_names = {key: service.name for key, service in old_services.items()}
    old = {service.name: old_names.get(service.key, "") for service in config.services}
    unchanged = {
        service.name
        for service in config.services
        if service == old_services.get(service.key) and config.hash_seed == before.config.hash_seed
    }

    ids = _service_ids(old, before)
    in_use = set(before.all_numbers)
    next_number = before.next_number
    numbers: dict[str, Mapping[Address, int]] = {}
    past: dict[str, int] = {}
    for service in config.services:
        former = before.past.get(old[service.name])
        if former is None:
            former, next_number = _spare(in_use, next_number, capacity)
            in_use.add(former)
        past[service.name] = former
        known = before.numbers.get(old[service.name], {})
        if service.name in unchanged:
            numbers[service.name] = known
            continue
        mine: dict[Address, int] = {}
        for backend in service.backends:
            number = known.get(backend.address)
            if number is None:
                number, next_number = _spare(in_use, next_number, capacity)
                in_use.add(number)
            mine[backend.address] = number
        numbers[service.name] = mine

    second = frozenset(name for name in old if old[name] in before.second)
    generation, verdicts = before.generation + 1, _verdicts(config, before, newcomer)
    placed = Manifest(config, build, generation, ids, {}, numbers, past, next_number, second)
    placed = replace(placed, verdicts=verdicts)
    return replace(placed, tables=_kept_tables(placed, before, old, unchanged))


def _service_ids(old: Mapping[str, str], before: Manifest) -> dict[str, int]:
    """old: service -> its name before; "" for a new one."""
    ids = {name: before.service_ids[old[name]] for name in old if old[name]}
    taken = set(before.service_ids.values())
    spare_ids = (number for number in range(layout.SERVICE_IDS) if number not in taken)
    ids.update((name, next(spare_ids)) for name in old if name not in ids)
    return ids


def _verdicts(config: Config, before: Manifest, newcomer: Verdict | None) -> dict[str, Verdicts]:
    """Of all services that have any."""
    old = {service.key: service for service in before.config.services}
    found = {}
    for service in config.services:
        was = old.get(service.key)
        verdicts = before.verdicts.get(was.name, {}) if was else {}
        if after := verdicts_after(was, service, verdicts, newcomer):
            found[service.name] = after
    return found


def _kept_tables(
    manifest: Manifest, before: Manifest, old: Mapping[str, str], unchanged: Collection[str]
) -> dict[str, LookupTable]:
    """The lookup tables that are still what their services need."""
    tables = {}
    for service in manifest.config.services:
        table = before.tables.get(old[service.name])
        if table is None or manifest.standings[service.name].is_settled:
            continue
        if service.name in unchanged or table.digest == digest_of(manifest, service):
            tables[service.name] = table
    return tables


def with_tables(
    manifest: Manifest, before: Manifest | None, repair: Collection[str], keep: bool
) -> tuple[Manifest, dict[int, bytes]]:
    """With the lookup tables that are missing, and these: index -> content.

    repair: services of `before` that get a new one in any case. keep: those that `place` has kept
    are there.
    """
    services = {service.name: service for service in manifest.config.services}
    former = before.config.services if before else ()
    damaged = {service.key for service in former if service.name in repair}
    tables = {
        name: table
        for name, table in manifest.tables.items()
        if keep and services[name].key not in damaged  # by now it may have another name
    }
    spare = spare_tables(table.index for table in (before.tables if before else {}).values())
    contents = {}
    for name, service in services.items():
        stands = manifest.standings[name]
        if name in tables or stands.is_settled:
            continue
        index, seed, numbers = next(spare), manifest.config.hash_seed, manifest.numbers[name]
        contents[index] = content = lookup_table(service, seed, numbers, stands)
        tables[name] = LookupTable(index, digest_of(manifest, service), checksum(content))
    return replace(manifest, tables=tables), contents


def digest_of(manifest: Manifest, service: Service) -> str:
    """Names all that the lookup table of a service is made from."""
    numbers, stands = manifest.numbers[service.name], manifest.standings[service.name]
    return table_digest(service, manifest.config.hash_seed, numbers, stands)


def _spare(in_use: set[int], start: int, capacity: int) -> tuple[int, int]:
    """The first number from `start` that is free, round and round, and the one to try next."""
    for step in range(capacity):
        number = (start + step) % capacity
        if number and number not in in_use:
            return number, (number + 1) % capacity
    raise L4lbError(f"all {capacity - 1} backend numbers are in use")


def spare_tables(used: Iterable[int]) -> Iterator[int]:
    """Indices of lookup tables that nobody uses, from 0 on."""
    taken = set(used)
    return (index for index in itertools.count() if index not in taken)
