# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the balancers of a host share: next hops that the kernel keeps resolved, and a loopback
interface that forwards, so that the kernel answers route lookups.

It is there as long as any of them needs it. What one needs follows from its pins; a run that is on
its way there notes it in its lock. Whoever changes any of it holds the host's lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from . import host, lock, neighbours
from .datapath import DataPath
from .host import Paths, Pins
from .image import Manifest
from .model import Address, Config
from .neighbours import Neighbour

_VERSIONS = frozenset((4, 6))
_TRIES = 3
"""As another run may bring another state while this one looks."""


@dataclass(frozen=True)
class Needs:
    """What a balancer, or several, need of the host."""

    hops: frozenset[Neighbour] = frozenset()
    versions: frozenset[int] = frozenset()
    """IP versions of which routing is asked."""

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.hops | other.hops, self.versions | other.versions)

    def __sub__(self, other: Needs) -> Needs:
        return Needs(self.hops - other.hops, self.versions - other.versions)

    def dump(self) -> bytes:
        """As JSON."""
        hops = [(index, str(address)) for index, address in self.hops]
        return json.dumps({"hops": hops, "versions": [*self.versions]}).encode()

    @classmethod
    def load(cls, text: bytes) -> Needs:
        """Read what `dump` wrote, or nothing at all. Raises ValueError."""
        if not text:
            return cls()
        raw = json.loads(text)
        hops = frozenset((index, ip_address(address)) for index, address in raw["hops"])
        return cls(hops, frozenset(raw["versions"]))


def routed(config: Config) -> list[Address]:
    """The backends whose next hop is found by routing."""
    if config.gateway_mac:
        return []
    return [
        backend.address
        for service in config.services
        for backend in service.backends
        if not backend.mac
    ]


def needs_of(addresses: Iterable[Address]) -> Needs:
    """What it takes to send to backends that are routed to."""
    wanted = set(addresses)
    hops, _unreachable = neighbours.next_hops(wanted)
    return Needs(frozenset(hops), frozenset(address.version for address in wanted))


def needed_by_others(interface: str, paths: Paths) -> Needs | None:
    """What the other balancers of this host need; None if that is not known of all."""
    needs = Needs()
    try:
        for name, note in lock.notes(paths).items():  # before the pins, which follow
            if name != interface:
                needs |= Needs.load(note)
    except (ValueError, KeyError, TypeError):
        return None
    addresses: set[Address] = set()
    for name, pins in host.all_pins(paths):
        if name != interface and pins.program():
            manifest = pinned_manifest(pins)
            if manifest is None:
                return None
            addresses.update(routed(manifest.config))
    return needs | needs_of(addresses)


def pinned_manifest(pins: Pins) -> Manifest | None:
    """What pinned maps hold; None if there are none, or they are of another version."""
    for _ in range(_TRIES):
        program = pins.program()
        data_path = DataPath.of(program) if program else None
        manifest = data_path.read() if data_path else None
        if manifest:
            return manifest
    return None


def unneeded(interface: str, paths: Paths) -> Needs:
    """What was provided and no balancer but that of `interface` needs."""
    needed = needed_by_others(interface, paths)
    if needed is None:
        return Needs()
    provided = Needs(
        frozenset(neighbours.managed()),
        frozenset(version for version in _VERSIONS if host.routing_was_let(paths, version)),
    )
    return provided - needed


def missing(needs: Needs, paths: Paths) -> Needs:
    """What of it the host does not provide."""
    refused = {one for one in needs.versions if not host.routing_answers(paths, one)}
    return Needs(needs.hops - neighbours.settled(), frozenset(refused))


def provide(needs: Needs, paths: Paths) -> None:
    """Have the kernel keep next hops resolved, and answer route lookups."""
    for version in needs.versions:
        host.let_routing_answer(paths, version)
    neighbours.manage(needs.hops)


def withdraw(needs: Needs, paths: Paths) -> None:
    """Undo `provide`. Entries that are not ours by now are left alone."""
    neighbours.manage([], needs.hops & neighbours.managed())
    for version in needs.versions:
        host.restore_routing(paths, version)
