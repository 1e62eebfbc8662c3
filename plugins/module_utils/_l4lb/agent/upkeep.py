# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping true what others break: the agent looks after the balancers of its host.

It hears of what changes, and looks when something did, and now and then. To look is the work of
another process, see operations/repair.py; here is when, and what is remembered and said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Hashable
from typing import Any

from ..balancer.saved import Saved
from ..errors import BusyError, L4lbError
from ..kernel import lock
from ..kernel.paths import Paths
from ..metrics.seen import Kept
from ..network import forwarding, neighbours, rtnetlink
from ..operations import here
from ..operations.repair import Found, repair_apart
from .journal import Journal
from .record import Record, read, trouble

_PAUSE = 1.0
"""Seconds from one moment to the next at which a look may begin."""
_UNSEEN = "l4lb status does not see what is repaired"
_FOUND = "was found otherwise than it was left"


class Upkeep:
    """Looks after all balancers of this host."""

    def __init__(
        self,
        journal: Journal,
        held: lock.Held,
        paths: Paths,
        look: Callable[[str, bool, str | None], tuple[Found, float]] = repair_apart,
    ) -> None:
        """held: the lock of the agent, in which is noted what `l4lb status` shows."""
        self._journal, self._held, self._paths, self._look = journal, held, paths, look
        self._since, self._records = read(held.noted(), time.time())
        self._heard = 0
        self._noted = b""

    def shown(self) -> dict[str, dict[str, Any]]:
        """What is known of each balancer, as `Record.shown` has it."""
        return {name: one.shown(self._since) for name, one in self._records.items()}

    def kept(self) -> dict[str, Kept]:
        """What became of each balancer."""
        return {name: Kept(one.repairs, bool(one.problem)) for name, one in self._records.items()}

    async def run(self) -> None:
        """Until it is cancelled; what has begun by then is done. Raises KernelError if it cannot
        begin."""
        loop, changes = asyncio.get_running_loop(), neighbours.changes()
        with contextlib.closing(changes.socket):
            loop.add_reader(changes.socket.fileno(), self._hear, changes)
            try:
                while True:
                    await self._look_at_all()
                    await asyncio.sleep(_PAUSE)
            finally:
                loop.remove_reader(changes.socket.fileno())

    def _hear(self, changes: rtnetlink.Changes) -> None:
        self._heard += changes.heard()

    async def _look_at_all(self) -> None:
        try:
            names, host = here.balancing(), self._host()
        except L4lbError as e:
            self._journal.alarm("nothing can be looked after", str(e))
            return
        self._journal.calm("nothing can be looked after")
        for name in self._records.keys() - names:
            del self._records[name]
            self._journal.calm(trouble(name))
        for name in names:
            record = self._records.setdefault(name, Record())
            sign = host, self._saved(name)
            if record.is_due(sign, time.monotonic()):
                await self._look_at(name, record, sign)
        self._note()

    async def _look_at(self, name: str, record: Record, sign: Hashable) -> None:
        attaches, seconds = record.attaches(time.monotonic()), 0.0
        repairs = record.repairs
        try:
            found, seconds = await asyncio.to_thread(self._look, name, attaches, record.mode)
            record.hear(found, attaches, time.monotonic(), time.time())
        except BusyError:
            record.wait(time.monotonic())
            return
        except L4lbError as e:
            record.fail(str(e), attaches)
        record.looked(sign, time.monotonic(), seconds)
        if record.repairs > repairs:
            self._journal.tell(f"{name} {_FOUND}, and repaired: {record.done}")
        if record.problem:
            self._journal.alarm(trouble(name), record.problem)
        else:
            self._journal.calm(trouble(name))

    # What is seen without a look

    def _host(self) -> Hashable:
        routed = (forwarding.routing_answers(self._paths, version) for version in (4, 6))
        return tuple(rtnetlink.links()), tuple(routed), self._heard

    def _saved(self, name: str) -> Hashable:
        saved = Saved(name, self._paths)
        with contextlib.suppress(OSError):
            return saved.path.stat().st_mtime_ns, saved.paused
        return None

    # What is noted

    def _note(self) -> None:
        there = {name: one.dump() for name, one in self._records.items()}
        text = json.dumps({"since": self._since, "balancers": there}).encode()
        if text == self._noted:
            return
        try:
            self._held.note(text)
            self._noted = text
            self._journal.calm(_UNSEEN)
        except L4lbError as e:
            self._journal.alarm(_UNSEEN, str(e))
