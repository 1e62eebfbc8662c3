# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the maps hold: which numbers services and backends have, and the bytes that follow.

The maps say how packets are balanced, not what things are called. That is in the manifest, a map
of its own that lives and dies with them; each service table names the manifest it belongs to.
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import NamedTuple

from ..errors import ConfigError
from ..model.config import Address, Backend, Config, Network, Service, remembers
from ..model.interface import Ingress, Receivers
from ..model.options import PROTOCOLS
from ..model.standing import Standing, standing
from ..schedulers.candidate import Candidate
from ..schedulers.fallback import fallback
from ..schedulers.jhash import jhash
from ..schedulers.maglev import maglev
from . import backend_record, layout, service_table
from .manifest import Manifest


@dataclass(frozen=True)
class Image:
    """All that the maps hold of a state, drawn once.

    records: number of a backend -> struct backend.
    """

    manifest: Manifest
    ingress: Ingress
    records: Mapping[int, bytes]

    def service_table(self, manifest_map: int, health_map: int = 0) -> bytes:
        """A struct service_table, which names the maps that hold the manifest and its health."""
        config, ingress = self.manifest.config, self.ingress
        macs = own_macs(config, ingress)
        header = service_table.ServiceHeader(
            layout.VERSION,
            self.manifest.generation,
            manifest_map,
            flags=service_table.TABLE_DROPS_NO_SERVICE if config.no_service == "drop" else 0,
            seed=config.hash_seed,
            echo_rate=config.echo_rate,
            too_big_rate=config.too_big_rate,
            own_macs=macs,
            receivers=receivers(macs, ingress),
            health=health_map,
        )
        return service_table.pack_service_table(header, service_entries(self.manifest))

    def beside(
        self, element: Callable[[int], bytes]
    ) -> tuple[Image, dict[int, bytes], dict[int, bytes]]:
        """The same beside what the map of backends holds now, while packets use that: with services
        gone over to the other record of their backends, if any of these changes or is new; and the
        elements of the map that become others, as they are and as they become.

        element: that of a number, in the map of backends.

        Also of a new backend only one record is written: a flow that is older than the number's
        last owner may remember it.
        """
        manifest, second = self.manifest, set(self.manifest.second)
        was, becomes = {}, {}
        for service in manifest.config.services:
            numbers = manifest.numbers[service.name].values()
            now_second = service.name in manifest.second
            pairs = {number: backend_record.both_records(element(number)) for number in numbers}
            if all(both[now_second] == self.records[number] for number, both in pairs.items()):
                continue
            second.symmetric_difference_update({service.name})
            for number, (first, other) in pairs.items():
                was[number] = first + other
                new = self.records[number]
                # what is in use is written too, but as it is
                becomes[number] = new + other if now_second else first + new
        return replace(self, manifest=replace(manifest, second=frozenset(second))), was, becomes


def draw(manifest: Manifest, ingress: Ingress) -> Image:
    """The image of a state, on an interface that has this."""
    return Image(manifest, ingress, backend_records(manifest, ingress))


class Deal(NamedTuple):
    """What a lookup table is dealt from: the scheduler, addresses and shares of the backends in
    their order, and the seed."""

    scheduler: str
    candidates: tuple[tuple[str, int], ...]
    seed: int


def deal(service: Service, seed: int, stands: Standing | None = None) -> Deal:
    """That of a service."""
    shares = (stands or standing(service)).shares(service)
    candidates = zip((str(backend.address) for backend in service.backends), shares)
    return Deal(service.scheduler, tuple(candidates), seed)


def positions(dealt: Deal, stands: Standing) -> Sequence[int]:
    """The lookup table by the places of backends, from 1 on; 0 for none."""
    if stands.is_whole:
        return _dealt(dealt)
    return _inherited(dealt, stands.usable, tuple(stands.partly.items()))


