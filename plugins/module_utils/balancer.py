# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer of one interface: its live state, the plan to another, and carrying that out.

`plan` compares the desired state with what the kernel holds, not with what some file remembers.
`apply` carries it out: everything that can fail comes before the one step that packets notice,
which is an exchange of the service table, or, if the program itself changes, of the program.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from . import changes, compiler, host, image, layout, link, neighbours, path_mtu, rtnetlink
from .bpf import Program
from .changes import Changes, Move, Observed
from .datapath import (
    DataPath,
    Statistics,
    build_flags,
    join_sources,
    reusable_maps,
)
from .errors import ConfigError, ForeignProgramError, L4lbError
from .holds import keep_holds
from .host import Paths, Pins
from .image import Manifest, Room, Source
from .link import Link
from .model import Address, Config
from .neighbours import Neighbour
from .saved import Saved, saved_interfaces

_RESOLVE_SECONDS = 1.0
"""How long an apply waits for the MAC addresses of new next hops."""


@dataclass
class Live:
    """What an interface has now."""

    link: Link
    data_path: DataPath | None = None
    """Ours, attached, or only pinned (as after the interface was made anew)."""
    program: Program | None = None
    """Ours, attached, whether its maps can be read or not."""
    mode: str | None = None
    foreign: Program | None = None
    manifest: Manifest | None = None
    pinned: bool = False
    """The pins are complete, and no interrupted run has left others."""
    saved: Config | None = None
    """What is on disk, if that is readable; asked only where the kernel does not say."""

    @property
    def attached(self) -> bool:
        """Whether our program is attached."""
        return self.program is not None

    @property
    def config(self) -> Config:
        """What it balances now; nothing if that is not known."""
        return self.manifest.config if self.manifest else Config(self.link.name)

    @property
    def remembered(self) -> Config:
        """What it balanced last: what is saved, where the kernel does not say."""
        return self.saved or self.config


@dataclass
class Plan:
    """What an apply would do."""

    live: Live
    desired: Config | None
    """None: no balancer. `source_address` is filled in."""
    declared: Config | None = None
    """What to save: the same as the user gave it, for at the next boot addresses may differ."""
    source: Source = field(default_factory=lambda: Source(None, ""))
    """What the host has for it."""
    build: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    """What changes, in words; empty if nothing does."""
    moves: list[Move] = field(default_factory=list)
    """What happens to the flows of services that change."""
    warnings: list[str] = field(default_factory=list)
    load: bool = False
    attach: bool = False
    write: bool = False
    save: bool = False
    repair: list[str] = field(default_factory=list)
    hops: set[Neighbour] = field(default_factory=set)
    """Next hops that the kernel is to keep resolved, and does not yet."""

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.steps)

    @property
    def before(self) -> dict[str, Any]:
        """The live state as the options a user would write, as it is shown; empty if there is
        none."""
        if self.live.manifest is None:
            return {}
        state = self.live.manifest.config.dump(shown=True)
        if state["mode"] != "auto" and self.live.mode:
            state["mode"] = self.live.mode
        return state

    @property
    def after(self) -> dict[str, Any]:
        """The desired state, likewise."""
        return self.desired.dump(shown=True) if self.desired else {}


@dataclass(frozen=True)
class Outcome:
    """What an apply did."""

    plan: Plan
    mode: str | None
    headers: compiler.Headers | None = None
    """What the program was compiled with, if it was."""
    waited: float = 0.0
    """Seconds that another run held the lock."""


