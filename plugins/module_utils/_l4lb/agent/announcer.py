# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcing VIPs as long as this host serves them. What is announced stays so when the agent ends,
as what balances goes on."""

from __future__ import annotations

import time
from collections.abc import Collection

from ..announce import host, table, word
from ..announce.decide import NOBODYS, Decision, Side, decide
from ..announce.leaving import LONGEST_LEAVE
from ..errors import L4lbError
from ..kernel.paths import Paths
from ..model.config import Announced
from .journal import Journal

_TROUBLE = "VIPs are neither announced nor withdrawn"


class Announcer:
    """Has the routes that there should be, and says what changes."""

    def __init__(self, journal: Journal, paths: Paths) -> None:
        self._journal, self._paths = journal, paths
        self._waiting: dict[Announced, float] = {}
        """VIPs whose backends are yet to be checked, and since when, of time.monotonic."""

    def follow(self, sides: Collection[Side], complete: bool = True) -> None:
        """Announce what these serve, and withdraw all else.

        complete: they are all balancers of the host; else what others may serve stays as it is.
        """
        try:
            there, held = table.routes(), word.withdrawn(self._paths)
            if held:
                self._obey(there, held)
            else:
                overdue = self._overdue(sides)
                self._serve(there, decide(sides, {*there, *overdue}), complete, overdue)
            self._journal.calm(_TROUBLE)
        except (L4lbError, OSError) as e:
            self._journal.alarm(_TROUBLE, str(e))

    def _obey(self, there: dict[Announced, int], held: word.Withdrawn) -> None:
        """Announce nothing. Traffic that is asked to go elsewhere has some time for that."""
        is_over = time.time() - held.since > LONGEST_LEAVE
        for vip, metric in there.items():
            if metric == table.STAYS or is_over:
                self._withdraw(vip, str(held))

    def _serve(
        self,
        there: dict[Announced, int],
        wanted: Decision,
        complete: bool,
        overdue: Collection[Announced],
    ) -> None:
        waited, now = self._waiting, time.monotonic()
        waits = (vip for vip, objection in wanted.items() if objection and objection.waits)
        self._waiting = {vip: waited.get(vip, now) for vip in waits}
        for vip, objection in wanted.items():
            if objection is None and there.get(vip) != table.STAYS:
                self._announce(vip, waited=vip in overdue)
        for vip in there:
            objection = wanted.get(vip, NOBODYS if complete else None)
            if objection:
                self._withdraw(vip, objection.reason)

    def _overdue(self, sides: Collection[Side]) -> set[Announced]:
        """VIPs that have waited long enough for the first checks of their backends."""
        now = time.monotonic()
        return {
            name
            for side in sides
            for name in host.vips(side.manifest.config)
            if name in self._waiting
            and now - self._waiting[name] >= side.manifest.config.announce_timeout
        }

    def _announce(self, vip: Announced, waited: bool) -> None:
        trouble = f"{vip} cannot be announced"
        try:
            table.announce([vip])
        except L4lbError as e:
            self._journal.alarm(trouble, str(e))
            return
        self._journal.calm(trouble)
        late = " although not all of its backends have been checked" if waited else ""
        self._journal.tell(f"{vip} is announced{late}")

    def _withdraw(self, vip: Announced, reason: str) -> None:
        table.withdraw([vip])
        self._journal.tell(f"{vip} is withdrawn: {reason}")