@functools.lru_cache(maxsize=64)
def _dealt(dealt: Deal) -> Sequence[int]:
    """The scheduler's table; services often have the same servers."""
    candidates = [Candidate(*each) for each in dealt.candidates]
    return jhash(candidates) if dealt.scheduler == "jhash" else maglev(candidates, dealt.seed)


@functools.lru_cache(maxsize=4)
def _inherited(
    dealt: Deal, usable: tuple[int, ...], partly: tuple[tuple[int, int], ...]
) -> Sequence[int]:
    """usable, partly: by place, from 0 on, as in a Standing."""
    positions = [place + 1 for place in usable]
    return fallback(_dealt(dealt), positions, {place + 1: share for place, share in partly})


def table_digest(
    service: Service, seed: int, numbers: Mapping[Address, int], stands: Standing | None = None
) -> str:
    """Names all that a lookup table is made from."""
    dealt = deal(service, seed, stands)
    parts = [dealt.scheduler, str(seed)]
    parts += (
        f"{address}={share}:{numbers[backend.address]}"
        for (address, share), backend in zip(dealt.candidates, service.backends)
    )
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]
    return digest_without(digest, stands) if stands else digest


def digest_without(digest: str, stands: Standing) -> str:
    """Of a table that was dealt alike, whoever was absent: of that for these."""
    dealt = digest.partition("-")[0]
    if stands.is_whole:
        return dealt
    words = [*map(str, stands.absent), *(f"{n}:{share}" for n, share in stands.partly.items())]
    return f"{dealt}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:32]}"


def lookup_table(
    service: Service, seed: int, numbers: Mapping[Address, int], stands: Standing | None = None
) -> bytes:
    """A struct lookup_table for the service."""
    found = positions(deal(service, seed, stands), stands or standing(service))
    by_position = [0, *(numbers[backend.address] for backend in service.backends)]
    table = array("H", map(by_position.__getitem__, found))
    return table.tobytes().ljust(layout.LOOKUP_TABLE_SIZE, b"\0")


def service_entries(manifest: Manifest) -> Iterator[service_table.ServiceEntry]:
    """All that belongs into the service table: services, and marks for packets without ports: of
    each address and protocol that has services with ports, and of each address that has any. A mark
    has the backends of a service, if one has any."""
    config = manifest.config
    marks: dict[tuple[Address, int], service_table.ServiceEntry] = {}
    for service in config.services:
        entry = service_table.ServiceEntry(
            service.address,
            service.port,
            PROTOCOLS[service.protocol],
            manifest.service_ids[service.name],
            _choice(service, manifest),
            _service_flags(service, manifest),
            config.udp_timeout,
        )
        yield entry
        for protocol in (entry.protocol, service_table.PROTOCOL_ANY):
            known = marks.get((service.address, protocol))
            if known is None or _has_no_backend(known):
                marks[service.address, protocol] = _mark(entry, protocol)
    for service in config.services:
        if not service.port:
            marks.pop((service.address, PROTOCOLS[service.protocol]))
    yield from marks.values()


def _mark(entry: service_table.ServiceEntry, protocol: int) -> service_table.ServiceEntry:
    flags = entry.flags & (service_table.SERVICE_SETTLED | service_table.SERVICE_SECOND)
    flags |= service_table.SERVICE_ADDRESS_ONLY
    return service_table.ServiceEntry(entry.address, 0, protocol, choice=entry.choice, flags=flags)


def _has_no_backend(entry: service_table.ServiceEntry) -> bool:
    return bool(entry.flags & service_table.SERVICE_SETTLED) and not entry.choice


def only_number(service: Service, manifest: Manifest) -> int:
    """The number of the backend that all new flows of a settled service have; 0 for none."""
    numbers = manifest.numbers[service.name]
    usable = manifest.standings[service.name].usable
    return sum(numbers[service.backends[place].address] for place in usable)


def _choice(service: Service, manifest: Manifest) -> int:
    if manifest.standings[service.name].is_settled:
        return only_number(service, manifest)
    return manifest.tables[service.name].index


