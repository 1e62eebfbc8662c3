# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer of one interface: its live state, the plan to another, and carrying that out.

A plan compares the desired state with what the kernel holds, not with what some file remembers:
`observe` asks, `decide` concludes. `apply` has it carried out, see apply.py: what packets notice is
one exchange of the service table, or, if the program itself changes, of the program.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import L4lbError
from ..kernel import lock
from ..kernel.headers import Headers
from ..kernel.paths import Paths, require_root
from ..maps.image import Image
from ..model.config import Config
from ..network import forwarding, link
from ..routing import ways
from . import changes, live, modes, needs, observe
from .decide import Remains, Terms, decide, removal
from .live import Live
from .places import Places
from .plan import Plan

if TYPE_CHECKING:
    from .apply import Change


@dataclass(frozen=True)
class Outcome:
    """What an apply did."""

    plan: Plan
    mode: str | None
    headers: Headers | None = None
    """What the program was compiled with, if it was."""
    waited: float = 0.0
    """Seconds that another run held the lock."""
    tidy: bool = True
    """Whether nothing is left to do for the next run; else there is a warning."""
    image: Image | None = None
    """What the maps hold now, if that was drawn."""
    native_refused: str | None = None
    """Why mode auto is generic, in the kernel's words."""
    pending: bool = False
    """Whether what was applied is Plan.overlap, so that the plan itself is still to come."""
    left: tuple[str, ...] = ()
    """What a second run would change, if that was looked for."""


