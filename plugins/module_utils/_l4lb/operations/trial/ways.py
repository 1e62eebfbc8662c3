# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a backend, as the host has it now: the route, and the neighbours behind it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from ...model.config import Address, Backend, Config
from ...network import neighbours, rtnetlink
from ...network.routes import Hop, RouteEntry
from ...network.rtnetlink import NeighbourEntry

_STATES = {
    0x01: "not resolved yet",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delayed",
    0x10: "probed",
    0x20: "does not answer",
    0x40: "needs no resolution",
    0x80: "permanent",
}
"""What linux/neighbour.h calls NUD_..., in words."""
_MAIN = 254


@dataclass(frozen=True)
class Gateway:
    """A neighbour that packets to a backend may be handed to.

    mac: None: it is not known. state: in words. kept: the kernel keeps it resolved.
    """

    interface: str
    address: Address
    mac: str | None
    state: str
    kept: bool


@dataclass(frozen=True)
class Way:
    """How packets get to a backend.

    given: the option that gives the next hop; None: routing finds it.
    route: as ip(8) would say it; None: there is none.
    gateways: several, of equal-cost routes.
    """

    given: str | None
    route: str | None = None
    gateways: tuple[Gateway, ...] = ()


def way(backend: Backend, config: Config) -> Way:
    """To a backend, as the program is told to go, or asks the kernel."""
    if backend.mac or config.gateway_mac:
        return Way("mac" if backend.mac else "gateway_mac")
    route = neighbours.ways([backend.address], config.sources)[backend.address]
    if route is None:
        return Way(None)
    names = {link.index: link.name for link in rtnetlink.links()}
    known = {(one.index, one.address): one for one in rtnetlink.neighbours()}
    gateways = []
    for hop in route.hops:
        address = ip_address(hop.gateway) if hop.gateway else backend.address
        name = names.get(hop.interface, f"interface {hop.interface}")
        gateways.append(_gateway(name, address, known.get((hop.interface, address))))
    return Way(None, _told(route, backend.address, names), tuple(gateways))


def _gateway(interface: str, address: Address, entry: NeighbourEntry | None) -> Gateway:
    if entry is None:
        return Gateway(interface, address, None, "unknown to the host", False)
    state = _STATES.get(entry.state, "not resolved")
    return Gateway(interface, address, entry.mac.hex(":") or None, state, entry.managed)


def _told(route: RouteEntry, to: Address, names: dict[int, str]) -> str:
    """As ip(8) has it."""
    packed, length = route.prefix
    words = [f"{ip_address(packed or bytes(len(to.packed)))}/{length}" if length else "default"]
    if len(route.hops) > 1:
        words.append(f"by {len(route.hops)} next hops")
    for hop in route.hops[:1] if len(route.hops) == 1 else ():
        words += _hop_told(hop, names)
    if route.mtu:
        words.append(f"mtu {route.mtu}")
    if route.table not in (0, _MAIN):
        words.append(f"table {route.table}")
    return " ".join(words)


def _hop_told(hop: Hop, names: dict[int, str]) -> list[str]:
    via = ["via", str(ip_address(hop.gateway))] if hop.gateway else []
    return [*via, "dev", names.get(hop.interface, str(hop.interface))]
