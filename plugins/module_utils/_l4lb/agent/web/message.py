# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent is asked by HTTP/1.x, and what it says: RFC 9110 and 9112, as far as there is
something to read and nothing to send it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Callable

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST = re.compile(rf"({_WORD}) ([!-~]+) HTTP/1\.([0-9])")
_FIELD = re.compile(rf"({_WORD}):[ \t]*(.*?)[ \t]*")
METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Request:
    """What somebody asks for.

    path, query: of the target, as they were sent. headers: by name in lower case; those that came
        several times are joined by commas.
    takes_chunks: whether an answer may come in chunks, so that its end can be told from a cut.
    """

    path: str
    query: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_chunks: bool = True


@dataclass(frozen=True)
class Response:
    """What it gets.

    body: in slices, which may be empty. Each is made when there is room for it, and other work of
        the agent is done in between; so none shall take longer than a few milliseconds.
    """

    content_type: str
    body: Iterable[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = HTTPStatus.OK


Handler = Callable[[Request], Awaitable[Response]]
"""Answers what is asked of a path."""


class Refused(Exception):  # noqa: N818 (the request is wrong, not the program)
    """There is no answer but this status, and what it means."""

    def __init__(self, status: HTTPStatus, meaning: str, **headers: str) -> None:
        super().__init__(meaning)
        self.response = Response(
            "text/plain; charset=utf-8", [f"{meaning}\n".encode()], headers, status
        )


def parse(head: bytes) -> Request:
    """A request from its first line to the empty one. Raises Refused."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    request, fields = _REQUEST.fullmatch(first), [*map(_FIELD.fullmatch, lines)]
    if not request or not all(fields):
        raise Refused(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    headers: dict[str, str] = {}
    for name, value in (one.groups() for one in fields if one):
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    method, target, minor = request.groups()
    if method not in METHODS:
        allowed = ", ".join(METHODS)
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"there is only {allowed}", Allow=allowed)
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "there is nothing to send here")
    path, _mark, query = target.partition("?")
    return Request(path, query, method, headers, minor != "0")


def head_of(response: Response, chunks: bool) -> bytes:
    """The lines before the body."""
    status = HTTPStatus(response.status)
    lines = {
        "Date": formatdate(usegmt=True),
        "Content-Type": response.content_type,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **response.headers,
        **({"Transfer-Encoding": "chunked"} if chunks else {}),
        "Connection": "close",
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{text}\r\n".encode()


def body_of(response: Response, chunks: bool) -> Iterator[bytes]:
    """The slices as they are sent."""
    for part in response.body:
        yield b"%x\r\n%b\r\n" % (len(part), part) if chunks and part else part
    if chunks:
        yield b"0\r\n\r\n"
