# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out plans, of one interface or of several: all of them, or nothing.

First everything is prepared that packets do not notice, then the new state is switched on, pinned
and saved. Whatever fails until then is undone, so that packets, pins, /etc/l4lb and the host are as
before. What is left to do after it, tidying up, can fail without harm: that is a warning, and the
next run completes it.

A run that is killed leaves the old state in use or the new one, and the next run mends the rest.
What is attached is pinned at any moment, in one of two directories.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..announce import host, table
from ..datapath import build, counters, egresses, staging
from ..datapath.build import SHARED
from ..datapath.program import DataPath
from ..datapath.staging import Staged
from ..errors import L4lbError
from ..kernel import bpf, lock, requirements
from ..kernel.bpf import Program
from ..kernel.headers import Headers
from ..kernel.pins import Pins, mount_bpffs, pinned_interfaces
from ..kernel.undo import Undo, uninterrupted
from ..maps.image import Image
from ..maps.manifest import Refusal
from ..maps.sizes import Room
from ..model.config import Address, Config
from ..network import forwarding, link, neighbour_table, neighbours, pyroute, xdp
from ..routing import devices
from . import modes, needs
from .needs import Needs
from .places import Places
from .plan import Plan
from .saved import saved_interfaces

_RESOLVE_SECONDS = 1.0
"""How long an apply waits for the MAC addresses of new next hops."""


def carry_out(changes: Sequence[Change]) -> None:
    """Carry out changes of different interfaces. Raises L4lbError of some kind."""
    with Undo() as undo:
        for change in changes:
            change.prepare(undo)
        for change in changes:
            change.switch(undo)
    with uninterrupted():
        for change in changes:
            change.finish()


