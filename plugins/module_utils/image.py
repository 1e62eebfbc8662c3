# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the maps hold: which numbers services and backends have, and the bytes that follow.

The maps say how packets are balanced, not what things are called. That is in the manifest, a map
of its own that lives and dies with them; each service table names the manifest it belongs to.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from . import layout, schedulers
from .errors import ConfigError, L4lbError
from .model import PROTOCOLS, Address, Backend, Config, Network, Service, ServiceKey, parse_config

BackendKey = tuple  # (service address, port, protocol, backend address)

_LEAST_TABLES = 16


@dataclass(frozen=True)
class Receivers:
    """The interfaces by which the host's stack receives frames that come in by the balanced one."""

    macs: tuple[str, ...] = ()
    """Their MAC addresses, without that of the balanced one."""
    by_vlan: Mapping[int, int] = field(default_factory=dict)
    """VLAN, 0 for none -> the index of the interface for frames to any of these addresses, ..."""
    by_mac: Mapping[str, int] = field(default_factory=dict)
    """... but for these, which one interface alone has."""


@dataclass(frozen=True)
class Source:
    """What the balanced interface itself has: its first addresses, MAC address and MTU; what is
    above it; the MTUs of routes to backends, of those that have one; and how frames leave by the
    host's interfaces."""

    address: IPv4Address | None
    mac: str
    address6: IPv6Address | None = None
    mtu: int = 1500
    receivers: Receivers = field(default_factory=Receivers)
    route_mtus: Mapping[Address, int] = field(default_factory=dict)
    egresses: Mapping[layout.EgressKey, layout.Egress] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A lookup table in the kernel: its index, what it was made from, and what it must contain."""

    index: int
    digest: str
    checksum: int


@dataclass(frozen=True)
class Room:
    """How much the maps hold: backends, number 0 included, and lookup tables."""

    backends: int
    tables: int

    def __or__(self, other: Room) -> Room:
        """Room for either."""
        return Room(max(self.backends, other.backends), max(self.tables, other.tables))


@dataclass(frozen=True)
class Manifest:
    """What user space knows of the maps."""

    config: Config
    build: dict[str, Any] = field(default_factory=dict)
    generation: int = 0
    service_ids: dict[str, int] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    """Of services that have one; see `is_settled`."""
    numbers: dict[str, dict[Address, int]] = field(default_factory=dict)
    """Of the backends of each service, in their order."""
    past: dict[str, int] = field(default_factory=dict)
    """Service -> a number that is no backend's: there the counters of former backends go on."""
    next_number: int = 1
    second: set[str] = field(default_factory=set)
    """Services of whose backends the second records are in use."""
    route_mtus: dict[Address, int] = field(default_factory=dict)
    """As Source had them."""

    @property
    def all_numbers(self) -> set[int]:
        """Every number that is in use."""
        backends = {number for numbers in self.numbers.values() for number in numbers.values()}
        return backends | set(self.past.values())

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(
            {
                "config": self.config.dump(),
                "build": self.build,
                "generation": self.generation,
                "service_ids": self.service_ids,
                "tables": {
                    name: [table.index, table.digest, table.checksum]
                    for name, table in self.tables.items()
                },
                "numbers": {
                    service.name: [*self.numbers[service.name].values()]
                    for service in self.config.services
                },
                "past": self.past,
                "next_number": self.next_number,
                "second": sorted(self.second),
                "route_mtus": {str(address): mtu for address, mtu in self.route_mtus.items()},
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def load(cls, text: bytes) -> Manifest:
        """Read what `dump` wrote. Raises L4lbError if it is something else."""
        try:
            raw: dict[str, Any] = json.loads(text.rstrip(b"\0"))
            config = parse_config(raw["config"])
            return cls(
                config=config,
                build=raw["build"],
                generation=raw["generation"],
                service_ids=raw["service_ids"],
                tables={name: Table(*table) for name, table in raw["tables"].items()},
                numbers={
                    service.name: dict(
                        zip((b.address for b in service.backends), raw["numbers"][service.name])
                    )
                    for service in config.services
                },
                past=raw["past"],
                next_number=raw["next_number"],
                second=set(raw["second"]),
                route_mtus={ip_address(text): mtu for text, mtu in raw["route_mtus"].items()},
            )
        except (ValueError, KeyError, TypeError, L4lbError) as e:
            raise L4lbError(f"the manifest of the maps is not readable: {e}") from e


def place(
    config: Config, build: dict[str, Any], before: Manifest | None, capacity: int
) -> Manifest:
    """Find numbers for all of `config`; what `before` knows keeps its own.

    A service is known by its address, port and protocol, a backend by its address in a service.
    Numbers that are given up are reused as late as possible, so that a packet under way cannot
    count for the wrong one. `tables` of services that changed are left out: see `add_tables`.

    capacity: how many backends the maps hold, number 0 included.
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

    ids = {name: before.service_ids[old[name]] for name in old if old[name]}
    taken = set(before.service_ids.values())
    spare_ids = (number for number in range(layout.SERVICE_IDS) if number not in taken)
    ids.update((name, next(spare_ids)) for name in old if name not in ids)

    in_use = before.all_numbers
    next_number = before.next_number
    numbers: dict[str, dict[Address, int]] = {}
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
        numbers[service.name] = mine = {}
        for backend in service.backends:
            number = known.get(backend.address)
            if number is None:
                number, next_number = _spare(in_use, next_number, capacity)
                in_use.add(number)
            mine[backend.address] = number

    tables = {}
    for service in config.services:
        table = before.tables.get(old[service.name])
        if table is None or is_settled(service):
            continue
        if service.name in unchanged or table.digest == table_digest(
            service, config.hash_seed, numbers[service.name]
        ):
            tables[service.name] = table
    second = {name for name in old if old[name] in before.second}
    generation = before.generation + 1
    return Manifest(config, build, generation, ids, tables, numbers, past, next_number, second)


def _spare(in_use: set[int], start: int, capacity: int) -> tuple[int, int]:
    """The first number from `start` that is free, round and round, and the one to try next."""
    for step in range(capacity):
        number = (start + step) % capacity
        if number and number not in in_use:
            return number, (number + 1) % capacity
    raise L4lbError(f"all {capacity - 1} backend numbers are in use")


def room_for(before: Manifest | None, config: Config) -> Room:
    """How much the maps must hold, from few sizes, so that growing is rare.

    What is in use stays in use until the switch, so that both old and new need room.
    """
    both: dict[ServiceKey, list[Service]] = {}
    for service in (*(before.config.services if before else ()), *config.services):
        both.setdefault(service.key, []).append(service)
    need = sum(1 + _distinct_backends(services) for services in both.values()) + 1
    backends = next((size for size in (1024, 4096, 16384) if size >= need), 65536)
    # All that a change of states or weights can make need one, and at first twice as many: a change
    # of them all must not take another program.
    all_services = (*(before or Manifest(config)).config.services, *config.services)
    tables = sum(len(service.backends) > 1 for service in all_services)
    return Room(backends, max(_LEAST_TABLES, 1 << max(0, tables - 1).bit_length()))


def _distinct_backends(services: Sequence[Service]) -> int:
    """How many backends a service has in any of its states."""
    first = services[0].backends
    if all(service.backends == first for service in services):
        return len(first)
    return len({backend.address for service in services for backend in service.backends})


def is_settled(service: Service) -> bool:
    """Whether the service needs no lookup table: all new flows have the same backend, or none."""
    usable = (backend for backend in service.backends if backend.share)
    return len(list(itertools.islice(usable, 2))) < 2


def table_digest(service: Service, seed: int, numbers: dict[Address, int]) -> str:
    """Names all that a lookup table is made from."""
    parts = [service.scheduler, str(seed)]
    parts += (f"{b.address}={b.share}:{numbers[b.address]}" for b in service.backends)
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]


def lookup_table(service: Service, seed: int, numbers: dict[Address, int]) -> bytes:
    """A struct lookup_table for the service."""
    positions = _positions(
        service.scheduler, tuple((str(b.address), b.share) for b in service.backends), seed
    )
    by_position = [0, *(numbers[backend.address] for backend in service.backends)]
    table = array("H", map(by_position.__getitem__, positions))
    return table.tobytes().ljust(layout.LOOKUP_TABLE_SIZE, b"\0")


@functools.lru_cache(maxsize=64)
def _positions(scheduler: str, candidates: tuple[tuple[str, int], ...], seed: int) -> Sequence[int]:
    """The scheduler's table; services often have the same servers."""
    named = [schedulers.Candidate(*candidate) for candidate in candidates]
    if scheduler == "jhash":
        return schedulers.jhash(named)
    return schedulers.maglev(named, seed)


def checksum(table: bytes) -> int:
    """Of a lookup table, to see whether the kernel's is still the one that was written."""
    return zlib.crc32(table)


def service_entries(manifest: Manifest) -> Iterator[layout.ServiceEntry]:
    """All that belongs into the service table: services, and marks for packets without ports: of
    each address and protocol that has services with ports, and of each address that has any. A mark
    has the backends of a service, if one has any."""
    config = manifest.config
    marks: dict[tuple[Address, int], layout.ServiceEntry] = {}
    for service in config.services:
        entry = layout.ServiceEntry(
            service.address,
            service.port,
            PROTOCOLS[service.protocol],
            manifest.service_ids[service.name],
            _table_or_backend(service, manifest),
            _service_flags(service, manifest),
            config.udp_timeout,
        )
        yield entry
        for protocol in (entry.protocol, layout.PROTOCOL_ANY):
            known = marks.get((service.address, protocol))
            if known is None or _has_no_backend(known):
                marks[service.address, protocol] = _mark(entry, protocol)
    for service in config.services:
        if not service.port:
            marks.pop((service.address, PROTOCOLS[service.protocol]))
    yield from marks.values()


def _mark(entry: layout.ServiceEntry, protocol: int) -> layout.ServiceEntry:
    flags = entry.flags & (layout.SERVICE_SETTLED | layout.SERVICE_SECOND)
    flags |= layout.SERVICE_ADDRESS_ONLY
    return layout.ServiceEntry(entry.address, 0, protocol, table=entry.table, flags=flags)


def _has_no_backend(entry: layout.ServiceEntry) -> bool:
    return bool(entry.flags & layout.SERVICE_SETTLED) and not entry.table


def only_number(service: Service, manifest: Manifest) -> int:
    """The number of the backend that all new flows of a settled service have; 0 for none."""
    numbers = manifest.numbers[service.name]
    return sum(numbers[backend.address] for backend in service.backends if backend.share)


def _table_or_backend(service: Service, manifest: Manifest) -> int:
    if is_settled(service):
        return only_number(service, manifest)
    return manifest.tables[service.name].index


def _service_flags(service: Service, manifest: Manifest) -> int:
    flags = layout.SERVICE_JHASH if service.scheduler == "jhash" else 0
    flags |= layout.SERVICE_BY_SOURCE if service.affinity == "source" else 0
    flags |= layout.SERVICE_FLOW_TABLE if remembers(service, manifest.config) else 0
    flags |= layout.SERVICE_SETTLED if is_settled(service) else 0
    flags |= layout.SERVICE_SECOND if service.name in manifest.second else 0
    return flags


def remembers(service: Service, config: Config) -> bool:
    """Whether the service uses the flow table."""
    return service.flow_table and config.flow_table_size > 0


def outer_source(backend: Backend, service: Service, config: Config, source: Source) -> Network:
    """Where tunnels to a backend come from. Raises ConfigError if there is no such address."""
    version = backend.address.version
    option = "source_address" if version == 4 else "source_address6"
    given = config.source_address if version == 4 else config.source_address6
    if given is not None:
        return given
    own = source.address if version == 4 else source.address6
    if own is None:
        if service.encapsulation == "l2":
            return ip_network(bytes(4 if version == 4 else 16))
        raise ConfigError(
            option,
            None,
            f"{config.interface} has no IPv{version} address, other than those of services, for "
            f"tunnels to {backend.address}; give it one, or set this option",
        )
    return ip_network(own)


def own_macs(config: Config, source: Source) -> tuple[str, ...]:
    """All MAC addresses of frames to the balancer, the interface's first. Raises ConfigError if
    these are too many."""
    others = {*source.receivers.macs, *config.own_macs} - {source.mac}
    if len(others) >= layout.OWN_MACS:
        raise ConfigError(
            "own_macs",
            f"{len(others) + 1} addresses",
            f"at most {layout.OWN_MACS} fit, with those of {config.interface} itself, of the "
            "bridge or bond that it is a port of, and of VLAN and macvlan devices on them",
        )
    return (source.mac, *sorted(others))


def receivers(own_macs: Sequence[str], source: Source) -> dict[int, int]:
    """As in struct service_table."""
    by_mac = source.receivers.by_mac
    places = {
        layout.VLANS + place: by_mac[mac] for place, mac in enumerate(own_macs) if mac in by_mac
    }
    return {**source.receivers.by_vlan, **places}


def source_of(table: bytes, now: Source) -> Source:
    """What the interface had when a struct service_table was made, as far as it holds that; the
    rest is as it is now."""
    macs, indices = layout.unpack_receivers(table)
    mac, *others = macs or ("00:00:00:00:00:00",)
    by_vlan = {place: index for place, index in indices.items() if place < layout.VLANS}
    by_mac = {
        macs[place - layout.VLANS]: index
        for place, index in indices.items()
        if layout.VLANS <= place < layout.VLANS + len(macs)
    }
    return replace(now, mac=mac, receivers=Receivers(tuple(others), by_vlan, by_mac))


def backend_records(manifest: Manifest, source: Source) -> dict[int, bytes]:
    """Number -> struct backend."""
    config, routes, records = manifest.config, manifest.route_mtus, {}
    for service in config.services:
        numbers = manifest.numbers[service.name].values()
        packers: dict[tuple[object, ...], Callable[[Address], bytes]] = {}
        for backend, number in zip(service.backends, numbers):
            mac = backend.mac or config.gateway_mac
            limits = (source.mtu if mac else routes.get(backend.address), backend.mtu)
            mtu = min(filter(None, limits), default=0)
            takes_flows = backend.share > 0
            kind = (backend.address.version, backend.state, takes_flows, mac, mtu)
            if kind not in packers:
                packers[kind] = layout.BackendRecord(
                    address=backend.address,
                    source=outer_source(backend, service, config, source),
                    encapsulation=service.encapsulation,
                    service=manifest.service_ids[service.name],
                    inner_version=service.address.version,
                    keeps_flows=backend.state != "disabled",
                    takes_flows=takes_flows,
                    gue_port=config.gue_port,
                    mac=mac,
                    source_mac=source.mac,
                    mtu=mtu,
                ).packer()
            records[number] = packers[kind](backend.address)
    return records


def features(config: Config) -> list[str]:
    """The -D flags for what some service uses."""
    found = {"WITH_IPV4", "WITH_MAGLEV", "WITH_IPIP"} if not config.services else set()
    for service in config.services:
        found.add(f"WITH_IPV{service.address.version}")
        found.add(f"WITH_{service.scheduler.upper()}")
        found.add(f"WITH_{service.encapsulation.upper()}")
        if service.port == 0:
            found.add("WITH_ANY_PORT")
        if service.affinity == "source":
            found.add("WITH_BY_SOURCE")
        if remembers(service, config):
            found.add("WITH_FLOW_TABLE")
    for given in (config.source_address, config.source_address6):
        if given is not None and given.prefixlen < given.max_prefixlen:
            found.add("WITH_SPREAD")
    return [f"-D{name}" for name in sorted(found)]


def flow_blocks(config: Config) -> int:
    """How many blocks of 1024 flows the flow table has per CPU: a power of two."""
    blocks = -(-config.flow_table_size // layout.FLOW_BLOCK_FLOWS)
    return 1 << max(0, blocks - 1).bit_length()


def spare_tables(used: Iterable[int]) -> Iterator[int]:
    """Indices of lookup tables that nobody uses, from 0 on."""
    taken = set(used)
    return (index for index in itertools.count() if index not in taken)
