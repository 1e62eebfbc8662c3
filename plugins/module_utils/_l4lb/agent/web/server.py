# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server inside the agent: something to read, at a few paths.

The process that it is in has backends to check, so whoever asks here gets only so much of it: so
many connections, bytes of a request, seconds, and answers in slices with checks in between. Where
there are too many connections, the oldest gives way, so those who dawdle keep nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Protocol

from ...model.listen import Listen
from .message import Handler, Refused, Request, Response, body_of, head_of, parse

_MOST_CONNECTIONS = 64
_MOST_ANSWERS = 8
"""At a time, as each may hold what was counted at its moment."""
_LONGEST_HEAD = 8192
_HEAD_SECONDS, _SECONDS = 5.0, 30.0
"""For a request, and for all of it until the answer has been read."""
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 1 << 20
"""What is still read of somebody who sends too much, since an answer is lost if it is not."""
_BUFFERED = 1 << 16
_AGAIN = 10.0
"""Seconds after which an address is tried again that could not be had."""


class Troubles(Protocol):
    """Who is told what is wrong, and when it is no more."""

    def alarm(self, trouble: str, reason: str) -> None: ...
    def calm(self, trouble: str) -> None: ...


class Server:
    """Listens at one place."""

    def __init__(self, listen: Listen, routes: Mapping[str, Handler], journal: Troubles) -> None:
        """routes: path -> who answers."""
        self._listen, self._routes, self._journal = listen, routes, journal
        self._visits: list[_Visit] = []
        """The oldest first."""

    async def run(self) -> None:
        """Until it is cancelled. Who cannot listen says so, and tries it again and again."""
        trouble = f"nobody can ask at {self._listen}"
        while True:
            try:
                server = await asyncio.start_server(
                    self._receive,
                    str(self._listen.address),
                    self._listen.port,
                    limit=_LONGEST_HEAD,
                    backlog=_MOST_CONNECTIONS,
                )
                break
            except OSError as e:
                self._journal.alarm(trouble, f"{e.strerror or e}; {self._listen.remedy}")
                await asyncio.sleep(_AGAIN)
        self._journal.calm(trouble)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for visit in [*self._visits]:
                visit.cut()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = _Visit(reader, writer)
        self._visits.append(visit)
        self._make_room([*self._visits], _MOST_CONNECTIONS)
        try:
            await asyncio.wait_for(self._attend(visit), _SECONDS)
        except (OSError, EOFError, asyncio.TimeoutError):
            pass  # who asked has gone, or is too slow
        finally:
            self._visits.remove(visit)
            visit.cut()

    def _make_room(self, visits: list[_Visit], most: int) -> None:
        for visit in visits[: max(0, len(visits) - most)]:
            visit.cut()

    async def _attend(self, visit: _Visit) -> None:
        try:
            request = await asyncio.wait_for(visit.request(), _HEAD_SECONDS)
            visit.is_answered = True
            self._make_room([one for one in self._visits if one.is_answered], _MOST_ANSWERS)
            response = await self._answer(request)
        except Refused as e:
            request, response = Request("", takes_chunks=False), e.response
        try:
            await visit.answer(request, response)
            self._journal.calm(_unanswered(request))
        except OSError:  # who asked has gone
            raise
        except Exception as e:  # what they have got is cut off, and can be told from a whole answer
            self._fail(request, e)

    async def _answer(self, request: Request) -> Response:
        if self._listen.address.is_loopback and not _names_an_address(request):
            raise Refused(
                HTTPStatus.MISDIRECTED_REQUEST,
                "ask by an IP address, or as localhost, not by a name",
            )
        handler = self._routes.get(request.path)
        if handler is None:
            there = ", ".join(self._routes)
            raise Refused(HTTPStatus.NOT_FOUND, f"there is only {there}")
        try:
            return await handler(request)
        except Refused:
            raise
        except Exception as e:
            self._fail(request, e)
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "see the journal of the agent") from e

    def _fail(self, request: Request, problem: Exception) -> None:
        self._journal.alarm(_unanswered(request), f"{type(problem).__name__}: {problem}")


class _Visit:
    """Somebody who asks once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(_BUFFERED)
        self.is_answered = False

    def cut(self) -> None:
        """Have no more to do with them."""
        self._writer.transport.abort()

    async def request(self) -> Request:
        """What they ask. Raises Refused, EOFError, or OSError."""
        try:
            return parse(await self._reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            raise Refused(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"a request has at most {_LONGEST_HEAD} bytes",
            ) from None

    async def answer(self, request: Request, response: Response) -> None:
        """All of it, then wait a moment for them to go."""
        chunks = request.takes_chunks
        self._writer.write(head_of(response, chunks))
        if request.method != "HEAD":
            for part in body_of(response, chunks):
                self._writer.write(part)
                await self._writer.drain()
                await asyncio.sleep(0)  # others have their turn
        self._writer.write_eof()
        self._writer.transport.set_write_buffer_limits(0)  # have all of it sent
        await self._writer.drain()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._read_out(), _LINGER_SECONDS)

    async def _read_out(self) -> None:
        left = _LINGER_BYTES
        while left > 0:
            found = await self._reader.read(_BUFFERED)
            if not found:
                return
            left -= len(found)


def _unanswered(request: Request) -> str:
    return f"{request.path} cannot be answered"


def _names_an_address(request: Request) -> bool:
    """Whether they mean this very place, or follow a name that leads here.

    A web page could have given its own name the address of the host that it is read on, to have a
    browser fetch for it what only that host may see.
    """
    host = request.headers.get("host", "localhost")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name.lower() == "localhost":
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
