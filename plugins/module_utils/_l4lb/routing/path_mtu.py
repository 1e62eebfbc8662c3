# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long packets may be on their way to the backends.

What an operator configured counts: the MTU of the interface, that of the route, and that of the
backend. What ICMP errors say does not, as anyone can send one. The data plane follows the
interface's by itself; the others are written down by each run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..maps import backend_record
from ..model.config import Address, Backend, Config
from ..model.interface import Ingress
from ..network.routes import RouteEntry
from ..network.rtnetlink import LinkEntry

LEAST = {4: 576, 6: 1280}
"""What every link of an IP version takes, or host of it: nobody is told to send less."""
_MOST_NAMED = 3
"""Of more backends only the number is told."""


@dataclass(frozen=True)
class Limit:
    """Bytes of the longest packet on a way, outer headers included, and what says so: interface,
    route or option."""

    mtu: int
    origin: str


def limit(backend: Backend, interface: int, route: int = 0) -> Limit:
    """On the way to a backend, by an interface of this MTU and a route of that; 0: of none."""
    found = Limit(interface, "interface")
    for origin, mtu in (("route", route), ("option", backend.mtu or 0)):
        if 0 < mtu < found.mtu:
            found = Limit(mtu, origin)
    return found


def of_routes(
    ways: Mapping[Address, RouteEntry | None], known: Mapping[Address, int]
) -> dict[Address, int]:
    """The MTUs of those routes that have one. Where there is no route now, the one that is `known`
    from earlier holds."""
    found = {
        address: known.get(address, 0) if route is None else route.mtu
        for address, route in ways.items()
    }
    return {address: mtu for address, mtu in found.items() if mtu}


def differences(
    before: Mapping[Address, int], after: Mapping[Address, int], backends: Iterable[Address]
) -> list[str]:
    """To which of these backends the route has another MTU, in words."""
    changes: dict[tuple[int, int], list[Address]] = {}
    for address in dict.fromkeys(backends):
        both = before.get(address, 0), after.get(address, 0)
        if both[0] != both[1]:
            changes.setdefault(both, []).append(address)
    return [
        f"MTU of the route to {named(addresses)} {old or 'none'} -> {new or 'none'}"
        for (old, new), addresses in changes.items()
    ]


def limits(
    config: Config,
    ingress: Ingress,
    ways: Mapping[Address, RouteEntry | None],
    route_mtus: Mapping[Address, int],
    links: Iterable[LinkEntry],
) -> Callable[[Backend], Limit | None]:
    """Backend -> the limit on the way to it; None: there is no way.

    route_mtus: as of `of_routes`.
    """
    interfaces = {link.index: link.mtu for link in links}

    def limit_of(backend: Backend) -> Limit | None:
        if backend.mac or config.gateway_mac:
            return limit(backend, ingress.mtu)
        way = ways.get(backend.address)
        if way is None:
            return None
        least = min(interfaces[hop.interface] for hop in way.hops)
        return limit(backend, least, route_mtus.get(backend.address, 0))

    return limit_of


def warnings(config: Config, limit_of: Callable[[Backend], Limit | None]) -> list[str]:
    """Services some of whose packets fit no way to a backend, and will not be sent shorter."""
    found = []
    for service in config.services:
        version = service.address.version
        least = {
            outer: LEAST[version] + backend_record.overhead(service.encapsulation, outer)
            for outer in (4, 6)
        }
        narrow = []
        for backend in service.backends:
            limit_ = limit_of(backend)
            if limit_ and limit_.mtu < least[backend.address.version]:
                narrow.append(backend.address)
        if narrow:
            found.append(
                f"services[{service.name}]: on the way to {named(narrow)}, packets of "
                f"{LEAST[version]} bytes do not fit with their outer header, and hosts need not "
                f"send shorter ones by IPv{version}; raise the MTU"
            )
    return found


def named(addresses: Sequence[Address]) -> str:
    """Some backends."""
    if len(addresses) > _MOST_NAMED:
        return f"{len(addresses)} backends"
    return ", ".join(map(str, addresses))
