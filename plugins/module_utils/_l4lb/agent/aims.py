# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom checks ask, and by which way: a backend's own address, or, through the tunnel, the
service's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..errors import L4lbError
from ..maps.manifest import Manifest
from ..model.check import Check
from ..model.config import Address, Backend, Service, ServiceKey
from .journal import Journal
from .probes.answer import CannotProbe, Target
from .probes.prober import Prober
from .probes.tunnel import Tunnel, remove_leftovers, segment_size

_Key = tuple[str, ServiceKey, Address]
"""Interface, service and backend."""
_MAKE_AGAIN = 60.0
"""Seconds after which a tunnel that could not be made is tried again."""
_TROUBLE = "backends cannot be checked through the tunnel"


@dataclass(frozen=True)
class Seen:
    """A balancer as the checks have to do with it.

    interface: its index. mtu: of that. records: service -> address of a backend -> struct backend.
    """

    manifest: Manifest
    interface: int
    mtu: int
    records: Mapping[str, Mapping[Address, bytes]]


class Aims:
    """The targets of all balancers of a host. The tunnel is made when first there is a check for
    it, which takes a compiler and a second or more."""

    def __init__(self, prober: Prober, sources: Mapping[str, str], journal: Journal) -> None:
        self._prober, self._sources, self._journal = prober, sources, journal
        self._seen: dict[str, Seen] = {}
        self._targets: dict[_Key, Target] = {}
        self._making: asyncio.Task[None] | None = None
        self._why_not = "the tunnel is being made"

    @property
    def _tunnel(self) -> Tunnel | None:
        return self._prober.tunnel

    def target(self, interface: str, service: Service, check: Check, backend: Address) -> Target:
        """Whom to ask. Raises CannotProbe."""
        port = check.port or service.port
        if check.via == "address":
            return Target(backend, port, backend)
        problem = self._tunnel.problems.get(service.address) if self._tunnel else self._why_not
        found = self._targets.get((interface, service.key, backend))
        if problem or found is None:
            raise CannotProbe(problem or "the tunnel has no record of it yet")
        return found

    def follow(self, interface: str, seen: Seen | None) -> None:
        """Have the tunnel lead where a balancer says now; None: there is none any more."""
        if seen is None:
            self._seen.pop(interface, None)
        else:
            self._seen[interface] = seen
        self.refresh()

    def refresh(self) -> None:
        """Have the records that there should be. Called again when the tunnel is made."""
        wanted = dict(self._wanted())
        room = self._tunnel.room if self._tunnel else 0
        if len(wanted) > room:
            self._make(len(wanted))
        if self._tunnel is None or len(wanted) > room:
            return
        try:
            records = {
                key: (record, seen.interface) for key, (seen, *_others, record) in wanted.items()
            }
            indices = self._tunnel.place(records)
        except L4lbError as e:
            self._journal.alarm(_TROUBLE, str(e))
            return
        self._targets = {
            key: _aim(seen, service, backend, indices[key])
            for key, (seen, service, backend, _record) in wanted.items()
        }
        self.keep()

    def keep(self) -> None:
        """Look after what others may have removed; to be called every few seconds."""
        if self._tunnel is None:
            return
        try:
            self._keep(self._tunnel)
            self._journal.calm(_TROUBLE)
        except L4lbError as e:
            self._journal.alarm(_TROUBLE, str(e))

    async def close(self) -> None:
        """Remove the tunnel."""
        if self._making:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)
        if self._tunnel:
            self._tunnel.close()

    def _keep(self, tunnel: Tunnel) -> None:
        for line in tunnel.keep(service[0] for _name, service, _address in self._targets):
            self._journal.tell(line)

    def _wanted(self) -> Iterator[tuple[_Key, tuple[Seen, Service, Backend, bytes]]]:
        for interface, seen in self._seen.items():
            for service in seen.manifest.config.services:
                if service.check is None or service.check.via != "tunnel":
                    continue
                for backend in service.backends:
                    record = seen.records[service.name][backend.address]
                    key = interface, service.key, backend.address
                    yield key, (seen, service, backend, record)

    # Making it

    def _make(self, count: int) -> None:
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._load(count))

    async def _load(self, count: int) -> None:
        """Where it cannot be made, it is tried again, as what is missing may be installed."""
        while True:
            try:
                tunnel = await asyncio.to_thread(_made, self._sources, 2 * count)
                break
            except L4lbError as e:
                self._why_not = str(e)
                self._journal.alarm(_TROUBLE, self._why_not)
                await asyncio.sleep(_MAKE_AGAIN)
        self._journal.calm(_TROUBLE)
        if self._tunnel:
            self._tunnel.close()
        self._prober.tunnel, self._targets = tunnel, {}
        asyncio.get_running_loop().call_soon(self.refresh)


def _made(sources: Mapping[str, str], count: int) -> Tunnel:
    remove_leftovers()
    return Tunnel.load(sources, count)


def _aim(seen: Seen, service: Service, backend: Backend, index: int) -> Target:
    check = service.check
    mtu = min(filter(None, (seen.mtu, backend.mtu, seen.manifest.route_mtus.get(backend.address))))
    versions = service.address.version, backend.address.version
    return Target(
        service.address,
        (check.port if check else None) or service.port,
        backend.address,
        index,
        segment_size(mtu, service.encapsulation, *versions),
    )
