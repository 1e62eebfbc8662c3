# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pausing: a balancer is detached and stays ready, until its operator has it go on.

Meanwhile packets go to the host, past the balancer. A pause is marked beside the saved state, so
that it lasts whatever is deployed or restarted. The mark is there before the program goes, and goes
after it is back, as what finds neither takes it for an accident.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..errors import IdleError, L4lbError
from ..kernel import lock
from ..kernel.undo import Undo
from . import observe
from .apply import Change, Setup
from .balancer import Balancer, all_or_none
from .decide import Terms, decide
from .plan import Plan


def pause(balancers: Sequence[Balancer]) -> list[Plan]:
    """Detach all of these, or none; their services and flows stay as they are.

    Returns what was done, in the order given. Raises IdleError if there is nothing to pause, or
    L4lbError of some kind; the host is then as before.
    """
    return all_or_none(balancers, _pause)


def resume(balancers: Sequence[Balancer]) -> list[Plan]:
    """Have all of these go on as they are saved, or none: `balancers` have the C sources, as the
    host may have been restarted since. Returns and raises as `pause` does."""
    return all_or_none(balancers, _resume)


def _pause(balancer: Balancer, held: lock.Held) -> Change:
    places, name = balancer.places, balancer.interface
    live = balancer.live(must_exist=False)
    if not live.attached and not live.data_path and not places.saved.path.exists():
        raise IdleError(f"{name} does not balance")
    steps = []
    if places.saved.paused is None:
        steps.append(f"pause {name}")
    if live.attached:
        steps.append(f"detach the program from {name}, which keeps its services and flows")
    return Pause(places, Plan(live, live.config, steps=tuple(steps)), held)


def _resume(balancer: Balancer, held: lock.Held) -> Change:
    places, live = balancer.places, balancer.live()
    if places.saved.paused is None:
        return Change(places, Plan(live, live.config), held)
    config = places.saved.read()
    if config is None:
        raise L4lbError(f"{places.saved.path} is not there; apply the configuration again")
    seen = observe.observe(places, live, config, balancer.sources)
    plan = decide(places, config, seen, Terms(accepted=True, resumed=True))
    if not plan.changed:  # somebody has attached it by hand
        plan = replace(plan, steps=(f"end the pause of {balancer.interface}",))
    return Resume(places, plan, held, config, balancer.sources)


class Pause(Change):
    """From a balancer at work to one that waits."""

    def prepare(self, undo: Undo) -> None:
        """Say so first."""
        undo.add(self.saved.mark, self.saved.paused)
        if self.saved.paused is None:
            self.saved.mark(int(time.time()))

    def switch(self, undo: Undo) -> None:
        """Detach, once nobody is asked to send packets here."""
        self._withdraw(undo)
        if self.plan.live.program:
            self._locked(self._detach, undo, self.plan.live.program)


class Resume(Setup):
    """Back to one at work."""

    def switch(self, undo: Undo) -> None:
        """Attach, and say so."""
        super().switch(undo)
        undo.add(self.saved.mark, self.saved.paused)
        self.saved.mark(None)
