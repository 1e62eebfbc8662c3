# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the kernel about its network: links, addresses, routes, neighbours (rtnetlink(7)).

What changes the network goes through pyroute2. To look, which every run does, it is too slow: its
import takes longer than all the rest, and each route a third of a millisecond. And check mode can
look on a host where pyroute2 is yet to be installed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from .errors import KernelError
from .model import Address

AF_INET, AF_INET6 = 2, 10

_GETLINK, _GETADDR, _GETROUTE, _GETNEIGH = 18, 22, 26, 30
_REQUEST, _ALL, _INTERRUPTED = 0x1, 0x300, 0x10  # NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_XDP = 1, 3, 4, 43
_IFLA_XDP_ATTACHED, _IFLA_XDP_PROG_ID = 2, 4
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_VIA = 1, 4, 5, 18
_NDA_DST, _NDA_PROTOCOL = 1, 12
_TRIES = 10
_AT_ONCE = 64
"""Requests before the answers are fetched: so many fit the socket's buffer."""

_MESSAGE = struct.Struct("=IHHI4x")  # struct nlmsghdr: length, type, flags, sequence number
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_LINK = struct.Struct("=4xiI4x")  # of struct ifinfomsg: index, flags
_ADDRESS = struct.Struct("=2xBBi")  # of struct ifaddrmsg: flags, scope, index
_NEIGHBOUR = struct.Struct("=4xiH2x")  # of struct ndmsg: index, state
_ROUTE = struct.Struct("=BB5xB4x")  # of struct rtmsg: family, length of the destination, type


@dataclass(frozen=True)
class LinkEntry:
    """A network interface; flags as in linux/if.h, xdp_mode as in linux/if_link.h."""

    index: int
    name: str
    flags: int
    mac: bytes
    mtu: int
    xdp_mode: int
    xdp_program: int
    """Its id; 0 if there is none."""


@dataclass(frozen=True)
class AddressEntry:
    """An address of an interface; scope as in linux/rtnetlink.h, flags as in linux/if_addr.h."""

    scope: int
    flags: int
    address: Address


@dataclass(frozen=True)
class RouteEntry:
    """Where packets to an address go; type as in linux/rtnetlink.h."""

    type: int
    index: int
    gateway: bytes | None
    """Packed, as many addresses have the same one; None if there is none."""


@dataclass(frozen=True)
class NeighbourEntry:
    """A neighbour; state as in linux/neighbour.h, protocol 0 if nobody claims it."""

    index: int
    state: int
    address: Address
    protocol: int


def links() -> list[LinkEntry]:
    """All interfaces of this network namespace."""
    found = []
    for body in _dump(_GETLINK, 0, _LINK):
        index, flags = _LINK.unpack_from(body)
        attributes = _attributes(body, _LINK.size)
        xdp = _attributes(attributes.get(_IFLA_XDP, b""))
        found.append(
            LinkEntry(
                index,
                attributes[_IFLA_IFNAME].rstrip(b"\0").decode(errors="surrogateescape"),
                flags,
                attributes.get(_IFLA_ADDRESS, b""),
                _number(attributes.get(_IFLA_MTU)),
                _number(xdp.get(_IFLA_XDP_ATTACHED)),
                _number(xdp.get(_IFLA_XDP_PROG_ID)),
            )
        )
    return found


def addresses(index: int, family: int) -> list[AddressEntry]:
    """Those of one interface and family, in the kernel's order."""
    found = []
    for body in _dump(_GETADDR, family, _ADDRESS):
        flags, scope, owner = _ADDRESS.unpack_from(body)
        if owner == index:
            attributes = _attributes(body, _ADDRESS.size)
            local = attributes.get(_IFA_LOCAL) or attributes[_IFA_ADDRESS]
            found.append(AddressEntry(scope, flags, ip_address(local)))
    return found


def neighbours() -> list[NeighbourEntry]:
    """All neighbours of both families."""
    found = []
    for family in (AF_INET, AF_INET6):
        for body in _dump(_GETNEIGH, family, _NEIGHBOUR):
            index, state = _NEIGHBOUR.unpack_from(body)
            attributes = _attributes(body, _NEIGHBOUR.size)
            address, owner = ip_address(attributes[_NDA_DST]), attributes.get(_NDA_PROTOCOL)
            found.append(NeighbourEntry(index, state, address, _number(owner)))
    return found


def routes(destinations: Sequence[Address]) -> list[RouteEntry | None]:
    """By which route a packet to each of these would leave; None: by none."""
    found: list[RouteEntry | None] = []
    with _connect() as route:
        for start in range(0, len(destinations), _AT_ONCE):
            some = destinations[start : start + _AT_ONCE]
            route.send(b"".join(map(_route_request, range(len(some)), some)))
            answers: dict[int, RouteEntry | None] = {}
            while len(answers) < len(some):
                for message in _received(route):
                    failed = message.type == _ERROR
                    answers[message.number] = None if failed else _route_entry(message.body)
            found += (answers[number] for number in range(len(some)))
    return found


def _route_request(number: int, destination: Address) -> bytes:
    family = AF_INET if destination.version == 4 else AF_INET6
    packed = destination.packed
    body = _ROUTE.pack(family, len(packed) * 8, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _RTA_DST) + packed
    return _message(_GETROUTE, _REQUEST, number, body)


def _route_entry(body: bytes) -> RouteEntry:
    attributes = _attributes(body, _ROUTE.size)
    other_family = attributes.get(_RTA_VIA, b"")[2:]  # behind the number of its family
    gateway = attributes.get(_RTA_GATEWAY) or other_family or None
    return RouteEntry(_ROUTE.unpack_from(body)[2], _number(attributes.get(_RTA_OIF)), gateway)


class _Message(NamedTuple):
    type: int
    flags: int
    number: int
    body: bytes


@contextlib.contextmanager
def _connect() -> Iterator[socket.socket]:
    """Raises KernelError also for what goes wrong while it is in use."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
            route.bind((0, 0))
            yield route
    except OSError as e:
        raise KernelError(f"ask for the host's network: {e.strerror}", e.errno or 0) from e


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return _MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, number) + body


def _received(route: socket.socket) -> Iterator[_Message]:
    """What comes next: one message or several."""
    data = route.recv(1 << 16)
    at = 0
    while at < len(data):
        length, kind, flags, number = _MESSAGE.unpack_from(data, at)
        yield _Message(kind, flags, number, data[at + _MESSAGE.size : at + length])
        at += (length + 3) & ~3


def _dump(kind: int, family: int, head: struct.Struct) -> list[bytes]:
    """The bodies of all that the kernel has of a kind; they begin with `head`.

    Raises KernelError.
    """
    with _connect() as route:
        for number in range(_TRIES):
            request = bytes([family]).ljust(head.size, b"\0")
            route.send(_message(kind, _REQUEST | _ALL, number, request))
            messages: list[_Message] = []
            while not messages or messages[-1].type not in (_DONE, _ERROR):
                messages += _received(route)
            if messages[-1].type == _ERROR:
                code = -struct.unpack_from("=i", messages[-1].body)[0]
                raise KernelError(f"ask for the host's network: {os.strerror(code)}", code)
            if not any(message.flags & _INTERRUPTED for message in messages):
                break  # else it changed meanwhile, so that something may be missing
    return [message.body for message in messages[:-1]]


def _attributes(body: bytes, at: int = 0) -> dict[int, bytes]:
    """Type -> value, without flags in the type."""
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind & 0x3FFF] = body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)
