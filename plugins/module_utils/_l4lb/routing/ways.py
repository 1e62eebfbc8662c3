# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to the backends, as the host has them now: routes, next hops, and how frames leave."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from ..errors import HostError
from ..maps.egress_record import Egress, EgressKey
from ..model.config import Address
from ..network import neighbours, rtnetlink
from ..network.neighbours import Neighbour
from ..network.routes import Hop, RouteEntry
from ..network.rtnetlink import LinkEntry
from . import devices, egress, path_mtu
from .egress import Exits, Settled


@dataclass(frozen=True)
class Known:
    """What an earlier run has seen, and the maps still hold."""

    route_mtus: Mapping[Address, int] = field(default_factory=dict)
    egresses: Mapping[EgressKey, Egress] = field(default_factory=dict)


@dataclass(frozen=True)
class Ways:
    """What the host says of some backends.

    routes: to those whose next hop it is to find; None: there is none.
    hops: the neighbours that packets to them leave by.
    unreachable: those without any.
    route_mtus: of the routes that have one.
    settled: how frames leave by the host's interfaces.
    generic: in this mode.
    bridged: it matters which the next hops are.
    known: from earlier.
    refused: the mode is native, and the driver of the balanced interface takes no programs.
    sources: where packets to them come from, by IP version.
    """

    ingress: int
    links: list[LinkEntry]
    routes: Mapping[Address, RouteEntry | None]
    hops: set[Neighbour]
    unreachable: list[Address]
    route_mtus: dict[Address, int]
    settled: Settled
    generic: bool
    bridged: bool
    known: Known
    refused: bool
    sources: Mapping[int, Address]
    _keys: Mapping[Address, frozenset[EgressKey]]

    def again(self, mode: str | None = None) -> Ways:
        """What the host says of the same backends by now, where that may be something else: next
        hops have been resolved, or it has turned out that the mode is generic."""
        generic = self.generic or mode == "generic"
        if generic == self.generic and not self.bridged:
            return self
        mode = "generic" if generic else "native"
        return look(self.routes, self.sources, self.ingress, mode, self.known)

    def judge(self, accepted: bool) -> list[str]:
        """What speaks against these ways. Raises HostError for what can never be, unless that was
        accepted once."""
        if self.refused:
            raise HostError(
                f"the driver of {self.name(self.ingress)} takes no XDP program in mode native; set "
                "mode to generic or auto"
            )
        never, not_yet = self.problems()
        if never and not accepted:
            raise HostError(never[0])
        return never + not_yet

    def problems(self) -> tuple[list[str], list[str]]:
        """Backends whose packets cannot leave, and why; and those whose packets may, later."""
        never: list[str] = []
        not_yet: list[str] = []
        for key, found in self.settled.problems.items():
            stuck = [address for address, keys in self._keys.items() if key in keys]
            backends = path_mtu.named(stuck)
            text = f"packets to {backends} would leave by {self.name(key[0])}, {found.reason}"
            (not_yet if found.unknown else never).append(text)
        return never, not_yet

    def differences(self, backends: Iterable[Address]) -> list[str]:
        """What is otherwise than what is known, in words; of `backends` that are asked for."""
        there = [address for address in backends if address in self.routes]
        return [
            *path_mtu.differences(self.known.route_mtus, self.route_mtus, there),
            *egress.differences(self.known.egresses, self.settled.table, self.ingress, self.name),
        ]

    @property
    def names(self) -> dict[int, str]:
        """Of interfaces, by index."""
        return {link.index: link.name for link in self.links}

    def name(self, index: int) -> str:
        """Of an interface."""
        return self.names.get(index, f"interface {index}")


def look(
    backends: Iterable[Address],
    sources: Mapping[int, Address],
    ingress: int,
    mode: str,
    known: Known | None = None,
) -> Ways:
    """What the host says of `backends`, whose next hop it is to find.

    sources: where packets to them come from, by IP version.
    ingress: index of the balanced interface.
    mode: native or generic; auto: as that interface can.
    """
    known = known or Known()
    links = rtnetlink.links()
    routes = neighbours.ways(backends, sources)
    hops, unreachable = neighbours.next_hops(routes, links)
    bridged = egress.leading_to_bridges(links)
    used = {hop.interface for route in routes.values() if route for hop in route.hops}
    host = devices.surroundings(links, heard=bool(used & bridged))
    native = egress.is_native(ingress, host)
    generic = mode == "generic" or (mode == "auto" and not native)
    exits = Exits(ingress, host, generic)
    bridged = set() if generic else used & bridged
    keys = _keys(routes, bridged)
    addressed = rtnetlink.addressed()
    settled = egress.settle(exits, addressed, set().union(*keys.values()), known.egresses)
    mtus = path_mtu.of_routes(routes, known.route_mtus)
    return Ways(
        ingress,
        links,
        routes,
        hops,
        unreachable,
        mtus,
        settled,
        generic,
        bool(bridged),
        known,
        mode == "native" and not native,
        sources,
        keys,
    )


def _keys(
    routes: Mapping[Address, RouteEntry | None], bridged: Collection[int]
) -> dict[Address, frozenset[EgressKey]]:
    """Backend -> what decides how its frames leave, of each hop; of those that have a route.

    bridged: interfaces of which it matters where the next hop is.
    """
    entries = rtnetlink.neighbours() if bridged else []
    macs = {(one.index, one.address): one.mac.hex(":") for one in entries}

    def key(address: Address, hop: Hop) -> EgressKey:
        if hop.interface not in bridged:
            return hop.interface, ""
        neighbour = ip_address(hop.gateway) if hop.gateway else address
        return hop.interface, macs.get((hop.interface, neighbour), "")

    found = {}
    for address, route in routes.items():
        if route and bridged:
            found[address] = frozenset(key(address, hop) for hop in route.hops)
        elif route:
            found[address] = _without_mac(route.hops)
    return found


@functools.lru_cache(maxsize=256)
def _without_mac(hops: tuple[Hop, ...]) -> frozenset[EgressKey]:
    """Very many have the same."""
    return frozenset((hop.interface, "") for hop in hops)
