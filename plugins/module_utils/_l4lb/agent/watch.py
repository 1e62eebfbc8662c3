# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching the backends of one balancer: when each is checked, and what becomes of the verdicts."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Awaitable, Callable, Iterable

from ..errors import L4lbError
from ..maps.manifest import Manifest
from ..metrics.checks import CheckCounts
from ..model.check import Check
from ..model.config import Address, Service, ServiceKey
from ..model.standing import Verdict, Verdicts
from ..operations.judge import Judge
from .journal import Journal
from .outage import Outage
from .probes.answer import Answer, CannotProbe
from .tally import Tally
from .turns import Turn, Turns

Probe = Callable[[Service, Check, Address], Awaitable[Answer]]
"""Checks a backend of a service once. Raises CannotProbe if that says nothing about it."""

_COALESCE = 0.005
"""Seconds for which verdicts of the same moment gather, since each switch waits for all CPUs."""
_AGAIN = 0.1
"""Seconds after which a switch is tried again, as when another run holds the lock."""


class _Watched(Turn):
    """A backend of a service: there may be very many, so it is a task only while it is asked."""

    __slots__ = ("address", "service", "tally", "task")

    def __init__(self, service: Service, address: Address, tally: Tally) -> None:
        super().__init__()
        self.service, self.address, self.tally = service, address, tally
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Have it checked no more."""
        self.over = True
        if self.task:
            self.task.cancel()


class Watch:
    """All backends of one balancer that are checked."""

    def __init__(
        self,
        judge: Judge,
        probe: Probe,
        journal: Journal,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        """changed: called when verdicts have been carried out."""
        self._judge, self._probe, self._journal = judge, probe, journal
        self._changed = changed
        self._watched: dict[ServiceKey, dict[Address, _Watched]] = {}
        self._turns = Turns(self._begin)
        self._names: dict[ServiceKey, str] = {}
        self._sizes: dict[ServiceKey, tuple[int, float]] = {}
        self._unchecked: dict[ServiceKey, set[Address]] = {}
        self._interface = ""
        self._outage = Outage()
        self._manifest: Manifest | None = None
        self._dirty: set[ServiceKey] = set()
        self._switching: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Follow what another run has changed, keeping all that is known of backends that are still
        checked. Raises L4lbError."""
        manifest = self._judge.look()
        if manifest is self._manifest:
            return
        at_first, self._manifest = self._manifest is None, manifest
        self._interface = manifest.config.interface
        services = {one.key: one for one in manifest.config.services if one.check}
        self._names = {key: one.name for key, one in services.items()}
        self._sizes = {
            key: (len(one.backends), one.check.interval + one.check.timeout)
            for key, one in services.items()
            if one.check
        }
        for key in self._watched.keys() - services.keys():
            self._drop(self._watched.pop(key).values())
        total = sum(len(one.backends) for one in services.values())
        turns = itertools.count()
        for key, service in services.items():
            there = self._watched.setdefault(key, {})
            gone = there.keys() - {backend.address for backend in service.backends}
            self._drop(there.pop(address) for address in gone)
            for backend in service.backends:
                # evenly over the interval if all of them are new, else at once
                start = next(turns) / total if at_first else 0.0
                self._attend_to(there, service, backend.address, start)
            # who went and came since the last look is new to that run, and well known here
            if _effect(self._verdicts(key)) != _effect(manifest.verdicts.get(service.name, {})):
                self._carry_out(key)
        self._look_out()

    def counts(self) -> tuple[int, int]:
        """How many backends are checked, and how many of them are unhealthy."""
        tallies = [one.tally for there in self._watched.values() for one in there.values()]
        return len(tallies), sum(tally.is_unhealthy for tally in tallies)

    def checks(self, service: Service) -> dict[Address, CheckCounts]:
        """What came of the checks of the backends of a service."""
        there = self._watched.get(service.key, {})
        return {address: one.tally.counts for address, one in there.items()}

    @property
    def manifest(self) -> Manifest | None:
        """The state there is; None before the first look."""
        return self._manifest

    def unknown(self) -> set[str]:
        """Services of whose backends not all have been checked for the first time."""
        return {
            self._names[key]
            for key, there in self._watched.items()
            if not all(one.tally.is_known for one in there.values())
        }

    async def close(self) -> None:
        """Watch no more; verdicts stay as they are."""
        all_ = [one for there in self._watched.values() for one in there.values()]
        self._drop(all_)
        self._turns.close()
        tasks = [one.task for one in all_ if one.task]
        if self._switching:
            self._switching.cancel()
            tasks.append(self._switching)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._watched.clear()

    def _drop(self, those: Iterable[_Watched]) -> None:
        for one in those:
            one.cancel()
            self._can_check(one)
            self._outage.heal(one.service.key, one.address)

    # Checks

    def _attend_to(
        self, there: dict[Address, _Watched], service: Service, address: Address, start: float
    ) -> None:
        """Have a backend checked, if it is not already, in that way.

        start: when the first check is, as a part of the interval.
        """
        check, found = service.check, there.get(address)
        if check is None:
            return
        if found:
            found.service, found.tally.slow_start = service, service.slow_start
            if found.tally.check == check:
                return
            found.cancel()
            found.tally.check = check
        verdicts = self._manifest.verdicts.get(service.name, {}) if self._manifest else {}
        tally = found.tally if found else Tally(check, verdicts.get(address), service.slow_start)
        one = there[address] = _Watched(service, address, tally)
        one.due = asyncio.get_running_loop().time() + start * check.interval
        self._turns.add(one)

    def _begin(self, one: _Watched) -> None:
        one.task = asyncio.get_running_loop().create_task(self._attend(one))

    async def _attend(self, one: _Watched) -> None:
        """Check one backend, and have it checked again an interval after this time."""
        check, began = one.tally.check, time.monotonic()
        # not twice in a row if the process had no CPU meanwhile
        one.due = max(one.due, began - check.interval) + check.interval
        try:
            answer = await self._probe(one.service, check, one.address)
        except CannotProbe as e:
            self._cannot_check(one, str(e))
        else:
            self._can_check(one)
            self._hear(one, answer)
        one.task = None
        if not one.over:
            self._turns.add(one)

    def _cannot_check(self, one: _Watched, reason: str) -> None:
        """As it is often the same with very many, the first is named for all of them."""
        one.tally.counts.fail("cannot_check")
        there = self._unchecked.setdefault(one.service.key, set())
        if not there:
            self._journal.alarm(_unchecked(one.service), f"{one.address}: {reason}")
        there.add(one.address)

    def _can_check(self, one: _Watched) -> None:
        there = self._unchecked.get(one.service.key)
        if there:
            there.discard(one.address)
            if not there:
                self._journal.calm(_unchecked(one.service))

    def _hear(self, one: _Watched, answer: Answer) -> None:
        tally, now, key = one.tally, time.monotonic(), one.service.key
        was = tally.verdict
        if not tally.hear(answer, now, time.time()):
            return
        if told := _told(tally, was, now):
            self._journal.tell(f"{one.service.name}: {one.address} {told}")
        if tally.is_unhealthy:
            if was is None or was.share:
                self._outage.fail(key, one.address, now)
        else:
            self._outage.heal(key, one.address)
        self._carry_out(key)

    def _look_out(self) -> None:
        """For what is this balancer's own fault, as it looks; once for all of a moment."""
        host = f"{socket.gethostname()} ({self._interface})"
        trouble = f"most backends of several services failed at once, as if it were due to {host}"
        if hit := self._outage.services(self._sizes, time.monotonic()):
            self._journal.alarm(trouble, ", ".join(sorted(self._names[key] for key in hit)))
        else:
            self._journal.calm(trouble)

    # Verdicts

    def _carry_out(self, key: ServiceKey) -> None:
        self._dirty.add(key)
        if self._switching is None or self._switching.done():
            self._switching = asyncio.create_task(self._switch())

    async def _switch(self) -> None:
        """Have the data plane follow, as soon as it can."""
        trouble = "verdicts cannot be carried out"
        await asyncio.sleep(_COALESCE)
        while self._dirty:
            self._look_out()
            keys, self._dirty = self._dirty, set()
            try:
                self.look()  # services may have come and gone, or have other names
                self._manifest = self._judge.follow(
                    {self._names[key]: self._verdicts(key) for key in keys & self._names.keys()}
                )
                self._journal.calm(trouble)
                self._changed()
            except L4lbError as e:
                self._dirty |= keys
                self._journal.alarm(trouble, str(e))
                await asyncio.sleep(_AGAIN)

    def _verdicts(self, key: ServiceKey) -> Verdicts:
        there = self._watched.get(key, {}).items()
        return {address: one.tally.verdict for address, one in there if one.tally.verdict}


def _effect(verdicts: Verdicts) -> dict[Address, tuple[bool, int]]:
    """What they do to packets: all but words and times."""
    return {address: (one.answered, one.share) for address, one in verdicts.items()}


def _unchecked(service: Service) -> str:
    return f"{service.name}: not all backends can be checked"


def _told(tally: Tally, was: Verdict | None, now: float) -> str | None:
    """What happened to a backend, in words; None: it goes on to."""
    verdict = tally.verdict
    was_unhealthy = was is not None and not was.share
    if not tally.is_unhealthy:
        return "is healthy again" if was_unhealthy else None
    reason = verdict.reason if verdict else ""
    if was_unhealthy:
        return f"is still unhealthy: {reason}"
    flaps = ", again and again" if tally.flaps(now) else ""
    return f"is unhealthy{flaps}: {reason}"
