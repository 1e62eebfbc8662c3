# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer of one interface: its live state, the plan to another, and carrying that out.

`plan` compares the desired state with what the kernel holds, not with what some file remembers.
`apply` has it carried out, see apply.py: what packets notice is one exchange of the service table,
or, if the program itself changes, of the program.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from ..datapath.build import build_flags, program_text
from ..datapath.program import DataPath, Statistics
from ..errors import ConfigError, ForeignProgramError, L4lbError
from ..kernel import compiler, lock, requirements
from ..kernel.bpf import Program
from ..kernel.paths import Paths, require_root
from ..kernel.pins import Pins, pinned_interfaces
from ..maps import image, layout, sizes
from ..maps.manifest import Manifest
from ..model import checks
from ..model.config import Config
from ..model.edits import keep_holds
from ..model.interface import Source
from ..network import ethtool, forwarding, link
from ..network.link import Link
from ..routing import devices, egress, local, path_mtu, ways
from ..routing.ways import Known, Ways
from . import changes, needs
from .apply import Change, Removal, Setup, carry_out
from .changes import Changes, Observed
from .live import Live
from .plan import Plan
from .saved import Saved, saved_interfaces


@dataclass(frozen=True)
class Outcome:
    """What an apply did."""

    plan: Plan
    mode: str | None
    headers: compiler.Headers | None = None
    """What the program was compiled with, if it was."""
    waited: float = 0.0
    """Seconds that another run held the lock."""
    tidy: bool = True
    """Whether nothing is left to do for the next run; else there is a warning."""
    left: list[str] = field(default_factory=list)
    """What a second run would change, if that was looked for."""


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
        require_root()
        pinned = self.pins.program()
        live = Live(self._link(pinned, must_exist))
        attached = live.link.attached
        there = Program.by_id(attached.program_id) if attached else None
        if attached and there:
            live.data_path = DataPath.of(there)
            if live.data_path or (pinned and pinned.id == there.id):
                live.program, live.mode = there, attached.mode
            elif not devices.is_passing(there):
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
        data_path, manifest = live.data_path, live.manifest
        if data_path is None or manifest is None or not live.attached:
            return []
        source = _source(live.link, manifest.config)
        lines = changes.outdated(manifest.config, data_path.source_then(source), source)
        routed = needs.routed(manifest.config)
        lines += [
            f"net.ipv{version}.conf.lo.forwarding is 0"
            for version in sorted({address.version for address in routed})
            if not forwarding.routing_answers(self.paths, version)
        ]
        now = ways.look(routed, live.link.index, _mode(live, manifest.config), _known(live))
        never, not_yet = now.problems()
        return [*lines, *never, *not_yet, *now.differences(routed)]

    def statistics(self) -> tuple[Live, Statistics]:
        """The live state and its counters. Raises L4lbError if the interface has no balancer."""
        live, data_path, manifest = self.at_work()
        return live, data_path.statistics(manifest)

    # Planning

    def plan(
        self, config: Config | None, replace_foreign: bool = False, accepted: bool = False
    ) -> Plan:
        """What `apply` would do for `config`; None: for no balancer. Changes nothing.

        accepted: it was applied once, so that it is only warned of what cannot be meant.

        Raises ForeignProgramError, or ConfigError for what cannot be meant, or not on this host.
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
        warnings += _checked(desired, live.link, accepted)
        plan = self._plan_present(live, desired, accepted=accepted)
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
        warnings = _checked(desired, live.link, accepted=True)
        plan = self._plan_present(live, desired, manifest.build, accepted=True)
        plan.warnings += warnings
        return plan

    def _plan_absent(self, live: Live) -> Plan:
        plan = Plan(live, None)
        if live.attached:
            plan.steps.append(f"detach the program from {live.link.name}")
        if self.pins.exists() or self.staging.exists():
            plan.steps.append(f"remove {self.pins.directory}")
        if self.saved.exists():
            plan.steps.append(f"remove {self.saved.path}")
        unneeded = needs.unneeded(self.interface, self.paths)
        if not plan.changed and unneeded.hops:
            plan.steps.append("let go of the next hops")
        plan.steps += map(_detached, needs.names(unneeded.redirects))
        return plan

    def _plan_present(
        self,
        live: Live,
        config: Config,
        build: dict[str, Any] | None = None,
        accepted: bool = False,
    ) -> Plan:
        """build: of the program that is there, to keep it; None: find out whether it will do."""
        source = _source(live.link, config)
        desired = _with_sources(config, source)
        image.own_macs(desired, source)  # raises ConfigError, before anything changes
        plan = Plan(live, desired, config, accepted)
        routed = needs.routed(desired)
        plan.ways = ways.look(routed, live.link.index, _mode(live, config), _known(live))
        plan.warnings += plan.ways.judge(accepted)
        plan.source = plan.ways.complete(source)
        if live.foreign:
            plan.steps.append(f"replace the XDP program {live.foreign.name!r}")
        plan.build = build or self._build(live, desired)
        plan.load = not build and self._plan_load(live, plan)
        if plan.load:
            requirements.require()
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
            then = live.data_path.source_then(source)
            outdated = changes.outdated(live.manifest.config, then, source)
            wrong = live.data_path.differences(live.manifest, then)
            plan.repair = [name for name in wrong if name in live.manifest.tables]
            plan.steps += [f"repair the map of {name}" for name in wrong if not found.steps]
            other_ways = plan.ways.differences(needs.routed(live.manifest.config))
            plan.steps += [*outdated, *other_ways]
            plan.write = plan.write or bool(found.steps or wrong or outdated or other_ways)
        if live.data_path and not live.pinned and not plan.load:
            plan.steps.append("pin the program and its maps")
        plan.needs = needs.Needs(
            frozenset(plan.ways.hops),
            frozenset(address.version for address in routed),
            plan.ways.settled.programs,
        )
        missing = needs.missing(plan.needs, self.paths)
        plan.steps += (
            f"attach a program to {name} that passes everything, as it takes redirected frames "
            "only then"
            for name in needs.names(missing.redirects)
        )
        unneeded = needs.unneeded_redirects(self.interface, self.paths, plan.needs)
        plan.steps += map(_detached, needs.names(unneeded.redirects))
        for version in sorted(missing.versions):
            plan.steps.append(f"set net.ipv{version}.conf.lo.forwarding to 1")
        if missing.hops and not plan.changed:
            plan.steps.append("have the kernel keep the next hops resolved")
        plan.save = not self.saved.holds(config)
        if plan.save and not plan.changed:
            plan.steps.append(f"write {self.saved.path}")
        if desired.wastes_seed:
            plan.warnings.append(
                "hash_seed has no effect: all services use the scheduler jhash, which knows none"
            )
        for address in plan.ways.unreachable:
            plan.warnings.append(f"no next hop for backend {address}; packets to it are dropped")
        plan.warnings += self._warnings(plan, desired, plan.ways)
        return plan

    def _warnings(self, plan: Plan, desired: Config, found: Ways) -> list[str]:
        """Of what makes packets fare otherwise than one might think."""
        limit_of = path_mtu.limits(desired, plan.source, found.routes, found.links)
        warnings = path_mtu.warnings(desired, limit_of)
        has_vlans = egress.has_vlans(plan.live.link.index, found.links)
        if has_vlans and ethtool.strips_tags(self.interface):
            warnings.append(
                f"{self.interface} takes VLAN tags off frames before they can be looked at, so "
                f"that all count as untagged; run ethtool -K {self.interface} rx-vlan-offload off, "
                "and make it last"
            )
        return warnings

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
        room = sizes.room_for(live.manifest, config)
        if live.data_path and live.manifest:
            room |= live.data_path.room
        text = program_text(self.sources)
        # a host that lost bcc keeps its program, and remembers what compiled it
        bcc = requirements.bcc_version() or (live.manifest and live.manifest.build.get("bcc"))
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

    def apply(
        self,
        config: Config | None,
        replace_foreign: bool = False,
        accepted: bool = False,
        verify: bool = False,
    ) -> Outcome:
        """Make the live state what `config` says, but for holds; None: remove the balancer.

        accepted: as of `plan`.
        verify: look again what the kernel does then, see `Outcome.left`.

        Raises L4lbError of some kind; the host is then as before.
        """
        require_root()  # here too: it takes root even to lock
        with lock.of_interface(self.interface, self.paths) as held:
            outcome = self._carry_out(self.plan(config, replace_foreign, accepted), held)
            if verify and outcome.plan.changed and outcome.tidy:
                return replace(outcome, left=self.plan(config, accepted=accepted).steps)
            return outcome

    def restore(self) -> Outcome | None:
        """Make the live state what is saved; None: nothing is, and nothing is done.

        Raises as `apply` does.
        """
        require_root()
        with lock.of_interface(self.interface, self.paths) as held:
            config = self.saved.read()  # now that no other run is about to remove it
            return self._carry_out(self.plan(config, accepted=True), held) if config else None

    def _carry_out(self, plan: Plan, held: lock.Held) -> Outcome:
        change = self._change(plan, held)
        if plan.changed:
            carry_out([change])
        return Outcome(plan, change.mode, change.headers, held.waited, change.tidy)

    def _change(self, plan: Plan, held: lock.Held) -> Change:
        if plan.desired is None:
            return Removal(self, plan, held)
        return Setup(self, plan, held, plan.desired, plan.source)

    def others(self) -> list[str]:
        """The other interfaces of this host that have a balancer, or have one saved."""
        names = {*pinned_interfaces(self.paths), *saved_interfaces(self.paths)}
        return sorted(names - {self.interface})


def change(balancers: Sequence[Balancer], edit: Callable[[Config], Config]) -> list[Plan]:
    """Make the live state of each what `edit` makes of it, which no other run can change meanwhile:
    of all of them, or of none. Returns what was done, in the order given.

    The program stays, so neither C sources nor a compiler are needed, and `edit` must not ask for
    what takes another one: states and weights of backends do not.

    Raises what `edit` does, and L4lbError of some kind, as if there is no balancer; the host is
    then as before.
    """
    require_root()
    with contextlib.ExitStack() as stack:
        held = {
            one.interface: stack.enter_context(lock.of_interface(one.interface, one.paths))
            for one in sorted(balancers, key=lambda one: one.interface)
        }
        plans = [one.plan_change(edit) for one in balancers]
        carry_out(
            [
                one._change(plan, held[one.interface])
                for one, plan in zip(balancers, plans)
                if plan.changed
            ]
        )
    return plans


def _checked(config: Config, interface: Link, accepted: bool) -> list[str]:
    """What speaks against a configuration. Raises ConfigError for what cannot be meant, unless it
    was accepted once."""
    found = checks.check(config, local.look(config, interface))
    if found.refusals and not accepted:
        raise found.refusals[0]
    return [*map(str, found.refusals), *found.warnings]


def _source(interface: Link, config: Config) -> Source:
    services = {service.address for service in config.services}
    address, address6 = (interface.source(version, services) for version in (4, 6))
    return Source(
        address if isinstance(address, IPv4Address) else None,
        interface.mac,
        address6 if isinstance(address6, IPv6Address) else None,
        interface.mtu,
        interface.receivers,
    )


def _known(live: Live) -> Known:
    """What the last run has seen of the ways to the backends."""
    if live.data_path is None or live.manifest is None:
        return Known()
    return Known(live.manifest.route_mtus, live.data_path.egresses())


def _mode(live: Live, config: Config) -> str:
    """That packets are handled in; auto, if that will only show."""
    if config.mode == "auto" and live.attached and live.mode:
        return live.mode
    return config.mode


def _detached(name: str) -> str:
    return f"detach the program from {name} that passes everything"


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
