# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS over a connection, without asyncio's transports, which cost a third more."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ...model.check import Check
from .answer import Target, Unhealthy
from .wire import Wire

_MOST_SESSIONS = 8192
_FULL_AFTER = 300.0
"""Seconds: a session that is taken up again shows no certificate, which may be another by now."""


@dataclass(frozen=True)
class _Session:
    session: ssl.SSLSession
    begun: float


class Sessions:
    """What TLS remembers of backends: contexts, and sessions that are taken up again."""

    def __init__(self) -> None:
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._sessions: OrderedDict[tuple[Check, Target], _Session] = OrderedDict()

    def context(self, verify: bool) -> ssl.SSLContext:
        """One that believes the system's authorities, or everybody."""
        if verify not in self._contexts:
            context = ssl.create_default_context()
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
            self._contexts[verify] = context
        return self._contexts[verify]

    def known(self, key: tuple[Check, Target]) -> _Session | None:
        """A session that may be taken up again."""
        found = self._sessions.get(key)
        if found and asyncio.get_running_loop().time() - found.begun > _FULL_AFTER:
            return None
        return found

    def remember(self, key: tuple[Check, Target], session: _Session) -> None:
        """The newest."""
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)


class Tls:
    """A connection with the coroutines of a Wire."""

    def __init__(self, wire: Wire, check: Check, target: Target, sessions: Sessions) -> None:
        self._wire, self._sessions, self._key = wire, sessions, (check, target)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._known = sessions.known(self._key)
        self._tls = sessions.context(check.verify).wrap_bio(
            self._in,
            self._out,
            server_hostname=_name(check, target),
            session=self._known.session if self._known else None,
        )

    async def connect(self) -> None:
        """The handshake. Raises Unhealthy, CannotProbe."""
        await self._complete(self._tls.do_handshake)
        if not self._tls.version():
            raise Unhealthy("TLS: closed in the middle")
        await self._flush()

    async def send(self, data: bytes) -> None:
        """All of it."""
        await self._complete(lambda: self._tls.write(data))
        await self._flush()

    async def receive(self) -> bytes:
        """What has come; b"" if no more will."""
        data = await self._complete(lambda: self._tls.read(1 << 14))
        if data:
            self._remember()
        return bytes(data or b"")

    async def _complete(self, step: Callable[[], Any]) -> Any:
        """What a step returns once it has had all that it wants to read; None at the end."""
        while True:
            wants, result = _tried(step)
            if not wants:
                return result
            await self._more()

    def _remember(self) -> None:
        """The tickets of TLS 1.3 come with the answer."""
        session = self._tls.session
        if session and session.has_ticket:
            begun = asyncio.get_running_loop().time()
            if self._tls.session_reused and self._known:
                begun = self._known.begun
            self._sessions.remember(self._key, _Session(session, begun))

    async def _more(self) -> None:
        await self._flush()
        data = await self._wire.receive()
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        data = self._out.read()
        if data:
            await self._wire.send(data)


def _tried(step: Callable[[], Any]) -> tuple[bool, Any]:
    """Whether a step wants to read more first, and what it returns. Raises Unhealthy."""
    try:
        return False, step()
    except ssl.SSLWantReadError:
        return True, None
    except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
        return False, None
    except ssl.SSLCertVerificationError as e:
        raise Unhealthy(f"certificate: {e.verify_message}", answered=True) from e
    except ssl.SSLError as e:
        words = (e.reason or str(e)).replace("_", " ").lower()
        raise Unhealthy(f"TLS: {words}", answered=True) from e


def _name(check: Check, target: Target) -> str | None:
    """Whose certificate it must be; SNI, unless it is an address."""
    if check.host:
        name = check.host.partition(":")[0]
        return name if check.verify or not _is_address(name) else None
    return str(target.address) if check.verify else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
