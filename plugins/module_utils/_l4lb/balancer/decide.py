# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done: from the desired state and what was observed to a plan. All of it is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from ..datapath.build import build_flags
from ..errors import ForeignProgramError, HostError
from ..maps import image, layout, sizes
from ..model import checks
from ..model.config import Config
from ..model.edits import keep_holds, overlapped
from ..model.interface import Ingress
from ..routing import crowd, path_mtu
from . import changes, needs
from .changes import Changes
from .live import Live, pause_told
from .needs import Needs
from .observe import Observed
from .places import Places
from .plan import Plan

KEEP_RESOLVED = "have the kernel keep the next hops resolved"
"""A step, told where there is no other."""
_REASONS = {
    "sources": "the sources changed",
    "bcc": "bcc changed",
    "layout": "the layout of the maps changed",
    "backends": "more backends than the maps have room for",
    "tables": "more lookup tables than the maps have room for",
    "flags": "the services use other features",
}
"""What of a build makes another program necessary, and how that is told."""


@dataclass(frozen=True)
class Terms:
    """On what terms a plan is made.

    replace_foreign: the program of somebody else may be replaced.
    accepted: the state was applied once, so that it is only warned of what cannot be meant.
    edited: it is the live state but for states and weights of backends: the program stays.
    resumed: a pause ends, which otherwise lasts.
    """

    replace_foreign: bool = False
    accepted: bool = False
    edited: bool = False
    resumed: bool = False


@dataclass(frozen=True)
class Remains:
    """What there is of a balancer that is to go."""

    live: Live
    attached: bool = False
    pins: bool = False
    saved: bool = False
    sysctls: Path | None = None
    """The file that sets some for the balancers of this host, of which none is left then."""
    unneeded: Needs = field(default_factory=Needs)
    """By anyone else."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Of interfaces."""


def removal(places: Places, remains: Remains) -> Plan:
    """To no balancer."""
    steps = []
    if remains.attached:
        steps.append(f"detach the program from {remains.live.link.name}")
    if remains.pins:
        steps.append(f"remove {places.pins.directory}")
    if remains.saved:
        steps.append(f"remove {places.saved.path}")
    if remains.sysctls:
        steps.append(f"remove {remains.sysctls}")
    if not steps and remains.unneeded.hops:
        steps.append("let go of the next hops")
    steps += _detached(_names(remains.unneeded.redirects, remains.names))
    return Plan(remains.live, None, steps=tuple(steps))


def decide(places: Places, wanted: Config, seen: Observed, terms: Terms | None = None) -> Plan:
    """To a balancer as `wanted`.

    Raises ForeignProgramError, ConfigError for what cannot be meant, and HostError for what cannot
    be on this host.
    """
    terms = terms or Terms()
    foreign = seen.live.foreign
    if foreign and not terms.replace_foreign and not _stays_paused(seen, terms):
        raise ForeignProgramError(
            f"{places.interface} carries the XDP program {foreign.name!r} (id {foreign.id}), which "
            "is not ours; remove it, or set replace: true"
        )
    return _Decision(places, wanted, seen, terms).plan()


def _stays_paused(seen: Observed, terms: Terms) -> bool:
    """Whether nothing is to be attached, so that whoever has a program there keeps it."""
    return seen.live.paused is not None and not terms.resumed


