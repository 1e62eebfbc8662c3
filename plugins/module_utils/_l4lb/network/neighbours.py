# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Next hops that the kernel keeps resolved.

The data plane cannot wait for ARP. So for every backend that is reached by routing there is a
managed neighbour entry (NTF_EXT_MANAGED, kernel 5.16), which the kernel refreshes by itself. Older
kernels resolve it once (NTF_USE). Our entries carry a protocol number of their own, by which they
are found again.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ..errors import KernelError
from ..model.config import Address
from . import rtnetlink
from .pyroute import open_route
from .routes import RouteEntry, routes
from .rtnetlink import AF_INET, AF_INET6, LinkEntry, NeighbourEntry

_NEWNEIGH, _DELNEIGH = 28, 29
_CREATE_OR_REPLACE = 0x400 | 0x100
_NTF_USE = 1
_NTF_EXT_MANAGED = 1
_IFF_NOARP = 0x80
_RTN_UNICAST = 1
_NUD_NONE = 0
_NUD_FAILED = 0x20
_NUD_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable … permanent
_NUD_PERMANENT = 0x80
_KEEPS_RESOLVED = (5, 16)
"""The first kernel that does."""
_PROTOCOL = 214
"""Of entries that are ours (NDA_PROTOCOL): above what rtnetlink.h and /etc/iproute2 name."""
Neighbour = tuple  # (interface index, address)


def changes() -> rtnetlink.Changes:
    """Hears of all by which next hops and ways to them may change. Raises KernelError."""
    return rtnetlink.Changes(_PROTOCOL)


def ways(
    addresses: Iterable[Address], sources: Mapping[int, Address]
) -> dict[Address, RouteEntry | None]:
    """The routes of packets to `addresses`, in their order; None: there is none, or the address is
    this host's own, or nobody's.

    sources: where these packets come from, by IP version.
    """
    wanted = sorted(set(addresses), key=_order)
    return {
        address: route if route and route.type == _RTN_UNICAST and route.hops else None
        for address, route in zip(wanted, routes(wanted, sources))
    }


def next_hops(
    found: Mapping[Address, RouteEntry | None], links: Iterable[LinkEntry]
) -> tuple[set[Neighbour], list[Address]]:
    """The neighbours that packets by these `ways` may leave by, and the addresses that have none:
    they are without a way, or behind links without MAC addresses."""
    ethernet = {link.index for link in links if not link.flags & _IFF_NOARP}
    hops: set[tuple[int, bytes]] = set()
    unreachable = []
    for address, route in found.items():
        reachable = False
        for interface, gateway in route.hops if route else ():
            if interface in ethernet:
                hops.add((interface, gateway or address.packed))
                reachable = True
        if not reachable:
            unreachable.append(address)
    return {(index, ip_address(gateway)) for index, gateway in hops}, unreachable


@dataclass(frozen=True)
class Settled:
    """Entries that need no more care: ours, and those that an operator made permanent, which the
    kernel never forgets."""

    ours: set[Neighbour]
    permanent: set[Neighbour]

    def others(self, hops: Collection[Neighbour]) -> frozenset[Neighbour]:
        """Those of `hops` that are not settled."""
        return frozenset(hops) - self.ours - self.permanent

    def counts(self, hops: Collection[Neighbour]) -> dict[int, int]:
        """IP version -> how many entries the kernel must remember, when `hops` are ours, too."""
        return Counter(
            address.version for _index, address in self.ours.union(hops) - self.permanent
        )


def settled() -> Settled:
    """All that are, now."""
    ours, permanent = set(), set()
    for entry in rtnetlink.neighbours():
        if entry.state & _NUD_PERMANENT:
            permanent.add((entry.index, entry.address))
        elif entry.protocol == _PROTOCOL and not _is_altered(entry):
            ours.add((entry.index, entry.address))
    return Settled(ours, permanent)


def _is_altered(entry: NeighbourEntry) -> bool:
    """Whether somebody has given an entry of ours another MAC address, which ends that the kernel
    keeps it resolved."""
    return entry.protocol == _PROTOCOL and not entry.managed and _keeps_resolved()


