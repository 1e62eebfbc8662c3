# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host as a real server: from a desired state to what the kernel does, and back to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..kernel import lock
from ..kernel.bpf import Program
from ..kernel.paths import Paths, require_root, told
from ..kernel.undo import Undo
from . import nftables, observe, program, saved, tunnels
from .decide import MODULES, Decision, Host, decide, needed_kinds
from .desired import Desired
from .saved import Memory
from .state import Change, State, Unpacker, changes, lines

_LOCK = "real-server"


@dataclass(frozen=True)
class Plan:
    """What a run changes, or has changed. saves: the content of the file then, None: there is none;
    saved: that of the one there is."""

    way: str
    desired: Desired
    before: State
    after: State
    changes: tuple[Change, ...]
    saves: bytes | None
    saved: bytes | None
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return self.saves != self.saved or bool(self.changes)

    @property
    def loads(self) -> set[str]:
        """The names of programs that are to be compiled."""
        return {
            change.after.name
            for change in self.changes
            if isinstance(change.after, Unpacker) and change.after.name != _name(change.before)
        }

    @property
    def steps(self) -> list[str]:
        """In words, in the order in which they are taken."""
        steps = [str(change) for change in self.changes]
        return steps or (["save what is wanted"] if self.changed else [])

    @property
    def listings(self) -> tuple[str, str]:
        """Both states for people, before and after."""
        return lines(self.before), lines(self.after)


class RealServer:
    """What this host is for balancers."""

    def __init__(self, sources: Mapping[str, str] | None = None, paths: Paths | None = None):
        self.paths = paths or Paths()
        self._sources = sources or {}
        self._loaded: dict[str, Program] = {}

    def plan(self, desired: Desired, keep: bool = False) -> Plan:
        """What `apply` would do. Raises L4lbError."""
        return self._plan(desired, keep, saved.read(self.paths) or Memory())

    def apply(self, desired: Desired, keep: bool = False) -> Plan:
        """Make the host this, as a whole or not at all; returns what that was.

        keep: what was wanted before and no longer is stays. An empty state removes everything.
        Raises L4lbError.
        """
        require_root()
        with lock.of_interface(_LOCK, self._locks):
            memory = saved.read(self.paths) or Memory()
            plan = self._plan(desired, keep, memory)
            if plan.changed:
                self._carry_out(plan, memory)
        return plan

    def restore(self) -> Plan | None:
        """Make the host what is saved; None if nothing is. Raises L4lbError."""
        memory = saved.read(self.paths)
        return self.apply(memory.desired) if memory else None

    def load_modules(self) -> None:
        """Load what `restore` needs and may not load, as it has few capabilities. Raises
        L4lbError."""
        if "gue" in needed_kinds(self.desired().tunnels) and tunnels.has_module(MODULES["gue"]):
            tunnels.load_gue()

    def desired(self) -> Desired:
        """What is saved. Raises L4lbError."""
        memory = saved.read(self.paths)
        return memory.desired if memory else Desired()

    @property
    def _locks(self) -> Paths:
        """Where the lock is: not among those of balancers, who read them all."""
        return replace(self.paths, run=self.paths.run.with_name(f"{self.paths.run.name}-{_LOCK}"))

    def _plan(self, desired: Desired, keep: bool, memory: Memory) -> Plan:
        if keep:
            desired = desired.together_with(memory.desired)
        host = observe.host(self.paths)
        decision = decide(desired, host, program.name_of(self._sources))
        before = observe.state(memory, decision.state, host, self.paths)
        steps = tuple(changes(before, decision.state))
        remembered = _remember(memory, decision, desired, host)
        return Plan(
            decision.way,
            desired,
            before,
            decision.state,
            steps,
            saved.content(remembered) if desired.services else None,
            saved.there(self.paths),
            decision.warnings if steps else (),  # they were told when it was set up
        )

    def _carry_out(self, plan: Plan, memory: Memory) -> None:
        self._load(plan)
        with Undo() as undo:
            undo.add(saved.put, plan.saved, self.paths)
            if plan.saves:
                saved.put(plan.saves, self.paths)
            for change in plan.changes:
                undo.add(self._do, change.inverse, memory)
                self._do(change, memory)
            if not plan.saves:
                saved.put(None, self.paths)

    def _load(self, plan: Plan) -> None:
        """What can fail longest: before anything is changed."""
        for name in plan.loads:
            self._loaded[name] = program.load(self._sources)
        for one in observe.programs().values():  # to go back to
            self._loaded.setdefault(one.program.name, one.program)

    def _do(self, change: Change, memory: Memory) -> None:
        """One step, which may have been taken already. Raises L4lbError."""
        actions: dict[str, Any] = {
            "sysctls": self._set_sysctl,
            "filter": self._set_filter,
            "tunnels": self._set_tunnel,
            "gue": self._set_gue,
            "programs": self._set_program,
            "vips": self._set_vip,
        }
        actions[change.aspect](change, memory)

    def _set_sysctl(self, change: Change, memory: Memory) -> None:
        value = memory.sysctls.get(change.key) if change.after is None else change.after
        if value is None:
            return
        path = self.paths.sysctl / change.key.replace(".", "/")
        with told(f"write {path}"):
            path.write_text(f"{value}\n", encoding="ascii")

    def _set_filter(self, change: Change, _memory: Memory) -> None:
        if change.after is None:
            nftables.remove()
        else:
            nftables.put(change.after)

    def _set_tunnel(self, change: Change, _memory: Memory) -> None:
        if change.after is None:
            tunnels.remove(change.key, self.paths)
        else:
            tunnels.set_up(change.key, change.after, self.paths)

    def _set_gue(self, change: Change, _memory: Memory) -> None:
        (tunnels.leave_gue if change.after is None else tunnels.take_gue)(*change.key)

    def _set_program(self, change: Change, _memory: Memory) -> None:
        interface, wanted = change.key, change.after
        now = program.attached().get(interface)
        if wanted is None:
            program.detach(interface)
        elif now and now.program.name == wanted.name:
            program.tell(now, wanted)
        else:
            program.attach(interface, self._loaded[wanted.name], wanted)

    def _set_vip(self, change: Change, memory: Memory) -> None:
        if change.after:
            tunnels.add_address(change.key)
        elif change.key not in memory.addresses:
            tunnels.remove_address(change.key)


def _name(there: Unpacker | None) -> str:
    return there.name if there else ""


def _remember(memory: Memory, decision: Decision, desired: Desired, host: Host) -> Memory:
    """What is to be saved: what was before is noted once, and forgotten when it is given back."""
    wanted = decision.state["sysctls"]
    sysctls = {
        name: memory.sysctls.get(name, host.sysctls.get(name, value))
        for name, value in wanted.items()
        if name in memory.sysctls or host.sysctls.get(name) != value
    }
    already = {
        vip
        for vip in desired.vips - (memory.desired.vips - memory.addresses)
        if host.addresses.get(vip) == "lo" or vip in memory.addresses
    }
    return Memory(desired, sysctls, frozenset(already))