class Balancer:
    """The balancer on one interface of this host."""

    def __init__(
        self, interface: str, sources: Mapping[str, str] | None = None, paths: Paths | None = None
    ) -> None:
        """sources: files of files/bpf by name, as text; only `apply` needs them."""
        self.interface = interface
        self.sources = sources or {}
        self.places = Places.of(interface, paths)

    # Reading

    def live(self, must_exist: bool = True) -> Live:
        """Read the live state. Raises ConfigError if the interface must exist and does not."""
        return live.read(self.places, must_exist)

    def outdated(self, now: Live) -> list[str]:
        """What the host has otherwise than at the last run, in words. Another run follows it."""
        data_path, manifest = now.data_path, now.manifest
        if data_path is None or manifest is None or not now.attached:
            return []
        ingress = observe.ingress_of(now.link, manifest.config)
        then = observe.ingress_then(data_path, manifest, ingress)
        lines = changes.outdated(manifest.config, then, ingress)
        routed = needs.routed(manifest.config)
        lines += [
            f"net.ipv{version}.conf.lo.forwarding is 0"
            for version in sorted({address.version for address in routed})
            if not forwarding.routing_answers(self.places.paths, version)
        ]
        mode = observe.mode_of(now, manifest.config)
        sources = manifest.config.sources
        found = ways.look(routed, sources, now.link.index, mode, observe.known(now))
        never, not_yet = found.problems()
        return [*lines, *never, *not_yet, *found.differences(routed)]

    def as_given(self, config: Config) -> Config:
        """The live state as it was given: the file knows which sources were, and which are the
        interface's own."""
        with contextlib.suppress(L4lbError):  # what is not readable is written anew
            saved = self.places.saved.read()
            if saved:
                return replace(
                    config,
                    source_address=saved.source_address,
                    source_address6=saved.source_address6,
                )
        return config

    # Planning

    def plan(
        self, config: Config | None, replace_foreign: bool = False, accepted: bool = False
    ) -> Plan:
        """What `apply` would do for `config`; None: for no balancer. Changes nothing.

        accepted: it was applied once, so that it is only warned of what cannot be meant.

        Raises ForeignProgramError, or ConfigError for what cannot be meant, or not on this host.
        """
        return self._plan(config, Terms(replace_foreign, accepted))

    def _plan(self, config: Config | None, terms: Terms, drawn: Image | None = None) -> Plan:
        """drawn: as of `observe`."""
        now = self.live(must_exist=config is not None)
        if config is None:
            made = removal(self.places, self._remains(now))
            if not made.changed:
                link.read_link(self.interface)  # perhaps it is misspelt
            return made
        seen = observe.observe(self.places, now, config, self.sources, drawn)
        return decide(self.places, config, seen, terms)

    def plan_change(self, edit: Callable[[Config], Config]) -> Plan:
        """What `change` would do. Changes nothing. Raises as `change` does."""
        now, _data_path, manifest = live.at_work(self.places, or_paused=True)
        wanted = self.as_given(replace(edit(manifest.config), interface=self.interface))
        seen = observe.observe(self.places, now, wanted, sources=None)
        return decide(self.places, wanted, seen, Terms(accepted=True, edited=True))

    def _remains(self, now: Live) -> Remains:
        places = self.places
        unneeded = needs.unneeded(self.interface, places.paths)
        return Remains(
            now,
            now.attached,
            places.pins.exists() or places.staging.exists(),
            places.saved.exists(),
            needs.unneeded_sysctls(self.interface, places.paths),
            unneeded,
            needs.names() if unneeded.redirects else {},
        )

    # Changing

    def apply(
        self,
        config: Config | None,
        replace_foreign: bool = False,
        accepted: bool = False,
        verify: bool = False,
        overlap: bool = False,
    ) -> Outcome:
        """Make the live state what `config` says, but for holds; None: remove the balancer.

        accepted: as of `plan`.
        verify: look again what the kernel does then, see `Outcome.left`.
        overlap: take the first step only if there are two, see `Outcome.pending`.

        Raises L4lbError of some kind; the host is then as before.
        """
        require_root()  # here too: it takes root even to lock
        with lock.of_interface(self.interface, self.places.paths) as held:
            plan = self.plan(config, replace_foreign, accepted)
            if overlap and plan.overlap:
                first = self.plan(plan.overlap, replace_foreign, accepted)
                return replace(self._carry_out(first, held), plan=plan, pending=True)
            outcome = self._carry_out(plan, held)
            if verify and outcome.plan.changed and outcome.tidy:
                again = self._plan(config, Terms(accepted=accepted), outcome.image)
                return replace(outcome, left=again.steps)
            return outcome

    def restore(self) -> Outcome | None:
        """Make the live state what is saved; None: nothing is, and nothing is done.

        Raises as `apply` does.
        """
        require_root()
        with lock.of_interface(self.interface, self.places.paths) as held:
            config = self.places.saved.read()  # now that no other run is about to remove it
            return self._carry_out(self.plan(config, accepted=True), held) if config else None

    def _carry_out(self, plan: Plan, held: lock.Held) -> Outcome:
        if not plan.changed:
            mode = plan.live.mode if plan.desired else None
            refused = modes.refusal(plan.live) if mode else None
            return Outcome(plan, mode, waited=held.waited, native_refused=refused)
        from .apply import carry_out  # seldom, as it takes time

        change = self._change(plan, held)
        carry_out([change])
        return Outcome(
            change.told,
            change.mode,
            change.headers,
            held.waited,
            change.tidy,
            change.image,
            change.native_refused,
        )

    def _change(self, plan: Plan, held: lock.Held) -> Change:
        from .apply import Removal, Setup

        if plan.desired is None:
            return Removal(self.places, plan, held)
        return Setup(self.places, plan, held, plan.desired, self.sources)


def change(balancers: Sequence[Balancer], edit: Callable[[Config], Config]) -> list[Plan]:
    """Make the live state of each what `edit` makes of it, which no other run can change meanwhile:
    of all of them, or of none. Returns what was done, in the order given.

    The program stays, so neither C sources nor a compiler are needed, and `edit` must not ask for
    what takes another one: states and weights of backends do not.

    Raises what `edit` does, and L4lbError of some kind, as if there is no balancer; the host is
    then as before.
    """

    def made(balancer: Balancer, held: lock.Held) -> Change:
        return balancer._change(balancer.plan_change(edit), held)

    return all_or_none(balancers, made)


def all_or_none(
    balancers: Sequence[Balancer], made: Callable[[Balancer, lock.Held], Change]
) -> list[Plan]:
    """Carry out a change of each, which is `made` while it is locked: of all of them, or of none.
    Returns what was done, in the order given. Raises as `change` does."""
    from .apply import carry_out

    require_root()
    with contextlib.ExitStack() as stack:
        held = {
            one.interface: stack.enter_context(lock.of_interface(one.interface, one.places.paths))
            for one in sorted(balancers, key=lambda one: one.interface)
        }
        steps = [made(one, held[one.interface]) for one in balancers]
        carry_out([one for one in steps if one.plan.changed])
        return [one.told for one in steps]
