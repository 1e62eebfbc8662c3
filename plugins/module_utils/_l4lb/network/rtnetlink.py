# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the kernel about its network: links, addresses, neighbours (rtnetlink(7)), and which
devices take packets from XDP (generic netlink). Routes are in routes.py.

What changes the network goes through pyroute2. To look, which every run does, it is too slow: its
import takes longer than all the rest, and each route a third of a millisecond. And check mode can
look on a host where pyroute2 is yet to be installed.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from ..model.config import Address, Network
from . import netlink

AF_INET, AF_BRIDGE, AF_INET6 = 2, 7, 10
_GETLINK, _GETADDR, _GETNEIGH = 18, 22, 30
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID, _IFLA_XDP = 18, 26, 29, 37, 43
_IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 52, 53
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFLA_BR_VLAN_FILTERING, _IFLA_BRPORT_STATE, _IFLA_BRIDGE_VLAN_INFO = 7, 1, 2
_IFLA_VLAN_ID, _IFLA_VLAN_PROTOCOL = 1, 5
_IFLA_XDP_ATTACHED, _IFLA_XDP_PROG_ID = 2, 4
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR, _NDA_VLAN, _NDA_MASTER, _NDA_PROTOCOL, _NDA_FLAGS_EXT = 1, 2, 5, 9, 12, 15
_NTF_EXT_MANAGED = 1
_NUD_PERMANENT = 0x80
_BR_STATE_FORWARDING = 3
_RTEXT_FILTER_BRVLAN = 2
_VLAN_PVID, _VLAN_UNTAGGED, _VLAN_RANGE_BEGIN = 0x2, 0x4, 0x8  # BRIDGE_VLAN_INFO_...
_NETLINK_GENERIC = 16
_GENL_CTRL, _GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_NETDEV_DEV_GET, _NETDEV_IFINDEX, _NETDEV_XDP_FEATURES = 1, 1, 3
_RT_SCOPE_LINK = 253
_GENERIC = struct.Struct("=BB2x")  # struct genlmsghdr: command, version
_LINK = struct.Struct("=4xiI4x")  # of struct ifinfomsg: index, flags
_ADDRESS = struct.Struct("=4Bi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_NEIGHBOUR = struct.Struct("=4xiH2x")  # of struct ndmsg: index, state


class Vlan(NamedTuple):
    """The tag of a VLAN device's frames; protocol is 0x8100 or 0x88a8, id from 0 to 4094."""

    protocol: int
    id: int


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
    kind: str = ""
    """As ip(8) names it: bridge, bond, vlan, macvlan, ...; empty for hardware and loopback."""
    master: int = 0
    """The index of the bridge, bond or the like that it is a port of; 0 if there is none."""
    lower: int = 0
    """The index of the interface that it stands on, or of its peer; 0 if there is none here."""
    vlan: Vlan | None = None
    """If it is a VLAN device."""
    filters_vlans: bool = False
    """It is a bridge that forwards between ports of the same VLAN only."""
    is_blocked: bool = False
    """It is a port of a bridge, and the spanning tree protocol keeps it from sending."""
    alternatives: tuple[str, ...] = ()
    """Other names that it has."""


@dataclass(frozen=True)
class AddressEntry:
    """An address of an interface; scope as in linux/rtnetlink.h, flags as in linux/if_addr.h."""

    index: int
    """The interface's."""
    scope: int
    flags: int
    address: Address
    subnet: Network
    """What is on its link, as far as the address says so: only itself, if it has no prefix."""


@dataclass(frozen=True)
class NeighbourEntry:
    """A neighbour; state as in linux/neighbour.h, protocol 0 if nobody claims it."""

    index: int
    state: int
    address: Address
    protocol: int
    mac: bytes = b""
    """Empty if it is not known."""
    managed: bool = False
    """The kernel keeps it resolved."""


@dataclass(frozen=True)
class PortVlans:
    """The VLANs of a port of a bridge, or of the bridge itself as a port to the host."""

    untagged: int = 0
    """That of frames without a tag; 0: it takes none."""
    all: frozenset[int] = frozenset()
    without_tag: frozenset[int] = frozenset()
    """Those whose frames leave without one."""


def links() -> list[LinkEntry]:
    """All interfaces of this network namespace."""
    return [_link_entry(body) for body in netlink.dump(_GETLINK, 0, _LINK)]


def _link_entry(body: bytes) -> LinkEntry:
    index, flags = _LINK.unpack_from(body)
    attributes = netlink.attributes(body, _LINK.size)
    xdp = netlink.attributes(attributes.get(_IFLA_XDP, b""))
    info = netlink.attributes(attributes.get(_IFLA_LINKINFO, b""))
    kind = info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    data = netlink.attributes(info.get(_IFLA_INFO_DATA, b""))
    port = {}
    if info.get(_IFLA_INFO_SLAVE_KIND) == b"bridge\0":
        port = netlink.attributes(info.get(_IFLA_INFO_SLAVE_DATA, b""))
    elsewhere = _IFLA_LINK_NETNSID in attributes  # the index is one of that namespace
    return LinkEntry(
        index,
        _name(attributes[_IFLA_IFNAME]),
        flags,
        attributes.get(_IFLA_ADDRESS, b""),
        netlink.number(attributes.get(_IFLA_MTU)),
        netlink.number(xdp.get(_IFLA_XDP_ATTACHED)),
        netlink.number(xdp.get(_IFLA_XDP_PROG_ID)),
        kind,
        netlink.number(attributes.get(_IFLA_MASTER)),
        0 if elsewhere else netlink.number(attributes.get(_IFLA_LINK)),
        _vlan(data) if kind == "vlan" else None,
        kind == "bridge" and bool(netlink.number(data.get(_IFLA_BR_VLAN_FILTERING))),
        netlink.number(port.get(_IFLA_BRPORT_STATE, b"\3")) != _BR_STATE_FORWARDING,
        tuple(
            _name(value)
            for kind, value in netlink.each_attribute(attributes.get(_IFLA_PROP_LIST, b""))
            if kind == _IFLA_ALT_IFNAME
        ),
    )


def _name(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def _vlan(data: dict[int, bytes]) -> Vlan:
    protocol = int.from_bytes(data.get(_IFLA_VLAN_PROTOCOL, b""), "big")
    return Vlan(protocol, netlink.number(data.get(_IFLA_VLAN_ID)))


def addresses() -> list[AddressEntry]:
    """All of this network namespace, of each family in the kernel's order."""
    found = []
    for family in (AF_INET, AF_INET6):
        for body in netlink.dump(_GETADDR, family, _ADDRESS):
            _family, length, flags, scope, index = _ADDRESS.unpack_from(body)
            attributes = netlink.attributes(body, _ADDRESS.size)
            there = attributes[_IFA_ADDRESS]  # the other end's, where that is another one
            here = attributes.get(_IFA_LOCAL) or there
            subnet = ip_network((there, length), strict=False)
            found.append(AddressEntry(index, scope, flags, ip_address(here), subnet))
    return found


def addressed() -> set[int]:
    """The interfaces that have addresses which hold beyond their link."""
    return {entry.index for entry in addresses() if entry.scope < _RT_SCOPE_LINK}


def neighbours() -> list[NeighbourEntry]:
    """All neighbours of both families."""
    found = []
    for family in (AF_INET, AF_INET6):
        for body in netlink.dump(_GETNEIGH, family, _NEIGHBOUR):
            index, state = _NEIGHBOUR.unpack_from(body)
            attributes = netlink.attributes(body, _NEIGHBOUR.size)
            address, owner = ip_address(attributes[_NDA_DST]), attributes.get(_NDA_PROTOCOL)
            mac = attributes.get(_NDA_LLADDR, b"")
            managed = bool(netlink.number(attributes.get(_NDA_FLAGS_EXT)) & _NTF_EXT_MANAGED)
            owned = netlink.number(owner)
            found.append(NeighbourEntry(index, state, address, owned, mac, managed))
    return found


def forwarding_table() -> dict[tuple[int, int, bytes], int]:
    """Of all bridges: (index of the bridge, VLAN or 0, MAC address) -> index of the port that it is
    behind. The addresses of the bridge and its ports themselves are not among these."""
    found = {}
    for body in netlink.dump(_GETNEIGH, AF_BRIDGE, _NEIGHBOUR):
        port, state = _NEIGHBOUR.unpack_from(body)
        attributes = netlink.attributes(body, _NEIGHBOUR.size)
        bridge, vlan = (
            netlink.number(attributes.get(_NDA_MASTER)),
            netlink.number(attributes.get(_NDA_VLAN)),
        )
        if bridge and not state & _NUD_PERMANENT:
            found[bridge, vlan, attributes.get(_NDA_LLADDR, b"")] = port
    return found


def port_vlans() -> dict[int, PortVlans]:
    """Of all bridges and their ports, index -> VLANs."""
    mask = netlink.attribute(_IFLA_EXT_MASK, struct.pack("=I", _RTEXT_FILTER_BRVLAN))
    found = {}
    for body in netlink.dump(_GETLINK, AF_BRIDGE, _LINK, mask):
        index, _flags = _LINK.unpack_from(body)
        spec = netlink.attributes(body, _LINK.size).get(_IFLA_AF_SPEC, b"")
        vlans = [
            struct.unpack("=2H", value)
            for kind, value in netlink.each_attribute(spec)
            if kind == _IFLA_BRIDGE_VLAN_INFO
        ]
        found[index] = _port_vlans(vlans)
    return found


def _port_vlans(entries: Sequence[tuple[int, int]]) -> PortVlans:
    """Of pairs of flags and a number; those of a range come as its first and its last."""
    members: set[int] = set()
    without_tag: set[int] = set()
    untagged = first = 0
    for flags, number in entries:
        if flags & _VLAN_RANGE_BEGIN:
            first = number
            continue
        numbers = range(first or number, number + 1)
        first = 0
        members.update(numbers)
        if flags & _VLAN_UNTAGGED:
            without_tag.update(numbers)
        if flags & _VLAN_PVID:
            untagged = number
    return PortVlans(untagged, frozenset(members), frozenset(without_tag))


_NEWNEIGH, _DELNEIGH = 28, 29
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 24, 25, 32)
"""RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE,
_IPV6_RULE, _IPV4_NETCONF, _IPV6_NETCONF, _NEXTHOP."""


LINK = 1
"""RTNLGRP_LINK: also programs that are attached."""


class Changes:
    """Hears of each change of links, addresses, routes, rules and forwarding, and of neighbours of
    one protocol that are removed. To be asked whenever `socket` can be read."""

    def __init__(self, protocol: int, groups: Collection[int] = _GROUPS) -> None:
        """groups: less of it (RTNLGRP_...). Raises KernelError."""
        self._protocol = protocol
        # those of neighbours that come and go by themselves are too many
        self.socket = netlink.subscribe(groups, but_for=_NEWNEIGH)

    def heard(self) -> bool:
        """Whether there was any since the last time; of too many to tell, there was."""
        try:
            return any(map(self._counts, netlink.received(self.socket)))
        except BlockingIOError:
            return False
        except OSError:  # ENOBUFS: they were more than it takes
            return True

    def _counts(self, message: netlink.Message) -> bool:
        if message.type != _DELNEIGH:
            return True
        attributes = netlink.attributes(message.body, _NEIGHBOUR.size)
        return netlink.number(attributes.get(_NDA_PROTOCOL)) == self._protocol


def xdp_features() -> dict[int, int] | None:
    """Index of an interface -> what XDP can do there (enum netdev_xdp_act of linux/netdev.h); None:
    the kernel, before 6.3, does not tell."""
    request = netlink.attribute(_FAMILY_NAME, b"netdev\0")
    with netlink.connect(_NETLINK_GENERIC) as generic:
        generic.send(
            netlink.message(_GENL_CTRL, netlink.REQUEST, 0, _GENERIC.pack(_GETFAMILY, 1) + request)
        )
        (answer,) = netlink.received(generic)
    if answer.type == netlink.ERROR:
        return None
    family = netlink.number(netlink.attributes(answer.body, _GENERIC.size)[_FAMILY_ID])
    found = {}
    request = _GENERIC.pack(_NETDEV_DEV_GET, 1)
    for body in netlink.dumped(family, request, _NETLINK_GENERIC):
        attributes = netlink.attributes(body, _GENERIC.size)
        features = netlink.number(attributes.get(_NETDEV_XDP_FEATURES))
        found[netlink.number(attributes[_NETDEV_IFINDEX])] = features
    return found
