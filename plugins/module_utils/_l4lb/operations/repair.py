# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others break of a balancer and the next deploy would repair: repaired without one.

It is a plan from what there is to the same, so what counts as a difference is what counts as one
for a deploy. Nothing is compiled or loaded for it, and what is configured does not change: where
what balances is not what is saved, a deploy is on its way, or wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..balancer import observe
from ..balancer.balancer import Balancer
from ..balancer.decide import KEEP_RESOLVED, Terms, decide
from ..balancer.live import Live
from ..balancer.observe import Observed
from ..balancer.plan import Plan
from ..kernel import apart, lock
from ..printable import listed


@dataclass(frozen=True)
class Found:
    """How a balancer was found, and left.

    state: which deploy has made it so: what changes with each. before: the same before the repair.
    mode: that its program is attached in; None: it is not.
    detached: interfaces from which programs of ours have gone.
    paused: by its operator.
    problem: what is wrong and left so, in words.
    repaired: what was done, in words.
    """

    state: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    mode: str | None = None
    detached: tuple[str, ...] = ()
    paused: bool = False
    problem: str = ""
    repaired: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def load(cls, raw: dict[str, Any]) -> Found:
        """What `dump` gave."""
        lists = ("state", "before", "detached", "repaired")
        return cls(**{**raw, **{name: tuple(raw[name]) for name in lists}})


def repair(balancer: Balancer, attach: bool = False, mode: str | None = None) -> Found:
    """Look at a balancer, and repair it, if there is something to repair.

    attach: programs that have gone, too; nothing is done to a balancer without, else.
    mode: that the program was attached in.

    Raises BusyError if there is and another run is at work, and L4lbError of some kind if that
    fails; the host is then as before.
    """
    found, plan = _look(balancer, attach, mode)
    if plan is None:
        return found
    from ..balancer.apply import Setup, carry_out  # seldom, as it takes time

    with lock.of_interface(balancer.interface, balancer.places.paths, patience=0) as held:
        found, plan = _look(balancer, attach, mode)  # now that no other run changes anything
        if plan is None or plan.desired is None:
            return found
        change = Setup(balancer.places, plan, held, plan.desired, {})
        carry_out([change])
    now = balancer.live()
    return replace(found, state=_state(now), mode=now.mode, detached=())


def _look(balancer: Balancer, attach: bool, mode: str | None) -> tuple[Found, Plan | None]:
    """A plan, and what it repairs; None: there is nothing to do, or it is not to be done here."""
    live, places = balancer.live(), balancer.places
    manifest, state = live.manifest, _state(live)
    found = Found(state, state, live.mode, paused=live.paused is not None)
    if live.data_path is None or found.paused:
        return found, None
    if manifest is None:
        problem = "its maps cannot be read; apply the configuration again"
        return replace(found, problem=problem), None
    if live.foreign:
        return replace(found, problem=_foreign(live)), None
    if not places.saved.holds(balancer.as_given(manifest.config)):
        problem = f"{places.saved.path} says something else; apply the configuration again"
        return replace(found, problem=problem), None
    if not live.attached and mode == "generic" and manifest.config.mode == "auto":
        live = replace(live, mode=mode)
    seen = observe.observe(places, live, manifest.config, sources=None)
    seen = replace(seen, saved=lambda _config: True)
    found = replace(found, detached=_detached(live, seen))
    if found.detached and not attach:
        return found, None
    plan = decide(places, manifest.config, seen, Terms(accepted=True, edited=True))
    if plan.attach and live.attached:
        problem = f"it runs in mode {live.mode}; apply the configuration again"
        return replace(found, problem=problem), None
    return replace(found, repaired=tuple(_told(seen, plan))), plan if plan.changed else None


def _state(live: Live) -> tuple[int, ...]:
    if live.data_path is None or live.data_path.manifest_map is None:
        return ()
    return live.data_path.program.id, live.data_path.manifest_map.id


def _foreign(live: Live) -> str:
    name = live.foreign.name if live.foreign else ""
    return (
        f"it carries the XDP program {name!r}, which is not ours, and stays; remove that, and run "
        f"l4lb restore {live.link.name}"
    )


def _detached(live: Live, seen: Observed) -> tuple[str, ...]:
    own = () if live.attached else (live.link.name,)
    return (*own, *sorted(seen.ways.name(index) for index in seen.missing.redirects))


def _told(seen: Observed, plan: Plan) -> Sequence[str]:
    """The steps of a plan; next hops by their names, which a plan has none for."""
    steps = [step for step in plan.steps if step != KEEP_RESOLVED]
    addresses = {address for _index, address in seen.missing.hops}
    if hops := sorted(addresses, key=lambda one: (one.version, int(one))):
        steps.append(f"have the kernel keep {listed(hops)} resolved")
    return steps


# In a process of its own, as it may take seconds, and much memory


def repair_apart(interface: str, attach: bool, mode: str | None) -> tuple[Found, float]:
    """The same; and the seconds of a CPU that it took. Raises as `repair` does."""
    action = f"look after {interface}"
    found, seconds = apart.ask(__name__, [interface, attach, mode], action)
    return Found.load(found), seconds


def serve(order: dict[str, Any]) -> None:
    """In that process."""
    import time

    interface, attach, mode = order["arguments"]

    def work() -> tuple[dict[str, Any], float]:
        found = repair(Balancer(interface), attach, mode)
        return found.dump(), time.process_time()

    apart.answer(work)
