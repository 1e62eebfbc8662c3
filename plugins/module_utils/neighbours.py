# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Next hops that the kernel keeps resolved.

The data plane cannot wait for ARP. So for every backend that is reached by routing there is a
managed neighbour entry (NTF_EXT_MANAGED, kernel 5.16), which the kernel refreshes by itself. Older
kernels are asked to resolve it once (NTF_USE). Our entries carry a protocol number of their own,
by which they are found again.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from .errors import KernelError
from .link import AF_INET, AF_INET6, open_route
from .model import Address

try:
    from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
    from pyroute2.netlink.rtnl.ndmsg import ndmsg
except ImportError:
    ndmsg = None

_NTF_USE = 1
_NTF_EXT_MANAGED = 1
_IFF_NOARP = 0x80
_RTN_UNICAST = 1
_NUD_NONE = 0
_NUD_FAILED = 0x20
_NUD_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable … permanent
_PROTOCOL = 214
"""Of entries that are ours (NDA_PROTOCOL): above what rtnetlink.h and /etc/iproute2 name."""

Neighbour = tuple  # (interface index, address)


if ndmsg is not None:
    # pyroute2 before 0.8 does not know the later ones (linux/neighbour.h)
    ndmsg.nla_map = (
        *((index, *pair) for index, pair in enumerate(ndmsg.nla_map[:10])),
        (12, "NDA_PROTOCOL", "uint8"),
        (15, "NDA_FLAGS_EXT", "uint32"),
    )


def next_hops(addresses: Iterable[Address]) -> tuple[set[Neighbour], list[Address]]:
    """The neighbours that packets to `addresses` leave by, and the addresses that have none: they
    are without a route, this host's own, or behind a link without MAC addresses."""
    found: set[Neighbour] = set()
    unreachable = []
    with open_route() as ip:
        ethernet = {link["index"] for link in ip.get_links() if not link["flags"] & _IFF_NOARP}
        for address in sorted(set(addresses), key=_order):
            try:
                route = ip.route("get", dst=str(address))[0]
            except NetlinkError:
                unreachable.append(address)
                continue
            if route["type"] != _RTN_UNICAST or route.get_attr("RTA_OIF") not in ethernet:
                unreachable.append(address)
                continue
            gateway = route.get_attr("RTA_GATEWAY") or str(address)
            found.add((route.get_attr("RTA_OIF"), ip_address(gateway)))
    return found, unreachable


def managed() -> set[Neighbour]:
    """Our entries."""
    with open_route() as ip:
        return {
            (message["ifindex"], ip_address(message.get_attr("NDA_DST")))
            for message in _dump(ip)
            if message.get_attr("NDA_PROTOCOL") == _PROTOCOL
        }


def manage(add: Iterable[Neighbour], remove: Iterable[Neighbour] = ()) -> None:
    """Have the kernel keep `add` resolved, and `remove` no longer."""
    with open_route() as ip:
        for neighbour in add:
            _add(ip, neighbour)
        for neighbour in remove:
            _remove(ip, neighbour)


def unresolved(neighbours: Iterable[Neighbour], patience: float) -> list[Address]:
    """Those of `neighbours` whose MAC address is not known after up to `patience` seconds."""
    waiting = set(neighbours)
    deadline = time.monotonic() + patience
    with open_route() as ip:
        while waiting:
            waiting -= _in_state(ip, _NUD_USABLE)
            if not waiting or time.monotonic() > deadline:
                break
            time.sleep(0.02)
    return sorted(address for _index, address in waiting)


def fails(address: Address) -> bool:
    """Whether the kernel knows that packets to `address` get nowhere: there is no route, or its
    next hop does not answer."""
    hops, unreachable = next_hops([address])
    with open_route() as ip:
        return bool(unreachable) or hops <= _in_state(ip, _NUD_FAILED)


def _in_state(ip: Any, states: int) -> set[Neighbour]:
    return {
        (message["ifindex"], ip_address(message.get_attr("NDA_DST")))
        for message in _dump(ip)
        if message["state"] & states
    }


def _dump(ip: Any) -> list[Any]:
    found: list[Any] = []
    for family in (AF_INET, AF_INET6):
        message = ndmsg()
        message["family"] = family
        found += ip.nlm_request(message, RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP)
    return found


def _message(neighbour: Neighbour, attributes: list[Any]) -> Any:
    message = ndmsg()
    message["family"] = AF_INET if neighbour[1].version == 4 else AF_INET6
    message["ifindex"] = neighbour[0]
    message["state"] = _NUD_NONE
    message["attrs"] = [("NDA_DST", str(neighbour[1])), *attributes]
    return message


def _add(ip: Any, neighbour: Neighbour) -> None:
    ours = ("NDA_PROTOCOL", _PROTOCOL)
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    message = _message(neighbour, [ours, ("NDA_FLAGS_EXT", _NTF_EXT_MANAGED)])
    try:
        try:
            ip.nlm_request(message, RTM_NEWNEIGH, flags)
        except NetlinkError as e:
            if e.code not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            message = _message(neighbour, [ours])
            message["flags"] = _NTF_USE
            ip.nlm_request(message, RTM_NEWNEIGH, flags)
    except NetlinkError as e:
        raise KernelError(f"neighbour {neighbour[1]}: {os.strerror(e.code)}", e.code) from e


def _remove(ip: Any, neighbour: Neighbour) -> None:
    try:
        ip.nlm_request(_message(neighbour, []), RTM_DELNEIGH, NLM_F_REQUEST | NLM_F_ACK)
    except NetlinkError as e:
        if e.code not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise KernelError(f"neighbour {neighbour[1]}: {os.strerror(e.code)}", e.code) from e


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