class Change:
    """A plan of one interface, whose lock is held, on its way to be carried out."""

    def __init__(self, places: Places, plan: Plan, held: lock.Held) -> None:
        self.interface = places.interface
        self.paths, self.pins, self.saved = places.paths, places.pins, places.saved
        self.plan = plan
        self.held = held
        self.mode: str | None = None
        """That the program is attached in afterwards; None: it is not."""
        self.native_refused = modes.refusal(plan.live)
        """Why mode auto is generic then, in the kernel's words."""
        self.headers: Headers | None = None
        """What the program was compiled with, if it was."""
        self.warnings = list(plan.warnings)
        self.image: Image | None = None
        """What the maps hold then, if that was drawn."""
        self.tidy = True
        """Whether `finish` has left nothing to the next run."""

    @property
    def told(self) -> Plan:
        """The plan, with the warnings that there are by now."""
        return replace(self.plan, warnings=tuple(self.warnings))

    def prepare(self, undo: Undo) -> None:
        """Do all that packets do not notice."""

    def switch(self, undo: Undo) -> None:
        """Have the new state take effect, and last."""

    def finish(self) -> None:
        """Do what can as well be done later."""

    def _withdraw(self, undo: Undo) -> None:
        """Announce nothing any more of what packets will not be balanced for."""
        undo.add(table.put_back, table.routes())
        host.settle(self.paths, self.plan.live.remembered, None, without=self.interface)

    def _locked(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Take a step that concerns what all balancers of the host share."""
        with lock.of_host(self.paths):
            step(*arguments)

    def _detach(self, undo: Undo, program: Program) -> None:
        """But where other balancers redirect to the interface, have it go on taking that."""
        live = self.plan.live
        others = needs.needed_by_others(self.interface, self.paths)
        redirects = others.redirects if others and live.mode == "native" else ()
        passing = devices.successor(live.link.index) if live.link.index in redirects else None
        undo.add(modes.attach_again, live, program, passing or program)
        if passing:
            xdp.attach(live.link, passing.fd, "native", program.fd)
        else:
            xdp.detach(live.link, program.fd)


class Setup(Change):
    """From whatever there is to a balancer."""

    def __init__(
        self,
        places: Places,
        plan: Plan,
        held: lock.Held,
        desired: Config,
        sources: Mapping[str, str],
    ) -> None:
        super().__init__(places, plan, held)
        self.sources, self.staging = sources, places.staging
        self.desired, self.ingress = desired, plan.ingress
        self.mode = plan.live.mode
        self._ways, self._needs = plan.ways, plan.needs
        self._data_path = plan.live.data_path
        self._staged: Staged | None = None
        self._copied: dict[str, bytes] = {}
        self._missing = Needs()

    @property
    def _route_mtus(self) -> Mapping[Address, int]:
        return self.plan.ways.route_mtus if self.plan.ways else {}

    @property
    def _former(self) -> DataPath | None:
        """The data path that a new program takes over from, if there is one that can be read."""
        live = self.plan.live
        return live.data_path if self.plan.load and live.manifest else None

    # Preparing

    def prepare(self, undo: Undo) -> None:
        """All that can fail, but for what the driver may refuse."""
        pyroute.require_pyroute2()
        if self.plan.load:
            bpf.require()
            self._look_for_tools()
        self._locked(self._register, undo)
        if self.plan.load:
            self._load(undo)
        elif self.plan.write and self._data_path:
            self._stage(undo, self._data_path)
        for address in neighbours.unresolved(self._missing.hops, _RESOLVE_SECONDS):
            self.warnings.append(f"next hop {address} has not answered yet")
        self._settle(undo)

    def _look_for_tools(self) -> None:
        self.headers = requirements.require_tools()
        if not self.headers.exact:
            self.warnings.append(
                f"compiled with the headers of kernel {self.headers.release}; there are none of "
                "the running kernel"
            )

    def _settle(self, undo: Undo) -> None:
        """Have frames leave as the host says, now that next hops are resolved."""
        data_path = self._data_path
        if self._ways is None or data_path is None:
            return
        outdated = self._ways.judge(accepted=True)
        self._ways = self._ways.again()
        now = self._ways.judge(self.plan.accepted)
        self.warnings = [one for one in self.warnings if one not in outdated] + now
        if not self._needs.redirects >= self._ways.settled.programs:
            self._needs |= Needs(redirects=self._ways.settled.programs)
            self._locked(self._provide_redirects)
        undo.add(egresses.replace, data_path, egresses.read(data_path))
        egresses.write(data_path, self._ways.settled.table)

    def _provide_redirects(self) -> None:
        self.held.note(self._needs.dump())
        missing = needs.missing(self._needs, self.paths)
        self._missing |= missing
        needs.provide(missing, self.paths)

    def _register(self, undo: Undo) -> None:
        """Have others see that somebody is here, and the host provide what is needed."""
        undo.add(self._locked, self._release)
        self.held.note(self._needs.dump())
        mount_bpffs(self.paths)
        undo.add(self._locked, self.pins.put_back, self.pins.things())
        self.pins.create()  # so that removal sees it if this run is killed
        if self.plan.save and self.plan.declared:
            undo.add(self._locked, self.saved.abandon)
            self.saved.prepare(self.plan.declared)
        self._set_sysctls(undo)
        self._missing = needs.missing(self._needs, self.paths)
        needs.provide(self._missing, self.paths)

    def _set_sysctls(self, undo: Undo) -> None:
        """Before there are neighbours that they are for."""
        values = self.plan.sysctls
        if values:
            undo.add(self._locked, neighbour_table.Settings(self.paths, values).put_back)
            neighbour_table.set_limits(self.paths, values)

    def _release(self) -> None:
        """Undo the rest of `_register`, but for what others need by now."""
        self.held.note(b"")
        others = needs.needed_by_others(self.interface, self.paths)
        if others is None:
            return
        live = self.plan.live.config
        before = needs.needs_of(needs.routed(live), live.sources)
        unneeded = self._needs - others - before  # by now perhaps what others left for us, too
        needs.withdraw(unneeded, self.paths)
        for version in unneeded.versions & self._missing.versions:
            forwarding.let_routing_answer(self.paths, version, answer=False)

    def _load(self, undo: Undo) -> None:
        """Compile and load a new program with the new state."""
        plan, former = self.plan, self._former
        undo.add(self.staging.remove)
        self.staging.remove()
        self.staging.create()
        room = Room(plan.build["backends"], plan.build["tables"])
        shared = build.reusable_maps(former.maps, self.desired, room) if former else {}
        for name, map_ in shared.items():
            self.staging.set(name, map_)
        pin_dir = f'-DPIN_DIR="{self.staging.directory}"'
        new = build.load(self.sources, self.desired, room, [pin_dir])
        if former:
            self._copied = counters.copy(new, former)
        self._staged = self._write(undo, new, shared.keys())
        self.staging.set_all(self._staged.maps)
        staging.switch(new, self._staged)  # its own service table, which no packet meets yet
        self.staging.set("program", new.program)
        self._data_path = new

    def _stage(self, undo: Undo, data_path: DataPath) -> None:
        """Write the new state beside the old one."""
        self._staged = self._write(undo, data_path, SHARED)
        self.pins.set_all(self._staged.maps, "%next")
        if not self.plan.live.attached:
            staging.switch(data_path, self._staged, undo)

    def _write(self, undo: Undo, data_path: DataPath, shared: Collection[str]) -> Staged:
        plan = self.plan
        return staging.stage(
            data_path,
            self.desired,
            self.ingress,
            plan.build,
            plan.live.manifest,
            plan.repair,
            shared,
            self._route_mtus,
            undo,
            plan.newcomer,
        )

    # Switching

    def switch(self, undo: Undo) -> None:
        """What the driver may refuse comes first; what no other run of ours sees undone, last."""
        plan, data_path = self.plan, self._data_path
        if data_path is None:
            raise L4lbError(f"there is no program for {self.interface}")
        if plan.attach:
            self.mode, refusal = self._attach(undo, data_path.program)
            self._note(undo, data_path, refusal)
        if self._staged and not plan.load and plan.live.attached:
            staging.switch(data_path, self._staged, undo)
        if self._staged:
            self.image = self._staged.image
        if self._staged or not plan.live.pinned:
            self._pin(data_path)
        if plan.save:
            undo.add(self.saved.put_back, self.saved.content())
            self.saved.commit()

    def _attach(self, undo: Undo, program: Program) -> tuple[str, str | None]:
        """Attach in place of what is there, at once where the kernel can; returns as xdp.attach
        does."""
        live = self.plan.live
        mode = self.desired.mode if live.attached else live.mode or self.desired.mode
        current = live.link.attached
        there = modes.attached_program(live)
        undo.add(modes.attach_again, live, there, program)
        if there is None or current is None:
            return xdp.attach(live.link, program.fd, mode, None)
        if mode in ("auto", current.mode):
            return xdp.attach(live.link, program.fd, current.mode, there.fd)
        # the kernel allows one mode at a time, so this cannot be one step
        xdp.detach(live.link, there.fd)
        return xdp.attach(live.link, program.fd, mode, None)

    def _note(self, undo: Undo, data_path: DataPath, words: str | None) -> None:
        """Remember why the mode is generic, if it is."""
        live = self.plan.live
        before = live.manifest.refusal if live.manifest else None
        refusal = before if self.mode == "generic" and self.desired.mode == "auto" else None
        if words:
            refusal = Refusal(words, link.mtus(live.link.index))
            self.warnings.append(modes.told(self.interface, refusal))
        self.native_refused = refusal.words if refusal else None
        if self._staged:
            self._staged = self._staged.noted(refusal)
        elif data_path.manifest_map and live.manifest and refusal != before:
            undo.add(staging.note, data_path.manifest_map, live.manifest, before)
            staging.note(data_path.manifest_map, live.manifest, refusal)

    def _pin(self, data_path: DataPath) -> None:
        things = data_path.pinned_maps()
        for name, map_ in things.items():
            self.pins.set(name, map_)
        self.pins.set("program", data_path.program)
        self.pins.drop_others({"program", *things})

    # Finishing

    def finish(self) -> None:
        """Update what the old state used, and let go of what only it needed."""
        former, data_path = self._former, self._data_path
        if data_path and former:
            self._tidy(counters.catch_up, data_path, former, self._copied)
        if data_path and self._staged:
            self._tidy(staging.finish, data_path, self._staged)
        if data_path and self._ways:
            self._ways = self._ways.again(self.mode)
            self._tidy(egresses.replace, data_path, self._ways.settled.table)
        self._tidy(self.staging.remove)
        self._tidy(self._locked, self._let_go_of_redirects)
        gone = set(needs.routed(self.plan.live.config)).difference(needs.routed(self.desired))
        if gone:
            self._tidy(self._locked, self._let_go, gone)
        after = self.image.manifest if self.image else self.plan.live.manifest
        self._tidy(host.settle, self.paths, self.plan.live.config, after)

    def _let_go_of_redirects(self) -> None:
        """Take programs away from interfaces that need none any more."""
        unneeded = needs.unneeded_redirects(self.interface, self.paths, self._needs)
        needs.withdraw(unneeded, self.paths)

    def _let_go(self, gone: Collection[Address]) -> None:
        others = needs.needed_by_others(self.interface, self.paths)
        if others is not None:
            unneeded = needs.needs_of(gone, self.plan.live.config.sources) - others - self._needs
            needs.withdraw(unneeded, self.paths)

    def _tidy(self, step: Callable[..., Any], *arguments: Any) -> None:
        try:
            step(*arguments)
        except L4lbError as e:
            self.tidy = False
            self.warnings.append(f"what is new works, but tidying up did not: {e}; run again")


class Removal(Change):
    """From whatever there is to no balancer."""

    def prepare(self, undo: Undo) -> None:
        """Notice a disk that is read-only."""
        pyroute.require_pyroute2()
        undo.add(self._locked, self.saved.take_back, self.saved.content())
        self.saved.set_aside()

    def switch(self, undo: Undo) -> None:
        """Detach, then remove all that is left."""
        self._withdraw(undo)
        if self.plan.live.program:
            self._locked(self._detach, undo, self.plan.live.program)
        self._locked(self._clear, undo)

    def _clear(self, undo: Undo) -> None:
        unneeded = needs.unneeded(self.interface, self.paths)
        undo.add(self._locked, self._provide_again, unneeded)
        needs.withdraw(unneeded, self.paths)
        if needs.unneeded_sysctls(self.interface, self.paths):
            undo.add(self._locked, neighbour_table.Settings(self.paths, {}).put_back)
            neighbour_table.forget_limits(self.paths)
        undo.add(self._locked, self.pins.put_back, self.pins.things())
        Pins.staging(self.interface, self.paths).remove()
        self.pins.remove()
        if not (saved_interfaces(self.paths) or pinned_interfaces(self.paths)):
            host.forget(self.paths)
        self.saved.discard()

    def _provide_again(self, unneeded: Needs) -> None:
        needs.provide(unneeded, self.paths)
        neighbours.unresolved(unneeded.hops, _RESOLVE_SECONDS)
