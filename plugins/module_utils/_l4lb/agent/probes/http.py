# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A page, asked for by HTTP/1.1 (RFC 9112), of which no more is read than is needed."""

from __future__ import annotations

import re
from typing import Any

from ...model.check import Check
from .answer import Target, TimedOut, Unhealthy, quoted

PORTS = {"http": 80, "https": 443}
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9])(?:[ \t][^\r\n]*)?\r?\n")
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_IS_CHUNKED = re.compile(rb"\ntransfer-encoding:[^\n]*chunked")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]{1,9})")
_CHUNK = re.compile(rb"(?:\r?\n)?([0-9A-Fa-f]{1,8})[^\r\n]*\r?\n")
_MOST_OF_A_LINE, _MOST_HEADERS = 1 << 12, 1 << 14
_INTERIM, _MOST_INTERIM = range(100, 200), 8


async def ask(connection: Any, check: Check, target: Target) -> str:
    """Returns what is good about the backend. Raises Unhealthy, CannotProbe.

    connection: with the coroutines `send` and `receive` of a Wire, and connected.
    """
    await connection.send(_request(check, target))
    status, rest = await _status(connection)
    low, high = check.status or (0, 0)
    if not low <= status <= high:
        raise Unhealthy(f"HTTP {status}", answered=True)
    if check.expect is not None:
        try:
            await _expect(connection, rest, check.expect.encode())
        except Unhealthy as e:
            reason = f"HTTP {status}, {e.reason}"
            raise Unhealthy(reason, answered=True) from e
    return f"HTTP {status}"


def _request(check: Check, target: Target) -> bytes:
    host = check.host
    if not host:
        host = f"[{target.address}]" if target.address.version == 6 else str(target.address)
        host += "" if target.port == PORTS[check.type] else f":{target.port}"
    lines = [
        f"GET {check.path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: l4lb",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


async def _status(connection: Any) -> tuple[int, bytes]:
    """The final one, and what came after its line."""
    data = b""
    for _each in range(_MOST_INTERIM):
        line, data = await _line(connection, data)
        found = _STATUS.fullmatch(line)
        if not found:
            raise Unhealthy(f"no HTTP, but {quoted(line)}", answered=True)
        if int(found[1]) not in _INTERIM:
            return int(found[1]), data
        _unused, data = await _headers(connection, b"\n" + data)
    raise Unhealthy("too many interim answers", answered=True)


async def _line(connection: Any, data: bytes) -> tuple[bytes, bytes]:
    """The first line, and what came after it."""
    while b"\n" not in data:
        if data and not b"HTTP/1.".startswith(data[:7]):
            raise Unhealthy(f"no HTTP, but {quoted(data)}", answered=True)
        if len(data) > _MOST_OF_A_LINE:
            raise Unhealthy("the first line is too long", answered=True)
        more = await connection.receive()
        if not more:
            raise Unhealthy(f"closed after {quoted(data)}" if data else "closed without a word")
        data += more
    line, _newline, rest = data.partition(b"\n")
    return line + b"\n", rest


async def _headers(connection: Any, data: bytes) -> tuple[bytes, bytes]:
    """They, and what came after them; data: from the end of the line before on."""
    while True:
        end = _END_OF_HEADERS.search(data)
        if end:
            return data[: end.start()], data[end.end() :]
        if len(data) > _MOST_HEADERS:
            raise Unhealthy("the headers are too long", answered=True)
        more = await connection.receive()
        if not more:
            raise Unhealthy("closed within the headers", answered=True)
        data += more


async def _expect(connection: Any, data: bytes, expected: bytes) -> None:
    """The text is in the body, as far as that is read. Raises Unhealthy if it is not."""
    headers, more = await _headers(connection, b"\n" + data)
    body = _Body(headers.lower())
    while True:
        body.take(more)
        if expected in body.text:
            return
        if body.complete:
            raise Unhealthy("without the text expected")
        try:
            more = await connection.receive()
        except TimedOut as e:
            raise Unhealthy("without the text expected in time") from e
        if not more:
            raise Unhealthy("without the text expected")


class _Body:
    """What has come of one, after headers that are in lower case."""

    def __init__(self, headers: bytes) -> None:
        self.text = bytearray()
        self.complete = False
        self._chunked = bool(_IS_CHUNKED.search(headers))
        length = _LENGTH.search(headers)
        self._length = int(length[1]) if length and not self._chunked else None
        self._rest, self._left = b"", 0

    def take(self, data: bytes) -> None:
        """What comes next."""
        if self._chunked:
            self._take_chunks(self._rest + data)
            return
        self.text += data
        if self._length is not None and len(self.text) >= self._length:
            del self.text[self._length :]
            self.complete = True

    def _take_chunks(self, data: bytes) -> None:
        """From where the last one ended, or the line of the next one begins."""
        at = 0
        while at < len(data) and not self.complete:
            if not self._left:
                line = _CHUNK.match(data, at)
                if not line:
                    break
                self._left, at = int(line[1], 16), line.end()
                self.complete = not self._left
            piece = data[at : at + self._left]
            self.text += piece
            self._left -= len(piece)
            at += len(piece)
        self._rest = data[at:]
