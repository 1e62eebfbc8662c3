# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How network interfaces stand on each other: which of them get a frame that comes in by one.

It climbs to the VLAN device of its tag, and to the bridge or bond that an interface is a port of;
or to the macvlan that has its MAC address. An interface of another network namespace belongs to
somebody else, and is not seen here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..model.interface import Receivers
from .rtnetlink import LinkEntry

_MASTERS = ("bridge", "bond", "team")
_MAC_LENGTH = 6


def receivers(interface: LinkEntry, entries: Iterable[LinkEntry]) -> Receivers:
    """By which interfaces the stack receives what comes in by `interface`.

    entries: all interfaces of the host.
    """
    stack = _Stack(entries)
    macs: set[bytes] = set()
    by_vlan: dict[int, int] = {}
    by_mac: dict[str, set[int]] = {}
    for entry, vlan in stack.above(interface, 0):
        if len(entry.mac) == _MAC_LENGTH:
            macs.add(entry.mac)
        if entry.kind == "macvlan":
            by_mac.setdefault(entry.mac.hex(":"), set()).add(stack.top(entry).index)
        else:
            by_vlan.setdefault(vlan, stack.top(entry).index)
    others = sorted(mac.hex(":") for mac in macs - {interface.mac})
    # several have the same one where VRRP routers of one number are in different VLANs
    sole = {mac: indices.pop() for mac, indices in by_mac.items() if len(indices) == 1}
    return Receivers(tuple(others), by_vlan, sole)


class _Stack:
    """All interfaces of a host."""

    def __init__(self, entries: Iterable[LinkEntry]) -> None:
        self._entries = {entry.index: entry for entry in entries}

    def above(self, entry: LinkEntry, vlan: int) -> Iterator[tuple[LinkEntry, int]]:
        """An interface and those that frames climb to from it, each with the outer tag of these
        frames, 0 for none; what the kernel looks for first comes first."""
        yield entry, vlan
        for other in self._entries.values():
            if other.lower == entry.index and other.vlan:
                yield from self.above(other, vlan or other.vlan.id)
            elif other.lower == entry.index and other.kind == "macvlan":
                yield from self.above(other, vlan)
        master = self._master(entry)
        if master:
            yield from self.above(master, vlan)

    def top(self, entry: LinkEntry) -> LinkEntry:
        """The interface itself, or the one that takes what comes in by it as a port."""
        master = self._master(entry)
        return self.top(master) if master else entry

    def _master(self, entry: LinkEntry) -> LinkEntry | None:
        master = self._entries.get(entry.master)
        return master if master and master.kind in _MASTERS else None
