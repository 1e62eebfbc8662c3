# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routing table from which a routing daemon takes what to announce: routes that lead
nowhere, as nothing is routed by them (rtnetlink(7), linux/rtnetlink.h).

Ours are blackholes of protocol 214. What others have in the table is let alone.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address

from ..errors import KernelError
from ..model.config import Announced
from ..network import netlink

TABLE = 214
_PROTOCOL = 214
STAYS, LEAVES = 214, 65535
"""Metrics of a route: as it is announced, and once traffic is to go elsewhere (RFC 8326), which a
routing daemon tells by it."""
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
_RTN_BLACKHOLE = 6
_RTA_DST, _RTA_PRIORITY, _RTA_TABLE = 1, 6, 15
_ROUTE = struct.Struct("=8BI")
"""struct rtmsg: family, lengths of both addresses, TOS, table, protocol, scope, type; flags."""


def routes() -> dict[Announced, int]:
    """VIP, or prefix that VIPs are in -> the metric of its route, the best one, of those that are
    ours. Raises KernelError."""
    found: dict[Announced, int] = {}
    for family in _FAMILIES.values():
        head = _ROUTE.pack(family, 0, 0, 0, TABLE, 0, 0, 0, 0)
        body = head + netlink.attribute(_RTA_TABLE, struct.pack("=I", TABLE))
        try:
            bodies = netlink.dumped(_GETROUTE, body, strict=True)
        except KernelError as e:
            if e.code != errno.ENOENT:  # of IPv4, if there never was a route in the table
                raise
            continue
        for one in bodies:
            _family, length, _src, _tos, _table, protocol, _scope, kind, _flags = (
                _ROUTE.unpack_from(one)
            )
            attributes = netlink.attributes(one, _ROUTE.size)
            if (protocol, kind) != (_PROTOCOL, _RTN_BLACKHOLE) or _RTA_DST not in attributes:
                continue
            if netlink.number(attributes.get(_RTA_TABLE)) != TABLE:
                continue
            address = ip_address(attributes[_RTA_DST])
            is_prefix = length < address.max_prefixlen and isinstance(address, IPv6Address)
            name = IPv6Network((address, length)) if is_prefix else address
            metric = netlink.number(attributes.get(_RTA_PRIORITY))
            found[name] = min(metric, found.get(name, metric))
    return found


def announce(vips: Iterable[Announced]) -> None:
    """Have routes to these, which do not leave any more. Raises KernelError, with code EEXIST if
    others have one there."""
    for vip in vips:
        _order(_NEWROUTE, vip, STAYS, netlink.CREATE | netlink.ONLY_IF_NEW)
        _remove(vip, LEAVES)


def leave(vips: Iterable[Announced]) -> None:
    """Have routing daemons ask for traffic to go elsewhere. Raises KernelError."""
    for vip in vips:
        _order(_NEWROUTE, vip, LEAVES, netlink.CREATE)
        _remove(vip, STAYS)


def withdraw(vips: Iterable[Announced]) -> None:
    """Have no routes to these. Raises KernelError."""
    for vip in vips:
        for metric in (STAYS, LEAVES):
            _remove(vip, metric)


def put_back(before: Mapping[Announced, int]) -> None:
    """Have the routes again that `routes` returned. Raises KernelError."""
    for vip, metric in before.items():
        _order(_NEWROUTE, vip, metric, netlink.CREATE)


def _remove(vip: Announced, metric: int) -> None:
    try:
        _order(_DELROUTE, vip, metric, 0)
    except KernelError as e:
        if e.code not in (errno.ESRCH, errno.ENOENT):  # there is none
            raise


def _order(kind: int, vip: Announced, metric: int, flags: int) -> None:
    first, bits = (
        (vip.network_address, vip.prefixlen)
        if isinstance(vip, IPv6Network)
        else (vip, vip.max_prefixlen)
    )
    head = _ROUTE.pack(_FAMILIES[vip.version], bits, 0, 0, TABLE, _PROTOCOL, 0, _RTN_BLACKHOLE, 0)
    body = head + netlink.attribute(_RTA_DST, first.packed)
    body += netlink.attribute(_RTA_PRIORITY, struct.pack("=I", metric))
    try:
        netlink.order(kind, body, flags)
    except KernelError as e:
        raise KernelError(f"route to {vip} in table {TABLE}: {e}", e.code) from e
