# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the balancers of a host share: next hops that the kernel keeps resolved; a loopback
interface that forwards, so that the kernel answers route lookups; and interfaces that take
redirects.

It is there as long as any of them needs it. What one needs follows from its pins; a run that is on
its way there notes it in its lock. Whoever changes any of it holds the host's lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ..datapath import egresses
from ..datapath.program import DataPath
from ..kernel import lock
from ..kernel.paths import Paths
from ..kernel.pins import Pins, all_pins, pinned_interfaces
from ..maps.manifest import Manifest
from ..model.config import Address, Config
from ..network import forwarding, neighbour_table, neighbours, rtnetlink
from ..network.link import Link
from ..network.neighbours import Neighbour, Settled
from ..routing import devices
from .saved import saved_interfaces

_VERSIONS = frozenset((4, 6))
_NATIVE = 1
_TRIES = 3
"""As another run may bring another state while this one looks."""


@dataclass(frozen=True)
class Needs:
    """What a balancer, or several, need of the host."""

    hops: frozenset[Neighbour] = frozenset()
    versions: frozenset[int] = frozenset()
    """IP versions of which routing is asked."""
    redirects: frozenset[int] = frozenset()
    """Indices of interfaces that take redirected frames only while they have a program, which need
    be none but for that."""

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.hops | other.hops,
            self.versions | other.versions,
            self.redirects | other.redirects,
        )

    def __sub__(self, other: Needs) -> Needs:
        return Needs(
            self.hops - other.hops,
            self.versions - other.versions,
            self.redirects - other.redirects,
        )

    def dump(self) -> bytes:
        """As JSON."""
        hops = [(index, str(address)) for index, address in self.hops]
        others = {"versions": [*self.versions], "redirects": [*self.redirects]}
        return json.dumps({"hops": hops, **others}).encode()

    @classmethod
    def load(cls, text: bytes) -> Needs:
        """Read what `dump` wrote, or nothing at all. Raises ValueError."""
        if not text:
            return cls()
        raw = json.loads(text)
        hops = frozenset((index, ip_address(address)) for index, address in raw["hops"])
        return cls(hops, frozenset(raw["versions"]), frozenset(raw["redirects"]))


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


def needs_of(addresses: Iterable[Address], sources: Mapping[int, Address]) -> Needs:
    """What it takes to send to backends that are routed to, from these sources by IP version."""
    wanted = set(addresses)
    found = neighbours.ways(wanted, sources)
    hops, _unreachable = neighbours.next_hops(found, rtnetlink.links())
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
    for name, pins in all_pins(paths):
        if name != interface and pins.program():
            there = _pinned(pins)
            if there is None:
                return None
            data_path, manifest = there
            needs |= needs_of(routed(manifest.config), manifest.config.sources)
            targets = frozenset(egress.target for egress in egresses.read(data_path).values())
            needs |= Needs(redirects=targets - {0})
    return needs


def senders(interface: Link, paths: Paths) -> list[str]:
    """Interfaces of balancers of mode native whose packets leave by this one, and no more once it
    has a program of mode generic."""
    if not devices.is_card(interface.index):
        return []
    native = {one.name for one in rtnetlink.links() if one.xdp_mode == _NATIVE}
    return sorted(
        name
        for name, pins in all_pins(paths)
        if name in native - {interface.name} and interface.index in _redirected_to(pins)
    )


def _redirected_to(pins: Pins) -> set[int]:
    """Where a balancer's packets leave by the driver of another interface."""
    there = _pinned(pins)
    if there is None:
        return set()
    data_path, manifest = there
    hops = needs_of(routed(manifest.config), manifest.config.sources).hops
    used = {index for index, _address in hops}
    table = egresses.read(data_path)
    return {egress.target for (index, _mac), egress in table.items() if index in used}


def _pinned(pins: Pins) -> tuple[DataPath, Manifest] | None:
    """A data path, and what it holds; None if there is none, or it is of another version."""
    for _try in range(_TRIES):
        program = pins.program()
        data_path = DataPath.of(program) if program else None
        manifest = data_path.read() if data_path else None
        if data_path and manifest:
            return data_path, manifest
    return None


def unneeded(interface: str, paths: Paths) -> Needs:
    """What was provided and no balancer but that of `interface` needs."""
    needed = needed_by_others(interface, paths)
    if needed is None:
        return Needs()
    provided = Needs(
        frozenset(neighbours.managed()),
        frozenset(version for version in _VERSIONS if forwarding.routing_was_let(paths, version)),
        _passing(),
    )
    return provided - needed


def unneeded_redirects(interface: str, paths: Paths, needs: Needs) -> Needs:
    """Interfaces that were given a program to take redirects, and need none for any balancer; that
    of `interface` has these `needs`."""
    passing = _passing()
    others = needed_by_others(interface, paths) if passing else None
    return Needs() if others is None else Needs(redirects=passing) - others - needs


def unneeded_sysctls(interface: str, paths: Paths) -> Path | None:
    """The file that sets some for balancers, if there is one and no balancer but that of
    `interface`."""
    file = neighbour_table.file_of(paths)
    others = {*pinned_interfaces(paths), *saved_interfaces(paths)} - {interface}
    return file if file.exists() and not others else None


def names() -> dict[int, str]:
    """Of interfaces, by index."""
    return {entry.index: entry.name for entry in rtnetlink.links()}


def _passing() -> frozenset[int]:
    return frozenset(entry.index for entry in devices.passing(rtnetlink.links()))


def missing(needs: Needs, paths: Paths, settled: Settled | None = None) -> Needs:
    """What of it the host does not provide.

    settled: which neighbours are, if that was asked.
    """
    settled = settled or neighbours.settled()
    refused = {one for one in needs.versions if not forwarding.routing_answers(paths, one)}
    links = rtnetlink.links() if needs.redirects else []
    bare = {entry.index for entry in links if not entry.xdp_program}
    return Needs(settled.others(needs.hops), frozenset(refused), needs.redirects & bare)


def provide(needs: Needs, paths: Paths) -> None:
    """Have the kernel keep next hops resolved, and answer route lookups; and interfaces take
    redirects."""
    for version in needs.versions:
        forwarding.let_routing_answer(paths, version)
    neighbours.manage(needs.hops)
    for entry in rtnetlink.links() if needs.redirects else ():
        if entry.index in needs.redirects:
            devices.have_redirects_taken(entry)


def withdraw(needs: Needs, paths: Paths) -> None:
    """Undo `provide`. Entries that are not ours by now are left alone."""
    neighbours.manage([], needs.hops & neighbours.managed())
    for version in needs.versions:
        forwarding.restore_routing(paths, version)
    for entry in devices.passing(rtnetlink.links()) if needs.redirects else ():
        if entry.index in needs.redirects:
            devices.let_go(entry)
