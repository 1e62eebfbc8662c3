# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How packets meet the backends of a service: as configured, overridden by holds, overridden by
health.

It depends on the configuration and on who is unhealthy, never on the order in which that came
about, so that all balancers of a fleet which see the same come to the same.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from .config import Address, Backend, Service
from .options import STATES

NOT_CHECKED = "not checked yet"


@dataclass(frozen=True)
class Verdict:
    """That a backend is unhealthy.

    answered: whether it said anything at all, if only that something is wrong.
    reason: in words. since: seconds of the system's clock (time.time).
    share: percent of its own that it has: 0, or, if it is healthy again since, up to 99.
    """

    answered: bool
    reason: str = ""
    since: int = 0
    share: int = 0

    @property
    def is_new(self) -> bool:
        """Whether it has yet to be checked, and returns with the first good check. So long it has
        no slots, so that those that it will have move once only."""
        return self.reason == NOT_CHECKED


Verdicts = Mapping[Address, Verdict]
"""Of the backends of one service that are unhealthy, or have been of late."""


@dataclass(frozen=True)
class Standing:
    """How packets meet the backends of a service. Backends are told by their places in it.

    backends: each in the state that packets find it in.
    members: those whose slots they are: all that could take flows, healthy or not.
    aside: those that are in another state than the configured one.
    fails_open: whether the members take flows although too few are healthy.
    partly: those that have only so many percent of their share.
    """

    backends: tuple[Backend, ...]
    members: tuple[int, ...]
    aside: Collection[int] = ()
    fails_open: bool = False
    partly: Mapping[int, int] = field(default_factory=dict)

    def shares(self, service: Service) -> list[int]:
        """The weights by which slots belong to the backends; 0 for those that are no members."""
        shares = [0] * len(self.backends)
        for place in self.members:
            shares[place] = service.backends[place].share
        return shares

    @functools.cached_property
    def absent(self) -> tuple[int, ...]:
        """Members that take no flows, so that others have their slots."""
        aside = self.aside
        return tuple(place for place in self.members if place in aside) if aside else ()

    @functools.cached_property
    def usable(self) -> tuple[int, ...]:
        """Backends that take new flows."""
        absent = frozenset(self.absent)
        return tuple(place for place in self.members if place not in absent)

    @property
    def is_whole(self) -> bool:
        """Whether all members have their own slots, all of them."""
        return not self.absent and not self.partly

    @property
    def is_settled(self) -> bool:
        """Whether the service needs no lookup table: all new flows have the same backend, or
        none."""
        return len(self.members) - len(self.absent) < 2


def standing(service: Service, verdicts: Verdicts | None = None) -> Standing:
    """That of a service, of whose backends these are unhealthy."""
    first, backups = service.candidates
    places = service.places
    known = {places[key]: one for key, one in (verdicts or {}).items() if key in places}
    bad = {place: one for place, one in known.items() if not one.share}
    partly = {place: one.share for place, one in known.items() if one.share}
    if not known and (not backups or not first):
        return Standing(service.backends, first or backups)
    waiting = {place for place, one in bad.items() if one.is_new}
    if not waiting.issuperset(first + backups):
        first = tuple(place for place in first if place not in waiting)
        backups = tuple(place for place in backups if place not in waiting)
    members, serving, fails_open = _serving(service, first, backups, bad)
    backends = [*service.backends]
    idle = () if serving is backups else service.candidates[1]
    for place in {*bad, *idle}.difference(serving if fails_open else ()):
        backends[place] = _aside(backends[place], service, bad.get(place))
    aside = frozenset(
        place for place in {*bad, *idle} if backends[place] is not service.backends[place]
    )
    if fails_open:
        partly = {}
    partly = {place: share for place, share in sorted(partly.items()) if place in members}
    return Standing(tuple(backends), members, aside, fails_open, partly)


def kept_verdicts(service: Service, verdicts: Verdicts) -> Verdicts:
    """Those of backends that the service has and checks, if by another check than before."""
    if service.check is None:
        return {}
    return {address: one for address, one in verdicts.items() if address in service.places}


def verdicts_after(
    was: Service | None, becomes: Service, verdicts: Verdicts, newcomer: Verdict | None
) -> Verdicts:
    """Those that a service has after a change.

    was: the service before. verdicts: those on its backends.
    newcomer: that on a backend which comes to a service that was checked before and has others;
        None: it counts as healthy, as there is nobody who checks it.
    """
    kept = kept_verdicts(becomes, verdicts)
    if newcomer is None or was is None or was.check is None or becomes.check is None:
        return kept
    fresh = becomes.places.keys() - was.places.keys()
    if len(fresh) == len(becomes.places):
        return kept
    return {**kept, **dict.fromkeys(fresh, newcomer)}


def first_check(service: Service) -> float:
    """Seconds within which a backend that is well passes its first checks."""
    check = service.check
    return check.rise * check.interval + check.timeout if check else 0.0


def is_renewed(was: Service, becomes: Service) -> bool:
    """Whether a service that is checked, and goes on to be, gets other backends only, so that none
    of them has been checked."""
    checked = was.check is not None and becomes.check is not None
    takes_flows = was.takes_flows and becomes.takes_flows
    return checked and takes_flows and was.places.keys().isdisjoint(becomes.places)


def _serving(
    service: Service,
    first: tuple[int, ...],
    backups: tuple[int, ...],
    bad: Mapping[int, Verdict],
) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """Among whom slots are dealt, among whom those are who take flows, and whether all of them do,
    for want of healthy ones. Backups take flows while no other can."""
    healthy = len(first) - sum(place in first for place in bad)
    spare = len(backups) - sum(place in backups for place in bad)
    least = service.least_healthy(len(first or backups))
    if healthy and healthy >= least:
        return first, first, False
    if spare and not healthy:
        return backups, backups, False
    members = first or backups
    return members, members, bool(least)


def _aside(backend: Backend, service: Service, verdict: Verdict | None) -> Backend:
    """One that takes no new flows. Those that it has stay, unless it does not answer any more."""
    moves = {"move": True, "keep": False}.get(service.on_unhealthy)
    if moves is None:
        moves = verdict is not None and not verdict.answered
    state = "disabled" if verdict and moves else "drained"
    if STATES.index(backend.state) >= STATES.index(state):
        return backend
    return replace(backend, state=state)
