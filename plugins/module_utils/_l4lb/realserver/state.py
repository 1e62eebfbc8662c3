# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a host a real server: as it is, as it shall be, and the changes between these.

A state has aspects, and of each what there is, by a key. All of this is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from ..model.config import Address, Network
from ..printable import listed

State = Mapping[str, Mapping[Any, Any]]
"""Aspect -> key -> value."""
ASPECTS = ("sysctls", "filter", "tunnels", "gue", "programs", "vips")
"""In the order in which they are set up: no VIP before ARP keeps quiet about it, no tunnel before
strangers are kept out. What goes, goes in the inverse order, after all that comes."""


class Tunnel(NamedTuple):
    """A device of the kernel that unpacks: of which kind, and what for."""

    kind: str
    local: Address


@dataclass(frozen=True)
class Device:
    """How it is set up. addresses: one is enough, see `decide`. is_loose: rp_filter is 2."""

    is_up: bool = True
    is_loose: bool = True
    addresses: frozenset[IPv4Address] = frozenset()


@dataclass(frozen=True)
class Unpacker:
    """An XDP program, by its name, which its source makes, and what it is told."""

    name: str
    ends: frozenset[tuple[Address, int]]
    """Own addresses, each with the port of GUE."""
    balancers: frozenset[Network]
    vips: frozenset[Address]


@dataclass(frozen=True)
class Filter:
    """A table of nftables: a digest of what it was made of, and how many rules there are."""

    digest: str
    rules: int
    script: str = field(compare=False, default="")
    """What makes it."""


class Change(NamedTuple):
    """Of one key of an aspect; None: nothing is there."""

    aspect: str
    key: Any
    before: Any
    after: Any

    @property
    def inverse(self) -> Change:
        """What takes it back."""
        return Change(self.aspect, self.key, self.after, self.before)

    def __str__(self) -> str:
        verb = "remove" if self.after is None else "change" if self.before is not None else "add"
        return _WORDS[self.aspect](verb, self)


def changes(before: State, after: State) -> Iterator[Change]:
    """From one state to another, in the order in which they are made."""
    for aspect in ASPECTS:
        old, new = before.get(aspect, {}), after.get(aspect, {})
        for key, value in new.items():
            if old.get(key) != value:
                yield Change(aspect, key, old.get(key), value)
    for aspect in reversed(ASPECTS):
        old, new = before.get(aspect, {}), after.get(aspect, {})
        for key, value in old.items():
            if key not in new:
                yield Change(aspect, key, value, None)


def lines(state: State) -> str:
    """For people: a line for each thing."""
    shown = (
        f"{aspect}: {text}\n"
        for aspect in ASPECTS
        for text in sorted(
            _SHOWN[aspect](key, value) for key, value in state.get(aspect, {}).items()
        )
    )
    return "".join(shown)


# Words


def _sysctl(_verb: str, change: Change) -> str:
    if change.after is None:
        return f"set {change.key} to what it was before"
    return f"set {change.key} from {change.before} to {change.after}"


def _filter(verb: str, _change: Change) -> str:
    return f"{verb} the table of nftables"


def _tunnel(verb: str, change: Change) -> str:
    kind, local = change.key
    return f"{verb} the {kind} device for what is sent to {local}"


def _gue(verb: str, change: Change) -> str:
    address, port = change.key
    return f"{verb} GUE at {address}, UDP port {port}"


def _program(verb: str, change: Change) -> str:
    there = f"the XDP program on {change.key}"
    names = {one.name for one in (change.before, change.after) if one}
    if verb == "change" and len(names) == 1:
        return f"tell {there} of other addresses"
    verb = {"add": "attach", "remove": "detach"}.get(verb, "replace")
    return f"{verb} {there}; its link may pause"


def _vip(verb: str, change: Change) -> str:
    return f"{verb} the VIP {change.key} {'from' if verb == 'remove' else 'to'} lo"


_WORDS = {
    "sysctls": _sysctl,
    "filter": _filter,
    "tunnels": _tunnel,
    "gue": _gue,
    "programs": _program,
    "vips": _vip,
}


def _device_shown(tunnel: Tunnel, device: Device) -> str:
    faults = [] if device.is_up else ["down"]
    faults += [] if device.is_loose else ["with a strict rp_filter"]
    text = " ".join([f"{tunnel.kind} for {tunnel.local}", *faults])
    return text + "".join(f", {one}" for one in sorted(device.addresses))


def _program_shown(interface: str, program: Unpacker) -> str:
    told = (
        f"for {listed(sorted(f'{address} (GUE {port})' for address, port in program.ends))}",
        f"from {listed(sorted(map(str, program.balancers)))}",
        f"to {listed(sorted(map(str, program.vips)))}",
    )
    return f"{program.name} on {interface} {' '.join(told)}"


_SHOWN = {
    "sysctls": lambda name, value: f"{name}={value}",
    "filter": lambda _key, value: f"{value.digest}, {value.rules} rules",
    "tunnels": _device_shown,
    "gue": lambda key, _value: f"{key[0]} port {key[1]}",
    "programs": _program_shown,
    "vips": lambda address, _value: str(address),
}
