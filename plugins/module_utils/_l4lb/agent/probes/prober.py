# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a backend how it is, by whatever its check says. Nothing that a backend sends gets out of
hand: bytes and time have an end, and there is no exception but CannotProbe."""

from __future__ import annotations

import asyncio
import resource
import socket

from ...model.check import Check
from . import dns, http, tcp, udp
from .answer import Answer, CannotProbe, Target, TimedOut, Unhealthy, short
from .command import Commands
from .pace import Pace
from .tls import Sessions, Tls
from .tunnel import Tunnel
from .wire import Wire

_SPARE_FILES = 256
"""For all else that the process does."""
_PACKETS = {"dns": dns.ask, "udp": udp.ask}


class Prober:
    """All probes of a process; to be made where its event loop runs.

    user: whose rights commands have; None: those of this process.
    tunnel: for targets with an index.
    """

    def __init__(self, user: str | None = None, tunnel: Tunnel | None = None) -> None:
        self.tunnel = tunnel
        self._pace = Pace()
        self._commands = Commands(self._pace, user)
        self._sessions = Sessions()
        self._under_way = 0
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES

    @property
    def lag(self) -> float:
        """By how many seconds this process was late so far."""
        return self._pace.lost

    def close(self) -> None:
        """Once no probe is under way."""
        self._pace.close()

    async def probe(self, check: Check, target: Target) -> Answer:
        """Once. Raises CannotProbe if that cannot be told, which says nothing about the backend."""
        if self._under_way >= self._most:
            raise CannotProbe("more checks at a time than there may be open files")
        self._under_way += 1
        try:
            return await self._probe(check, target)
        except CannotProbe:
            raise
        except Exception as e:  # our fault, and no reason to blame the backend
            raise CannotProbe(f"{type(e).__name__}: {e}") from e
        finally:
            self._under_way -= 1

    async def _probe(self, check: Check, target: Target) -> Answer:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        healthy, answered, timed_out = True, True, False
        tunnel, index = self.tunnel, target.index
        if index is not None:
            if tunnel is None:
                raise CannotProbe("there is no tunnel")
            tunnel.expect(index)
        try:
            reason = await self._ask(check, target)
        except Unhealthy as e:
            healthy, answered, reason = False, e.answered, e.reason
            timed_out = isinstance(e, TimedOut)
        seconds = loop.time() - begun
        refusal = tunnel.refusal(index) if tunnel and index is not None else None
        if refusal:
            raise CannotProbe(refusal)
        return Answer(healthy, answered, short(reason), seconds, timed_out)

    async def _ask(self, check: Check, target: Target) -> str:
        if check.type == "command":
            return await self._commands.ask(check, target)
        kind = socket.SOCK_DGRAM if check.type in _PACKETS else socket.SOCK_STREAM
        with Wire(kind, target, check.timeout, self._pace) as wire:
            if check.type in _PACKETS:
                return await _PACKETS[check.type](wire, check)
            if check.type == "tcp":
                return await tcp.ask(wire, check)
            await wire.connect()
            if check.type == "http":
                return await http.ask(wire, check, target)
            connection = Tls(wire, check, target, self._sessions)
            await connection.connect()
            return await http.ask(connection, check, target)