class _Decision:
    """On its way to a plan: steps and warnings in the order in which they are told."""

    def __init__(self, places: Places, wanted: Config, seen: Observed, terms: Terms) -> None:
        self.places, self.seen, self.terms = places, seen, terms
        self.steps: list[str] = []
        self.held: list[str] = []
        self.config = wanted
        self.is_paused = _stays_paused(seen, terms)
        if not terms.edited:
            self.config, self.held = keep_holds(wanted, seen.live.remembered)
        self.held += self._checked()
        self.desired = with_sources(self.config, seen.ingress)
        image.own_macs(self.desired, seen.ingress)  # raises ConfigError
        self.warnings = seen.ways.judge(terms.accepted)
        self.sysctls = {} if terms.edited else self._judge_crowd()

    def plan(self) -> Plan:
        """All of it."""
        seen = self.seen
        if seen.live.foreign and not self.is_paused:
            self.steps.append(f"replace the XDP program {seen.live.foreign.name!r}")
        if seen.live.paused is not None and not self.is_paused:
            self.steps.append(f"end the pause of {self.places.interface}")
        build = self._build()
        load = self._load(build)
        attach = self._attach(load)
        renamed = self._renamed()
        found = self._changes()
        self.steps += found.steps
        wrong = seen.maps.wrong if seen.maps and seen.manifest else ()
        outdated = self._outdated(wrong, bool(found.steps))
        if seen.maps and not seen.live.pinned and not load:
            self.steps.append("pin the program and its maps")
        self._provide()
        save = not seen.saved(self.config)
        if save and not self.steps:
            self.steps.append(f"write {self.places.saved.path}")
        self._warn()
        if load:
            self._warn_of_memory()
        write = load or renamed or outdated or seen.manifest is None or bool(found.steps or wrong)
        tables = seen.manifest.tables if seen.manifest else {}
        return Plan(
            live=seen.live,
            desired=self.desired,
            declared=self.config,
            accepted=self.terms.accepted,
            ingress=seen.ingress,
            ways=seen.ways,
            build=build,
            steps=tuple(self.steps),
            moves=tuple(found.moves),
            warnings=(*self.warnings, *self.held),
            load=load,
            attach=attach,
            write=write,
            save=save,
            repair=tuple(name for name in wrong if name in tables),
            sysctls=self.sysctls,
            needs=seen.needs,
            newcomer=seen.newcomer,
            overlap=self._overlap(),
        )

    def _checked(self) -> list[str]:
        """What speaks against the configuration. Raises ConfigError for what cannot be meant,
        unless it was accepted once."""
        found = checks.check(self.config, self.seen.host)
        if found.refusals and not self.terms.accepted:
            raise found.refusals[0]
        return [*map(str, found.refusals), *found.warnings]

    def _judge_crowd(self) -> Mapping[str, int]:
        """What is to be set for the kernel to keep as many neighbours. Raises HostError if it takes
        fewer, unless that was accepted once."""
        seen = self.seen
        found = crowd.judge(seen.crowd, seen.limits, self.config.manage_sysctls)
        if found.refusals and not self.terms.accepted:
            raise HostError(found.refusals[0])
        self.warnings += [*found.refusals, *found.warnings]
        return found.sysctls

    # The program

    def _build(self) -> Mapping[str, Any]:
        seen, tools = self.seen, self.seen.tools
        if self.terms.edited and seen.manifest:
            return seen.manifest.build
        room = sizes.room_for(seen.manifest, self.desired)
        if seen.maps and seen.manifest:
            room |= seen.maps.room
        # a host that lost bcc keeps its program, and remembers what compiled it
        bcc = tools.bcc or (seen.manifest and seen.manifest.build.get("bcc"))
        return {
            "sources": tools.digest,
            "flags": build_flags(self.desired, room, tools.machine),
            "bcc": bcc,
            "layout": layout.VERSION,
            "backends": room.backends,
            "tables": room.tables,
        }

    def _load(self, build: Mapping[str, Any]) -> bool:
        """Whether the program must be compiled, and say why. Raises HostError if the kernel does
        not take it."""
        step = None if self.terms.edited else self._why_to_load(build)
        if step is None:
            return False
        self.steps.append(step)
        if problem := self.seen.tools.lacks():
            raise HostError(problem)
        return True

    def _why_to_load(self, build: Mapping[str, Any]) -> str | None:
        step = "compile and load the program"
        if self.seen.maps is None:
            return step
        if self.seen.manifest is None:
            return f"{step}: the one in place cannot be read"
        was = self.seen.manifest.build
        reasons = (reason for name, reason in _REASONS.items() if build[name] != was.get(name))
        reason = next(reasons, None)
        return f"{step}: {reason}" if reason else None

    def _attach(self, load: bool) -> bool:
        seen, mode = self.seen, self.config.mode
        if seen.maps and seen.manifest is None and seen.maps.has_flows:
            self.steps.append("flows remembered so far are forgotten")
        if self.is_paused:
            return False
        wrong_mode = mode not in ("auto", seen.live.mode)
        if load or not seen.live.attached or wrong_mode:
            pause = "; the link may pause" if seen.live.attached and wrong_mode else ""
            self.steps.append(f"attach the program to {self.places.interface}, mode {mode}{pause}")
            return True
        return False

    # What it does

    def _renamed(self) -> bool:
        manifest, interface = self.seen.manifest, self.places.interface
        if manifest is None or manifest.config.interface == interface:
            return False
        former = manifest.config.interface
        self.steps.append(f"interface: {former} -> {interface}")
        self.warnings.append(
            f"{interface} was {former}; state: absent for {former} removes what is left of that"
        )
        return True

    def _changes(self) -> Changes:
        """What differs; nothing is known of what is there but cannot be read."""
        maps, manifest = self.seen.maps, self.seen.manifest
        if maps is None:
            return changes.additions(self.desired)
        if manifest is None:
            return Changes()
        return changes.compare(
            changes.Observed(manifest, maps.slots, maps.flows, self.seen.newcomer), self.desired
        )

    def _overlap(self) -> Config | None:
        """Only somebody who checks the new backends can end it."""
        seen = self.seen
        if self.terms.edited or seen.newcomer is None or seen.manifest is None:
            return None
        return overlapped(seen.manifest.config, self.config) if seen.live.attached else None

    def _outdated(self, wrong: Iterable[str], other_steps: bool) -> bool:
        """Whether the host has something otherwise than at the last run."""
        seen = self.seen
        if seen.maps is None or seen.manifest is None:
            return False
        if not other_steps:
            self.steps += (f"repair the map of {name}" for name in wrong)
        found = [
            *changes.outdated(seen.manifest.config, seen.maps.ingress, seen.ingress),
            *seen.ways.differences(needs.routed(seen.manifest.config)),
        ]
        self.steps += found
        return bool(found)

    # What the host does for it

    def _provide(self) -> None:
        missing, names = self.seen.missing, self.seen.ways.names
        self.steps += (
            f"attach a program to {name} that passes everything, as it takes redirected frames "
            "only then"
            for name in _names(missing.redirects, names)
        )
        self.steps += _detached(_names(self.seen.idle.redirects, names))
        for version in sorted(missing.versions):
            self.steps.append(f"set net.ipv{version}.conf.lo.forwarding to 1")
        self.steps += (f"set {name} to {value}" for name, value in self.sysctls.items())
        if missing.hops and not self.steps:
            self.steps.append(KEEP_RESOLVED)

    def _warn_of_memory(self) -> None:
        """If there is to be a flow table that takes more than there is."""
        seen, config = self.seen, self.desired
        was = seen.manifest.config if seen.manifest and seen.maps and seen.maps.has_flows else None
        if was and sizes.flow_blocks(was) == sizes.flow_blocks(config):
            return
        memory = seen.tools.memory()
        needed = sizes.flow_table_bytes(config, memory.cpus)
        if memory.available is not None and needed > memory.available:
            self.warnings.append(
                f"flow_table_size: {config.flow_table_size}: takes {needed >> 20} MiB on "
                f"{memory.cpus} CPUs, and {memory.available >> 20} MiB are available; choose a "
                "smaller one"
            )

    def _warn(self) -> None:
        """Of what makes packets fare otherwise than one might think."""
        seen, name = self.seen, self.places.interface
        if self.is_paused and seen.live.paused is not None:
            self.warnings.append(pause_told(name, seen.live.paused))
        if not seen.live.link.is_up:
            self.warnings.append(
                f"interface: {name!r}: is down, so that nothing comes in; run ip link set {name} up"
            )
        if self.desired.wastes_seed:
            self.warnings.append(
                "hash_seed has no effect: all services use the scheduler jhash, which knows none"
            )
        if seen.senders:
            self.warnings.append(
                f"packets of the balancer on {', '.join(seen.senders)} leave by {name}, which "
                "takes them in mode native only; set mode to generic there, too"
            )
        for address in seen.ways.unreachable:
            self.warnings.append(f"no next hop for backend {address}; packets to it are dropped")
        limit_of = path_mtu.limits(
            self.desired, seen.ingress, seen.ways.routes, seen.ways.route_mtus, seen.ways.links
        )
        self.warnings += path_mtu.warnings(self.desired, limit_of)
        if seen.hint:
            self.warnings.append(seen.hint)
        if seen.strips_tags:
            self.warnings.append(
                f"{name} takes VLAN tags off frames before they can be looked at, so that all "
                f"count as untagged; run ethtool -K {name} rx-vlan-offload off, and make it last"
            )


def _names(indices: Iterable[int], names: Mapping[int, str]) -> list[str]:
    return sorted(names.get(index, f"interface {index}") for index in indices)


def _detached(names: Iterable[str]) -> list[str]:
    return [f"detach the program from {name} that passes everything" for name in names]


def with_sources(config: Config, ingress: Ingress) -> Config:
    """With the default sources of tunnels filled in. Raises ConfigError if one is needed and the
    interface has no such address."""
    for service in config.services:
        for backend in {one.address.version: one for one in service.backends}.values():
            image.outer_source(backend, service, config, ingress)
    own, own6 = ingress.address, ingress.address6
    return replace(
        config,
        source_address=config.source_address or (IPv4Network(own) if own else None),
        source_address6=config.source_address6 or (IPv6Network(own6) if own6 else None),
    )
