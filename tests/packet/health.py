# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of health: in which states packets find the backends of a service, and in which slots.

Written from docs/health.md and README's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Backend, Service
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import (
    Verdict,
    Verdicts,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.candidate import Candidate
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.fallback import fallback
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.maglev import maglev

from tests.packet.flows import JHASH_SLOTS
from tests.packet.wire import Address

STATES = ["enabled", "drained", "disabled"]
"""Each takes less than the one before."""


NO_VERDICTS: Verdicts = {}


class Stands(NamedTuple):
    """How packets find the backends of a service.

    table: the backend of every slot.
    """

    verdicts: Verdicts
    backends: Mapping[Address, Backend]
    table: Sequence[Backend | None]


def found_by_packets(service: Service, seed: int, verdicts: Verdicts) -> Stands:
    """What follows from verdicts.

    verdicts: with a share of 0 on those that are unhealthy, else on those that come back slowly.
    """
    bad = {address for address, verdict in verdicts.items() if not verdict.share}
    waiting = {address for address in bad if verdicts[address].is_new}
    able = [one for one in service.backends if is_usable(one)]
    if waiting.issuperset(one.address for one in able):
        waiting = set()
    able = [one for one in able if one.address not in waiting]
    regular = [one for one in able if not one.backup]
    backups = [one for one in able if one.backup]
    serving = regular or backups
    healthy = [one for one in regular if one.address not in bad]
    least = minimum(service, len(serving))
    all_serve = False
    if not healthy and any(one.address not in bad for one in backups):
        serving = backups
    elif not healthy or len(healthy) < least:
        all_serve = least > 0

    found, heirs = [], []
    for backend in service.backends:
        serves = backend in serving
        idle = backend.backup and is_usable(backend) and serving is not backups
        if serves and all_serve:
            heirs.append(backend)
        elif backend.address in bad or idle:
            backend = put_aside(backend, service, verdicts.get(backend.address))
        elif serves:
            heirs.append(backend)
        found.append(backend)

    heads = {one.address for one in heirs}
    shares = {
        place: verdicts[backend.address].share
        for place, backend in enumerate(service.backends, 1)
        if backend.address in heads and backend.address in verdicts and not all_serve
    }
    places = [n for n, one in enumerate(service.backends, 1) if one.address in heads]
    table = own_slots(service, seed, {one.address for one in serving})
    by_place = [None, *found]
    return Stands(
        verdicts,
        {backend.address: backend for backend in found},
        [by_place[place] for place in fallback(table, places, shares)],
    )


def is_usable(backend: Backend) -> bool:
    """Whether a backend takes new flows."""
    return backend.state == "enabled" and backend.weight > 0


def minimum(service: Service, count: int) -> int:
    """How many of so many must be healthy."""
    if isinstance(service.min_healthy, int):
        return service.min_healthy
    percent = int(service.min_healthy.rstrip(" %"))
    return (count * percent + 99) // 100


def put_aside(backend: Backend, service: Service, verdict: Verdict | None) -> Backend:
    """One that takes no new flows, and keeps or loses those it has; held as it was if that is
    less."""
    loses = verdict is not None and (
        service.on_unhealthy == "move" or (service.on_unhealthy == "auto" and not verdict.answered)
    )
    state = "disabled" if loses else "drained"
    return replace(backend, state=max(state, backend.state, key=STATES.index))


def own_slots(service: Service, seed: int, members: set[object]) -> Sequence[int]:
    """The place, from 1 on, whose every slot is while all members are healthy; 0 for none."""
    shares = [one.weight if one.address in members else 0 for one in service.backends]
    if service.scheduler == "jhash":
        return dealt(shares)
    addresses = (str(one.address) for one in service.backends)
    return maglev([Candidate(*each) for each in zip(addresses, shares)], seed)


def dealt(shares: Sequence[int]) -> Sequence[int]:
    """Round robin, as listed; those that have no share pass theirs on to the first."""
    if not any(shares):
        return [0] * JHASH_SLOTS
    first = next(place for place, share in enumerate(shares, 1) if share)
    places = (slot % len(shares) for slot in range(JHASH_SLOTS))
    return [place + 1 if shares[place] else first for place in places]