def _service_flags(service: Service, manifest: Manifest) -> int:
    flags = service_table.SERVICE_JHASH if service.scheduler == "jhash" else 0
    flags |= service_table.SERVICE_BY_SOURCE if service.affinity == "source" else 0
    flags |= service_table.SERVICE_FLOW_TABLE if remembers(service, manifest.config) else 0
    settled = manifest.standings[service.name].is_settled
    flags |= service_table.SERVICE_SETTLED if settled else 0
    flags |= service_table.SERVICE_SECOND if service.name in manifest.second else 0
    return flags


def outer_source(backend: Backend, service: Service, config: Config, ingress: Ingress) -> Network:
    """Where tunnels to a backend come from. Raises ConfigError if there is no such address."""
    version = backend.address.version
    option = "source_address" if version == 4 else "source_address6"
    given = config.source_address if version == 4 else config.source_address6
    if given is not None:
        return given
    own = ingress.address if version == 4 else ingress.address6
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


def own_macs(config: Config, ingress: Ingress) -> tuple[str, ...]:
    """All MAC addresses of frames to the balancer, the interface's first. Raises ConfigError if
    these are too many."""
    others = {*ingress.receivers.macs, *config.own_macs} - {ingress.mac}
    if len(others) >= service_table.OWN_MACS:
        raise ConfigError(
            "own_macs",
            f"{len(others) + 1} addresses",
            f"at most {service_table.OWN_MACS} fit, with those of {config.interface} itself, of "
            "the bridge or bond that it is a port of, and of VLAN and macvlan devices on them",
        )
    return (ingress.mac, *sorted(others))


def receivers(own_macs: Sequence[str], ingress: Ingress) -> dict[int, int]:
    """As in struct service_table."""
    by_mac = ingress.receivers.by_mac
    places = {
        service_table.VLANS + place: by_mac[mac]
        for place, mac in enumerate(own_macs)
        if mac in by_mac
    }
    return {**ingress.receivers.by_vlan, **places}


def ingress_of(table: bytes, now: Ingress) -> Ingress:
    """What the interface had when a struct service_table was made, as far as it holds that; the
    rest is as it is now."""
    macs, indices = service_table.unpack_receivers(table)
    mac, *others = macs or ("00:00:00:00:00:00",)
    by_vlan = {place: index for place, index in indices.items() if place < service_table.VLANS}
    by_mac = {
        macs[place - service_table.VLANS]: index
        for place, index in indices.items()
        if service_table.VLANS <= place < service_table.VLANS + len(macs)
    }
    return replace(now, mac=mac, receivers=Receivers(tuple(others), by_vlan, by_mac))


def backend_records(manifest: Manifest, ingress: Ingress) -> dict[int, bytes]:
    """Number -> struct backend."""
    config, routes, records = manifest.config, manifest.route_mtus, {}
    for service in config.services:
        numbers = manifest.numbers[service.name].values()
        packers: dict[tuple[object, ...], Callable[[Address], bytes]] = {}
        for backend, number in zip(manifest.standings[service.name].backends, numbers):
            mac = backend.mac or config.gateway_mac
            limits = (ingress.mtu if mac else routes.get(backend.address), backend.mtu)
            mtu = min(filter(None, limits), default=0)
            takes_flows = backend.share > 0
            kind = (backend.address.version, backend.state, takes_flows, mac, mtu)
            if kind not in packers:
                packers[kind] = backend_record.BackendRecord(
                    address=backend.address,
                    source=outer_source(backend, service, config, ingress),
                    encapsulation=service.encapsulation,
                    service=manifest.service_ids[service.name],
                    inner_version=service.address.version,
                    keeps_flows=backend.state != "disabled",
                    takes_flows=takes_flows,
                    gue_port=config.gue_port,
                    mac=mac,
                    source_mac=ingress.mac,
                    mtu=mtu,
                ).packer()
            records[number] = packers[kind](backend.address)
    return records