@functools.lru_cache(maxsize=1)
def _keeps_resolved() -> bool:
    """Whether the kernel does that for certain; distributions may have an older one do so, too."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return bool(release and (int(release[1]), int(release[2])) >= _KEEPS_RESOLVED)


def managed() -> set[Neighbour]:
    """Our entries."""
    return {
        (entry.index, entry.address)
        for entry in rtnetlink.neighbours()
        if entry.protocol == _PROTOCOL
    }


def manage(add: Iterable[Neighbour], remove: Iterable[Neighbour] = ()) -> None:
    """Have the kernel keep `add` resolved, and `remove` no longer."""
    new, old = set(add), list(remove)
    if not new and not old:
        return
    with open_route() as ip:
        for entry in rtnetlink.neighbours() if new else ():
            neighbour = entry.index, entry.address
            if neighbour in new and _is_altered(entry):  # it would keep the address for a while
                _remove(ip, neighbour)
        for neighbour in new:
            _add(ip, neighbour)
        for neighbour in old:
            _remove(ip, neighbour)


def next_hop_counts() -> tuple[int, int]:
    """How many of our entries are resolved, and how many are not."""
    ours = [one.state for one in rtnetlink.neighbours() if one.protocol == _PROTOCOL]
    resolved = sum(bool(state & _NUD_USABLE) for state in ours)
    return resolved, len(ours) - resolved


def unresolved(neighbours: Iterable[Neighbour], patience: float) -> list[Address]:
    """Those of `neighbours` whose MAC address is not known after up to `patience` seconds."""
    waiting = set(neighbours)
    deadline = time.monotonic() + patience
    while waiting:
        waiting -= _in_state(_NUD_USABLE)
        if not waiting or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return sorted((address for unused, address in waiting), key=_order)


def fails(address: Address, sources: Mapping[int, Address]) -> bool:
    """Whether the kernel knows that packets to `address` get nowhere: there is no route, or none of
    its next hops answers.

    sources: as of `ways`.
    """
    hops, unreachable = next_hops(ways([address], sources), rtnetlink.links())
    return bool(unreachable) or hops <= _in_state(_NUD_FAILED)


def macs(neighbours: Collection[Neighbour]) -> dict[Neighbour, str]:
    """The MAC addresses of those of `neighbours` that are resolved."""
    return {
        (entry.index, entry.address): entry.mac.hex(":")
        for entry in rtnetlink.neighbours()
        if entry.state & _NUD_USABLE and (entry.index, entry.address) in neighbours
    }


def _in_state(states: int) -> set[Neighbour]:
    return {
        (entry.index, entry.address) for entry in rtnetlink.neighbours() if entry.state & states
    }


def _message(neighbour: Neighbour, attributes: list[Any]) -> Any:
    from pyroute2.netlink.rtnl.ndmsg import ndmsg

    # pyroute2 before 0.8 does not know the later ones (linux/neighbour.h)
    ndmsg.nla_map = (
        (0, "NDA_UNSPEC", "none"),
        (1, "NDA_DST", "ipaddr"),
        (12, "NDA_PROTOCOL", "uint8"),
        (15, "NDA_FLAGS_EXT", "uint32"),
    )
    message = ndmsg()
    message["family"] = AF_INET if neighbour[1].version == 4 else AF_INET6
    message["ifindex"] = neighbour[0]
    message["state"] = _NUD_NONE
    message["attrs"] = [("NDA_DST", str(neighbour[1])), *attributes]
    return message


def _request(ip: Any, message: Any, kind: int, flags: int) -> None:
    """Raises KernelError."""
    from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        ip.nlm_request(message, kind, NLM_F_REQUEST | NLM_F_ACK | flags)
    except NetlinkError as e:
        address = message.get_attr("NDA_DST")
        raise KernelError(f"neighbour {address}: {os.strerror(e.code)}", e.code) from e


def _add(ip: Any, neighbour: Neighbour) -> None:
    attributes = [("NDA_PROTOCOL", _PROTOCOL), ("NDA_FLAGS_EXT", _NTF_EXT_MANAGED)]
    message = _message(neighbour, attributes)
    # Kernels that know no NDA_FLAGS_EXT do not mind it. They would take the entry as it is, and
    # even make one that is resolved unresolved, were it not for this.
    message["flags"] = _NTF_USE
    _request(ip, message, _NEWNEIGH, _CREATE_OR_REPLACE)


def _remove(ip: Any, neighbour: Neighbour) -> None:
    try:
        _request(ip, _message(neighbour, []), _DELNEIGH, 0)
    except KernelError as e:
        if e.code not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