class Balancer:
    """The balancer on one interface of this host."""

    def __init__(
        self, interface: str, sources: Mapping[str, str] | None = None, paths: Paths | None = None
    ) -> None:
        """sources: files of files/bpf by name, as text; only `apply` needs them."""
        self.interface = interface
        self.sources = sources or {}
        self.paths = paths or Paths()
        self.pins = Pins.of(interface, self.paths)
        self.staging = Pins.staging(interface, self.paths)
        self.saved = Saved(interface, self.paths)

    # Reading

    def live(self, must_exist: bool = True) -> Live:
        """Read the live state. Raises ConfigError if the interface must exist and does not."""
        host.require_root()
        pinned = self.pins.program()
        live = Live(self._link(pinned, must_exist))
        attached = live.link.attached
        there = Program.by_id(attached.program_id) if attached else None
        if attached and there:
            live.data_path = DataPath.of(there)
            if live.data_path or (pinned and pinned.id == there.id):
                live.program, live.mode = there, attached.mode
            else:
                live.foreign = there
        if pinned and not live.attached and not link.carriers(pinned.id):
            live.data_path = DataPath.of(pinned)
        if live.data_path:
            live.manifest = live.data_path.read()
            complete = self.pins.complete(live.data_path.program, live.data_path.pinned_maps())
            live.pinned = complete and not self.staging.directory.exists()
        if live.manifest is None:
            with contextlib.suppress(L4lbError):
                live.saved = self.saved.read()
        return live

    def _link(self, pinned: Program | None, must_exist: bool) -> Link:
        """The interface; if it has another name by now and need not exist, by that name."""
        try:
            return link.read_link(self.interface)
        except ConfigError as e:
            names = link.carriers(pinned.id) if pinned else []
            if must_exist:
                if names:
                    raise ConfigError(
                        "interface",
                        self.interface,
                        f"no such interface; its balancer is on {names[0]} now",
                    ) from e
                raise
            for name in names:
                other = Pins.of(name, self.paths).program()
                if pinned and (other is None or other.id != pinned.id):  # not its own by now
                    return link.read_link(name)
            return Link(index=0, name=self.interface, mac="")

    def at_work(self) -> tuple[Live, DataPath, Manifest]:
        """The live state, and what of it is there then. Raises L4lbError if the interface has no
        balancer."""
        live = self.live()
        if not live.attached:
            raise L4lbError(f"no balancer is attached to {self.interface}")
        if live.data_path is None or live.manifest is None:
            raise L4lbError(
                f"the maps of {self.interface} are of another version of the collection; "
                "apply the configuration again"
            )
        return live, live.data_path, live.manifest

    def outdated(self, live: Live) -> list[str]:
        """What the host has otherwise than at the last run, in words. Another run follows it."""
        manifest = live.manifest
        if manifest is None:
            return []
        routed = _routed(manifest.config)
        lines = [
            f"net.ipv{version}.conf.lo.forwarding is 0"
            for version in sorted(_versions(routed))
            if not host.routing_answers(self.paths, version)
        ]
        mtus = path_mtu.of_routes(neighbours.ways(routed), manifest.route_mtus)
        return lines + path_mtu.differences(manifest.route_mtus, mtus, routed)

    def statistics(self) -> tuple[Live, Statistics]:
        """The live state and its counters. Raises L4lbError if the interface has no balancer."""
        live, data_path, manifest = self.at_work()
        return live, data_path.statistics(manifest)

    # Planning

    def plan(self, config: Config | None, replace_foreign: bool = False) -> Plan:
        """What `apply` would do for `config`; None: for no balancer. Changes nothing.

        Raises ForeignProgramError, or ConfigError for what does not fit this host.
        """
        live = self.live(must_exist=config is not None)
        if live.foreign and config and not replace_foreign:
            raise ForeignProgramError(
                f"{self.interface} carries the XDP program {live.foreign.name!r} "
                f"(id {live.foreign.id}), which is not ours; remove it, or set replace: true"
            )
        if config is None:
            return self._plan_absent(live)
        desired, warnings = keep_holds(config, live.remembered)
        plan = self._plan_present(live, desired)
        plan.warnings += warnings
        return plan

    def plan_change(self, edit: Callable[[Config], Config]) -> Plan:
        """What `change` would do. Changes nothing. Raises as `change` does."""
        live, _data_path, manifest = self.at_work()
        desired = replace(edit(manifest.config), interface=self.interface)
        with contextlib.suppress(L4lbError):  # what is not readable is written anew
            saved = self.saved.read()
            if saved:  # it knows which sources were given, and which are the interface's own
                desired = replace(
                    desired,
                    source_address=saved.source_address,
                    source_address6=saved.source_address6,
                )
        return self._plan_present(live, desired, manifest.build)

    def _plan_absent(self, live: Live) -> Plan:
        plan = Plan(live, None)
        if live.attached:
            plan.steps.append(f"detach the program from {live.link.name}")
        if self.pins.exists() or self.staging.exists():
            plan.steps.append(f"remove {self.pins.directory}")
        if self.saved.exists():
            plan.steps.append(f"remove {self.saved.path}")
        if not plan.changed and self._unneeded_hops():
            plan.steps.append("let go of the next hops")
        return plan

    def _plan_present(
        self, live: Live, config: Config, build: dict[str, Any] | None = None
    ) -> Plan:
        """build: of the program that is there, to keep it; None: find out whether it will do."""
        source = _source(live.link)
        desired = _with_sources(config, source)
        plan = Plan(live, desired, config)
        routed = _routed(desired)
        ways = neighbours.ways(routed)
        known = live.manifest.route_mtus if live.manifest else {}
        plan.source = replace(source, route_mtus=path_mtu.of_routes(ways, known))
        if live.foreign:
            plan.steps.append(f"replace the XDP program {live.foreign.name!r}")
        plan.build = build or self._build(live, desired)
        plan.load = not build and self._plan_load(live, plan)
        if live.data_path and live.manifest is None and "flows" in live.data_path.maps:
            plan.steps.append("flows remembered so far are forgotten")
        wrong_mode = config.mode not in ("auto", live.mode)
        if plan.load or not live.attached or wrong_mode:
            plan.attach = True
            plan.steps.append(f"attach the program to {self.interface}, mode {config.mode}")
        if live.manifest is None or plan.load:
            plan.write = True
        if live.manifest and live.manifest.config.interface != self.interface:
            former = live.manifest.config.interface
            plan.write = True
            plan.steps.append(f"interface: {former} -> {self.interface}")
            plan.warnings.append(
                f"{self.interface} was {former}; state: absent for {former} removes what is left "
                "of that"
            )
        found = self._changes(live, desired)
        plan.steps += found.steps
        plan.moves = found.moves
        if live.manifest and live.data_path:
            wrong = live.data_path.differences(live.manifest, source)
            plan.repair = [name for name in wrong if name in live.manifest.tables]
            plan.steps += [f"repair the map of {name}" for name in wrong if not found.steps]
            mtus = path_mtu.differences(
                live.manifest.route_mtus,
                plan.source.route_mtus,
                [address for address in _routed(live.manifest.config) if address in ways],
            )
            plan.steps += mtus
            plan.write = plan.write or bool(found.steps or wrong or mtus)
        if live.data_path and not live.pinned and not plan.load:
            plan.steps.append("pin the program and its maps")
        for version in _versions(routed):
            if not host.routing_answers(self.paths, version):
                plan.steps.append(f"set net.ipv{version}.conf.lo.forwarding to 1")
        links = rtnetlink.links()
        hops, unreachable = neighbours.next_hops(ways, links)
        plan.hops = hops - neighbours.settled()
        if plan.hops and not plan.changed:
            plan.steps.append("have the kernel keep the next hops resolved")
        plan.save = not self.saved.holds(config)
        if plan.save and not plan.changed:
            plan.steps.append(f"write {self.saved.path}")
        if desired.wastes_seed:
            plan.warnings.append(
                "hash_seed has no effect: all services use the scheduler jhash, which knows none"
            )
        for address in unreachable:
            plan.warnings.append(f"no next hop for backend {address}; packets to it are dropped")
        plan.warnings += path_mtu.warnings(
            desired, path_mtu.limits(desired, plan.source, ways, links)
        )
        return plan

    def _changes(self, live: Live, desired: Config) -> Changes:
        """What differs; nothing is known of what is there but cannot be read."""
        data_path, manifest = live.data_path, live.manifest
        if data_path is None:
            return changes.additions(desired)
        if manifest is None:
            return Changes()
        observed = Observed(
            manifest,
            lambda service: data_path.slots(service, manifest),
            functools.cache(data_path.remembered_flows),
        )
        return changes.compare(observed, desired)

    def _build(self, live: Live, config: Config) -> dict[str, Any]:
        room = image.room_for(live.manifest, config)
        if live.data_path and live.manifest:
            room |= live.data_path.room
        text = join_sources(self.sources)
        # a host that lost bcc keeps its program, and remembers what compiled it
        bcc = compiler.bcc_version() or (live.manifest and live.manifest.build.get("bcc"))
        return {
            "sources": hashlib.sha256(text.encode()).hexdigest(),
            "flags": build_flags(config, room),
            "bcc": bcc,
            "layout": layout.VERSION,
            "backends": room.backends,
            "tables": room.tables,
        }

    def _plan_load(self, live: Live, plan: Plan) -> bool:
        """Whether the program must be compiled, and say why."""
        names = {
            "sources": "the sources changed",
            "bcc": "bcc changed",
            "layout": "the layout of the maps changed",
            "backends": "more backends than the maps have room for",
            "tables": "more lookup tables than the maps have room for",
            "flags": "the services use other features",
        }
        if live.data_path is None:
            plan.steps.append("compile and load the program")
            return True
        if live.manifest is None:
            plan.steps.append("compile and load the program: the one in place cannot be read")
            return True
        was = live.manifest.build
        for name, reason in names.items():
            if plan.build[name] != was.get(name):
                plan.steps.append(f"compile and load the program: {reason}")
                return True
        return False

    # Changing

    def apply(self, config: Config | None, replace_foreign: bool = False) -> Outcome:
        """Make the live state what `config` says, but for holds; None: remove the balancer.

        Raises L4lbError of some kind; the old state then forwards as before.
        """
        host.require_root()  # here too: it takes root even to lock
        with host.lock(self.interface, self.paths) as waited:
            return self._carry_out(self.plan(config, replace_foreign), waited)

    def change(self, edit: Callable[[Config], Config]) -> Outcome:
        """Make the live state what `edit` makes of it, which no other run can change meanwhile.

        The program stays, so neither C sources nor a compiler are needed, and `edit` must not ask
        for what takes another one: states and weights of backends do not.

        Raises what `edit` does, and L4lbError of some kind, as if there is no balancer; the old
        state then forwards as before.
        """
        host.require_root()
        with host.lock(self.interface, self.paths) as waited:
            return self._carry_out(self.plan_change(edit), waited)

    def _carry_out(self, plan: Plan, waited: float) -> Outcome:
        if plan.changed:
            link.require_pyroute2()
        if plan.desired is None:
            if plan.changed:
                self._remove(plan)
            return Outcome(plan, None, waited=waited)
        headers = compiler.require_tools() if plan.load else None
        live = plan.live
        mode: str | None
        new = not self.pins.directory.exists()
        try:
            host.mount_bpffs(self.paths)
            self.pins.create()  # first, so that removal sees it if this run is killed
            if plan.save and plan.declared:
                self.saved.prepare(plan.declared)
            self._prepare_host(plan, plan.desired)
            if plan.load or live.data_path is None or live.manifest is None:
                mode = self._load(plan, plan.desired)
            else:
                mode = self._change(plan, plan.desired, live.data_path, live.manifest)
        except BaseException:
            self.saved.abandon()
            with contextlib.suppress(L4lbError):  # the first error is the one to tell
                if new:
                    self.pins.remove()
                self._forget_hops(_routed(plan.desired), _routed(self.live().config))
            raise
        if plan.changed:
            self._forget_hops(_routed(live.config), _routed(plan.desired))
        if plan.save:
            self.saved.commit()
        return Outcome(plan, mode, headers, waited)

    def _prepare_host(self, plan: Plan, desired: Config) -> None:
        """What new backends need before packets go to them."""
        for version in _versions(_routed(desired)):
            if not host.routing_answers(self.paths, version):
                host.let_routing_answer(self.paths, version)
        neighbours.manage(plan.hops)
        for address in neighbours.unresolved(plan.hops, _RESOLVE_SECONDS):
            plan.warnings.append(f"next hop {address} has not answered yet")

    def _forget_hops(self, gone: Iterable[Address], kept: Iterable[Address]) -> None:
        """Let go of the next hops of backends that are `gone`, unless others have the same."""
        others = self._needed_by_others()
        if others is None:
            return
        needed = others.union(kept)
        unneeded = set(gone) - needed
        if not unneeded:
            return
        hops = _next_hops(unneeded) - _next_hops(needed)
        neighbours.manage([], hops & neighbours.managed())
        for version in _versions(unneeded) - _versions(needed):
            host.restore_routing(self.paths, version)

    def _needed_by_others(self) -> set[Address] | None:
        """What the other balancers of this host route to; None if that is not known of all."""
        needed: set[Address] = set()
        for interface in host.pinned_interfaces(self.paths):
            if interface != self.interface:
                manifest = Balancer(interface, paths=self.paths).pinned_manifest()
                if manifest is None:
                    return None
                needed.update(_routed(manifest.config))
        return needed

    def _unneeded_hops(self) -> set[Neighbour]:
        """Our neighbour entries that no other balancer of this host needs."""
        needed = self._needed_by_others()
        if needed is None:
            return set()
        return neighbours.managed() - _next_hops(needed)

    def _load(self, plan: Plan, desired: Config) -> str:
        """Bring a new program with the new state; attaching it is the switch."""
        live = plan.live
        source = plan.source
        self.staging.remove()
        self.staging.create()
        try:
            old = live.data_path if live.manifest else None
            room = Room(plan.build["backends"], plan.build["tables"])
            shared = reusable_maps(old.maps, desired, room) if old else {}
            for name, map_ in shared.items():
                self.staging.set(name, map_)
            pin_dir = f'-DPIN_DIR="{self.staging.directory}"'
            new = DataPath.load(self.sources, desired, room, [pin_dir])
            copied = new.copy_counters(old) if old else {}
            staged = new.stage(
                desired, source, plan.build, live.manifest, plan.repair, shared.keys()
            )
            self.staging.set("manifest", staged.manifest_map)
            new.switch(staged)
            mode = self._attach(live, new, desired.mode)
        except BaseException:
            self.staging.remove()
            raise
        # Now that the new program is in use, all that it needs stays pinned, come what may.
        if old:
            new.catch_up(old, copied)
        new.finish(staged)
        self._pin(new)
        return mode

    def _change(
        self, plan: Plan, desired: Config, data_path: DataPath, manifest: Manifest
    ) -> str | None:
        """Bring the new state to the program that is there."""
        live = plan.live
        if plan.write:
            source = plan.source
            staged = data_path.stage(desired, source, plan.build, manifest, plan.repair)
            self.pins.set("manifest%next", staged.manifest_map)
            data_path.switch(staged)
            data_path.finish(staged)
        mode = self._attach(live, data_path, desired.mode) if plan.attach else live.mode
        if plan.write or not live.pinned:
            self._pin(data_path)
        return mode

    def _attach(self, live: Live, data_path: DataPath, mode: str) -> str:
        """Attach in place of what is there, at once where the kernel can."""
        current = live.link.attached
        if current is None:
            return link.attach(live.link, data_path.program.fd, mode, None)
        there = live.foreign or Program.by_id(current.program_id)
        if there is None:
            raise L4lbError(f"the program of {self.interface} has just changed; run again")
        if mode not in ("auto", current.mode):
            # the kernel allows one mode at a time, so this cannot be one step
            link.detach(live.link, there.fd)
            try:
                return link.attach(live.link, data_path.program.fd, mode, None)
            except L4lbError:
                link.attach(live.link, there.fd, current.mode, None)
                raise
        return link.attach(live.link, data_path.program.fd, current.mode, there.fd)

    def _pin(self, data_path: DataPath) -> None:
        for name, map_ in data_path.pinned_maps().items():
            self.pins.set(name, map_)
        self.pins.set("program", data_path.program)
        self.pins.drop_others({"program", *data_path.pinned_maps()})
        self.staging.remove()

    def _remove(self, plan: Plan) -> None:
        live = plan.live
        if live.program:
            link.detach(live.link, live.program.fd)
        self.saved.remove()
        needed = self._needed_by_others()
        if needed is not None:
            neighbours.manage([], self._unneeded_hops())
            for version in {4, 6} - _versions(needed):
                host.restore_routing(self.paths, version)
        self.staging.remove()
        self.pins.remove()  # last: if this run is killed, they say that something is left

    def others(self) -> list[str]:
        """The other interfaces of this host that have a balancer, or have one saved."""
        names = {*host.pinned_interfaces(self.paths), *saved_interfaces(self.paths)}
        return sorted(names - {self.interface})

    def pinned_manifest(self) -> Manifest | None:
        """What the pinned maps hold; None if there are none, or they are of another version."""
        program = self.pins.program()
        data_path = DataPath.of(program) if program else None
        return data_path.read() if data_path else None


def _source(interface: Link) -> Source:
    return Source(interface.address, interface.mac, interface.address6, interface.mtu)


def _with_sources(config: Config, source: Source) -> Config:
    """With the default sources of tunnels filled in. Raises ConfigError if one is needed and the
    interface has no such address."""
    for service in config.services:
        for backend in {one.address.version: one for one in service.backends}.values():
            image.outer_source(backend, service, config, source)
    own, own6 = source.address, source.address6
    return replace(
        config,
        source_address=config.source_address or (IPv4Network(own) if own else None),
        source_address6=config.source_address6 or (IPv6Network(own6) if own6 else None),
    )


def _routed(config: Config) -> list[Address]:
    """The backends whose next hop is found by routing."""
    if config.gateway_mac:
        return []
    return [
        backend.address
        for service in config.services
        for backend in service.backends
        if not backend.mac
    ]


def _next_hops(addresses: Iterable[Address]) -> set[Neighbour]:
    return neighbours.next_hops(neighbours.ways(addresses), rtnetlink.links())[0]


def _versions(addresses: Iterable[Address]) -> set[int]:
    return {address.version for address in addresses}
