# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces and the XDP program attached to one."""

from __future__ import annotations

import socket
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from ..errors import ConfigError, HostError
from ..model.config import Address
from ..model.interface import Receivers
from ..printable import listed
from . import rtnetlink, stack
from .rtnetlink import AddressEntry

_MODES = {1: "native", 2: "generic", 3: "offload"}
_RT_SCOPE_LINK = 253
_IFA_F_UNFIT = 0x01 | 0x08 | 0x20 | 0x40  # temporary or secondary, dadfailed, deprecated, tentative
_MAC_LENGTH = 6
_IFF_UP = 1


@dataclass(frozen=True)
class Attached:
    """The XDP program on an interface."""

    program_id: int
    mode: str


@dataclass(frozen=True)
class Link:
    """A network interface."""

    index: int
    name: str
    mac: str
    mtu: int = 1500
    sources: tuple[Address, ...] = ()
    """Its addresses that are fit to send from, of each family the best first."""
    attached: Attached | None = None
    receivers: Receivers = field(default_factory=Receivers)
    is_up: bool = True
    """As it was set to be, whatever its cable says."""

    def source(self, version: int, taken: Container[Address]) -> Address | None:
        """The best address of an IP version to send from that is not `taken`."""
        for address in self.sources:
            if address.version == version and address not in taken:
                return address
        return None


def interface_name(index: int) -> str:
    """The name of an interface. Raises HostError if it has gone."""
    try:
        return socket.if_indextoname(index)
    except OSError as e:
        raise HostError(f"there is no interface {index} any more") from e


def first_name(name: str) -> str:
    """The name of the interface that is called so, be that an alternative name; the same if there
    is none."""
    entries = rtnetlink.links()
    if any(entry.name == name for entry in entries):
        return name
    return next((entry.name for entry in entries if name in entry.alternatives), name)


def read_link(name: str) -> Link:
    """The interface called `name`. Raises ConfigError if there is none."""
    entries = {entry.name: entry for entry in rtnetlink.links()}
    entry = entries.get(name)
    if entry is None:
        others = listed(entries)
        raise ConfigError("interface", name, f"no such interface; this host has {others}")
    own = [one for one in rtnetlink.addresses() if one.index == entry.index]
    mac = entry.mac if len(entry.mac) == _MAC_LENGTH else bytes(_MAC_LENGTH)
    mode = _MODES.get(entry.xdp_mode, "several modes")
    return Link(
        index=entry.index,
        name=name,
        mac=mac.hex(":"),
        mtu=entry.mtu,
        sources=tuple(sources(own)),
        attached=Attached(entry.xdp_program, mode) if entry.xdp_program else None,
        receivers=stack.receivers(entry, entries.values()),
        is_up=bool(entry.flags & _IFF_UP),
    )


def mtus(index: int) -> tuple[int, ...]:
    """That of an interface, and that of the one it stands on, or its peer, if that is here: drivers
    refuse programs for them."""
    entries = {entry.index: entry for entry in rtnetlink.links()}
    there = [entries[index]] if index in entries else []
    there += (entries[one.lower] for one in there[:] if one.lower in entries)
    return tuple(entry.mtu for entry in there)


def carriers(program_id: int) -> list[str]:
    """The interfaces that a program is attached to."""
    return [entry.name for entry in rtnetlink.links() if entry.xdp_program == program_id]


def sources(entries: Sequence[AddressEntry]) -> list[Address]:
    """The addresses of an interface that are fit to send from, of each family the best first.

    That is one of a subnet. Such as have no prefix come and go: they are those of services, which
    keepalived and the like put on the interface for a while. Among their like the oldest is best,
    so that none which comes later changes anything.
    """
    fit = [e for e in entries if e.scope < _RT_SCOPE_LINK and not e.flags & _IFA_F_UNFIT]
    oldest_first = [
        *(entry for entry in fit if entry.address.version == 4),
        *(entry for entry in reversed(fit) if entry.address.version == 6),
    ]
    oldest_first.sort(key=lambda entry: entry.subnet.prefixlen == entry.subnet.max_prefixlen)
    return [entry.address for entry in oldest_first]
