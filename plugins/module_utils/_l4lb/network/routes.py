# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which routes packets to the backends leave.

The kernel is asked as the data plane asks it (files/bpf/send/route.h): for a ping of the host
itself, from the source of the tunnel, without TOS and mark. So rules (ip-rule(8)) by source count,
as does `iif lo`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..model.config import Address
from . import netlink

_AF_INET, _AF_INET6 = 2, 10
_GETROUTE, _GETNEXTHOP = 26, 106
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_METRICS = 1, 2, 4, 5, 8
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_IP_PROTO, _RTA_NH_ID = 9, 15, 18, 27, 30
_ICMP, _ICMPV6 = 1, 58
_RTAX_MTU = 2
_NHA_ID, _NHA_GROUP, _NHA_OIF, _NHA_GATEWAY = 1, 2, 5, 6
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH
_RTNH_F_DEAD = 1
_RTN_LOCAL = 2
_AT_ONCE = 64
"""Requests before the answers are fetched: so many fit the socket's buffer."""
_ROUTE = struct.Struct("=3B4xBI")  # of struct rtmsg: family, lengths of both addresses, type, flags
_HOP = struct.Struct("=HBxi")  # of struct rtnexthop: length, flags, index
_NEXTHOP = struct.Struct("=8x")  # struct nhmsg
_MEMBER = struct.Struct("=I4x")  # of struct nexthop_grp: number


class Hop(NamedTuple):
    """Where a route leads: by which interface, and to which router."""

    interface: int
    """Its index."""
    gateway: bytes | None = None
    """Packed, as many addresses have the same one; None if there is none."""


@dataclass(frozen=True)
class RouteEntry:
    """Where packets to an address go; type as in linux/rtnetlink.h."""

    type: int
    hops: tuple[Hop, ...] = ()
    """Of several, as of an equal-cost route, the kernel takes one by the addresses of a packet."""
    mtu: int = 0
    """As the route was configured; 0 if it says nothing of that."""
    number: int = 0
    """Of the object (ip-nexthop(8)) that has the hops, where the route does not tell them."""
    prefix: tuple[bytes, int] = (b"", 0)
    """What the route is for: the packed address, empty if that is 0, and its length."""
    table: int = 0
    """As in linux/rtnetlink.h."""


def routes(
    destinations: Sequence[Address], sources: Mapping[int, Address] | None = None
) -> list[RouteEntry | None]:
    """By which route a packet to each of these would leave; None: by none.

    sources: where it comes from, by IP version. Of IPv4 that only counts if it is this host's own,
    as the kernel refuses to answer otherwise.
    """
    with netlink.connect() as route:
        known = dict(sources or {})
        if 4 in known:
            (own,) = _asked(route, [known[4]], {})
            if own is None or own.type != _RTN_LOCAL:
                del known[4]
        found = _asked(route, destinations, known)
    if any(entry.number for entry in found if entry):
        hops = _numbered()
        found = [
            entry and replace(entry, hops=hops.get(entry.number, entry.hops)) for entry in found
        ]
    return found


def _asked(
    route: socket.socket, destinations: Sequence[Address], sources: Mapping[int, Address]
) -> list[RouteEntry | None]:
    """The answers to all of these requests, in their order."""
    found: list[RouteEntry | None] = []
    same = {version: _from(version, sources.get(version)) for version in (4, 6)}
    for start in range(0, len(destinations), _AT_ONCE):
        some = destinations[start : start + _AT_ONCE]
        requests = (_request(number, one, same[one.version]) for number, one in enumerate(some))
        route.send(b"".join(requests))
        answers: dict[int, RouteEntry | None] = {}
        while len(answers) < len(some):
            for message in netlink.received(route):
                failed = message.type == netlink.ERROR
                answers[message.number] = None if failed else _entry(message.body)
        found += (answers[number] for number in range(len(some)))
    return found


def _from(version: int, source: Address | None) -> tuple[bytes, bytes]:
    """What is the same in all requests of an IP version: how they begin and end.

    They are for the route as it was configured, which is all that counts: what the kernel has
    learnt from ICMP errors would come from anyone.
    """
    family, bits, protocol = (_AF_INET, 32, _ICMP) if version == 4 else (_AF_INET6, 128, _ICMPV6)
    head = _ROUTE.pack(family, bits, bits if source else 0, 0, _FIB_MATCH)
    tail = netlink.attribute(_RTA_IP_PROTO, bytes([protocol]))
    if source:
        tail += netlink.attribute(_RTA_SRC, source.packed)
    return head, tail


def _request(number: int, destination: Address, same: tuple[bytes, bytes]) -> bytes:
    """same: as of `_from`."""
    head, tail = same
    body = head + netlink.attribute(_RTA_DST, destination.packed) + tail
    return netlink.message(_GETROUTE, netlink.REQUEST, number, body)


def _entry(body: bytes) -> RouteEntry:
    attributes = netlink.attributes(body, _ROUTE.size)
    metrics = netlink.attributes(attributes.get(_RTA_METRICS, b""))
    if _RTA_OIF in attributes:
        hops: tuple[Hop, ...] = (_hop(netlink.number(attributes[_RTA_OIF]), attributes),)
    else:
        hops = tuple(_several(attributes.get(_RTA_MULTIPATH, b"")))
    _family, length, _source_length, kind, _flags = _ROUTE.unpack_from(body)
    return RouteEntry(
        kind,
        hops,
        netlink.number(metrics.get(_RTAX_MTU)),
        0 if hops else netlink.number(attributes.get(_RTA_NH_ID)),
        (attributes.get(_RTA_DST, b""), length),
        netlink.number(attributes.get(_RTA_TABLE)),
    )


def _several(nested: bytes) -> Iterator[Hop]:
    """All that are alive."""
    at = 0
    while at + _HOP.size <= len(nested):
        length, flags, index = _HOP.unpack_from(nested, at)
        if not flags & _RTNH_F_DEAD:
            yield _hop(index, netlink.attributes(nested[at : at + length], _HOP.size))
        at += (length + 3) & ~3


def _hop(index: int, attributes: Mapping[int, bytes]) -> Hop:
    gateway = attributes.get(_RTA_GATEWAY)
    if _RTA_VIA in attributes:  # of the other family, whose number comes first
        gateway = attributes[_RTA_VIA][2:]
    return Hop(index, gateway)


def _numbered() -> dict[int, tuple[Hop, ...]]:
    """The hops of all objects, by number."""
    hops: dict[int, tuple[Hop, ...]] = {}
    groups: dict[int, list[int]] = {}
    for body in netlink.dump(_GETNEXTHOP, 0, _NEXTHOP):
        attributes = netlink.attributes(body, _NEXTHOP.size)
        number = netlink.number(attributes.get(_NHA_ID))
        if _NHA_OIF in attributes:
            index = netlink.number(attributes[_NHA_OIF])
            hops[number] = (Hop(index, attributes.get(_NHA_GATEWAY)),)
        elif _NHA_GROUP in attributes:
            groups[number] = [member for (member,) in _MEMBER.iter_unpack(attributes[_NHA_GROUP])]
    for number, members in groups.items():
        hops[number] = tuple(hop for member in members for hop in hops.get(member, ()))
    return hops
