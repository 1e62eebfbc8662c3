# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's HTTP server: what it answers, and what those cannot do to it who mean it no good."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.journal import Journal
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.web import server as servers
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.web.message import (
    Request,
    Response,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.web.server import Server
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.listen import (
    Listen,
    parse_listen,
)

pytestmark = pytest.mark.timeout(60)
PLAIN = "text/plain; charset=utf-8"
SLICE = b"x" * 10_000
SLICES = 1_000


async def hello(request: Request) -> Response:
    return Response(PLAIN, [b"hello ", b"", request.query.encode()], {"X-Mine": "yes"})


async def much(_request: Request) -> Response:
    return Response(PLAIN, (SLICE for _n in range(SLICES)))


async def fail(_request: Request) -> Response:
    raise ValueError("no luck")


async def fail_later(_request: Request) -> Response:
    def body() -> Iterator[bytes]:
        yield b"some"
        raise ValueError("no luck later")

    return Response(PLAIN, body())


ROUTES = {"/hello": hello, "/much": much, "/fail": fail, "/later": fail_later}


def free_port(address: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as one:
        one.bind((address, 0))
        port: int = one.getsockname()[1]
    return port


class Place:
    """Where a server listens, and what it has said."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address, self.port = address, free_port(address)
        host = f"[{address}]" if ":" in address else address
        found = parse_listen(f"{host}:{self.port}", "metrics_listen")
        assert found
        self.listen: Listen = found
        self.lines: list[str] = []
        self.server = Server(found, ROUTES, Journal(self.lines.append))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.server.run())
        try:
            while not self.lines:
                with suppress(OSError):
                    _reader, writer = await asyncio.open_connection(self.address, self.port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def say(self, text: bytes, then: bytes = b"") -> bytes:
        """All that is answered to these bytes."""
        reader, writer = await asyncio.open_connection(self.address, self.port)
        with suppress(OSError):
            writer.write(text)
            await writer.drain()
            writer.write(then)
            answer = await reader.read(-1)
            writer.close()
            return answer
        return b""


def run(scene: Callable[[Place], Awaitable[Any]], address: str = "127.0.0.1") -> Any:
    async def play() -> Any:
        place = Place(address)
        async with place.open():
            return await scene(place)

    return asyncio.run(play())


def ask(text: bytes) -> bytes:
    answer: bytes = run(lambda place: place.say(text))
    return answer


def get(path: str, method: str = "GET", headers: str = "", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n{headers}\r\n".encode()


def test_an_answer() -> None:
    head, _empty, body = ask(get("/hello?name=you")).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert b"X-Mine: yes" in lines
    assert b"Content-Type: text/plain; charset=utf-8" in lines
    assert b"Connection: close" in lines
    assert body == b"6\r\nhello \r\n8\r\nname=you\r\n0\r\n\r\n"


def test_an_answer_to_who_knows_no_chunks() -> None:
    head, _empty, body = ask(get("/hello", version="1.0")).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body == b"hello "


def test_python_understands_it() -> None:
    async def scene(place: Place) -> bytes:
        def fetch() -> bytes:
            connection = http.client.HTTPConnection(place.address, place.port)
            connection.request("GET", "/much")
            return connection.getresponse().read()

        return await asyncio.to_thread(fetch)

    assert run(scene) == SLICE * SLICES


def test_a_head_is_an_answer_without_its_body() -> None:
    head, _empty, body = ask(get("/hello", "HEAD")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert not body


def test_over_ipv6() -> None:
    answer = run(lambda place: place.say(get("/hello")), "::1")
    assert answer.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(get("/"), 404, id="no such path"),
        pytest.param(get("/hello/"), 404, id="nearly a path"),
        pytest.param(get("/%68ello"), 404, id="a path in disguise"),
        pytest.param(get("/hello/../hello"), 404, id="dots"),
        pytest.param(get("/hello", "POST"), 405, id="POST"),
        pytest.param(get("/hello", "DELETE"), 405, id="DELETE"),
        pytest.param(get("/hello", "get"), 405, id="methods are in capitals"),
        pytest.param(get("/hello", headers="Content-Length: 5\r\n"), 413, id="with a body"),
        pytest.param(get("/hello", headers="Content-Length: 0\r\n"), 200, id="with an empty one"),
        pytest.param(
            get("/hello", headers="Transfer-Encoding: chunked\r\n"), 413, id="with one in chunks"
        ),
        pytest.param(get("/hello", headers="no header\r\n"), 400, id="a bad header"),
        pytest.param(get("/hello", headers=" folded: yes\r\n"), 400, id="a folded header"),
        pytest.param(b"hello\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"GET /hello\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(b"GET /hello HTTP/2.0\r\n\r\n", 400, id="HTTP/2"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, id="TLS"),
        pytest.param(get("/hello", headers=f"X: {'y' * 9000}\r\n"), 431, id="long headers"),
        pytest.param(get("/fail"), 500, id="who should answer fails"),
        pytest.param(b"GET /hello HTTP/1.0\r\n\r\n", 200, id="without a host"),
        pytest.param(b"GET /hello HTTP/1.1\r\nHost: [::1]:99\r\n\r\n", 200, id="by address"),
        pytest.param(b"GET /hello HTTP/1.1\r\nHost: LOCALHOST:9\r\n\r\n", 200, id="as localhost"),
        pytest.param(b"GET /hello HTTP/1.1\r\nHost: a.example\r\n\r\n", 421, id="rebound"),
        pytest.param(b"GET /hello HTTP/1.1\r\nHost: a.example:9\r\n\r\n", 421, id="and a port"),
    ],
)
def test_status(request_: bytes, status: int) -> None:
    assert ask(request_).startswith(f"HTTP/1.1 {status} ".encode())


def test_which_methods_there_are() -> None:
    assert b"\r\nAllow: GET, HEAD\r\n" in ask(get("/hello", "PUT"))


def test_what_fails_half_way_is_seen_to_be_cut() -> None:
    async def scene(place: Place) -> tuple[bytes, list[str]]:
        await place.say(get("/fail"))
        return await place.say(get("/later")), place.lines

    answer, lines = run(scene)
    assert not answer.endswith(b"0\r\n\r\n")
    assert lines == [
        "/fail cannot be answered: ValueError: no luck",
        "/later cannot be answered: ValueError: no luck later",
    ]


def test_a_large_request_is_not_kept() -> None:
    """100 MB, which nobody asked for."""

    async def scene(place: Place) -> tuple[bytes, int]:
        tracemalloc.start()
        reader, writer = await asyncio.open_connection(place.address, place.port)
        writer.write(get("/hello", "POST", "Content-Length: 100000000\r\n"))
        with suppress(OSError):
            for _n in range(100):
                writer.write(bytes(1_000_000))
                await writer.drain()
        with suppress(OSError):
            await reader.read(-1)
        writer.close()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return await place.say(get("/hello")), peak

    answer, peak = run(scene)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert peak < 10_000_000


def test_a_large_request_is_told_why() -> None:
    """By a server that closes at once its answer would be lost."""
    answer = ask(get("/hello", "POST", "Content-Length: 500000\r\n") + bytes(500_000))
    assert answer.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("words", [b"", b"GET /hello HTTP/1.1\r\nHost: local", get("/much")])
def test_many_who_dawdle_keep_nobody_out(words: bytes) -> None:
    """1,000 who say nothing, or not all, or ask and do not read."""

    async def scene(place: Place) -> tuple[bytes, float]:
        late, over = 0.0, False

        async def tick() -> None:
            nonlocal late
            while not over:
                then = time.monotonic()
                await asyncio.sleep(0.005)
                late = max(late, time.monotonic() - then - 0.005)

        ticking = asyncio.create_task(tick())
        writers = []
        for _n in range(1_000):
            with suppress(OSError):
                _reader, writer = await asyncio.open_connection(place.address, place.port)
                writers.append(writer)
                writer.write(words)
        answer = await place.say(get("/hello"))
        over = True
        await ticking
        for writer in writers:
            writer.transport.abort()
        return answer, late

    answer, late = run(scene)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert late < 5, "the loop stood still"


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_HEAD_SECONDS", 0.1)
    assert ask(b"GET /hello") == b""


def test_who_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_SECONDS", 0.3)

    async def scene(place: Place) -> int:
        reader, writer = await asyncio.open_connection(place.address, place.port)
        writer.write(get("/much"))
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        while place.server._visits:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        return len(place.server._visits)

    assert run(scene) == 0


def test_a_taken_port_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_AGAIN", 0.05)

    async def play() -> tuple[list[str], bytes]:
        place = Place()
        with socket.socket() as other:
            other.bind((place.address, place.port))
            other.listen()
            async with place.open():
                while not place.lines:
                    await asyncio.sleep(0.01)
                other.close()
                while len(place.lines) < 2:
                    await asyncio.sleep(0.01)
                return place.lines, await place.say(get("/hello"))

    (wrong, over), answer = asyncio.run(play())
    assert "address already in use" in wrong
    assert "set metrics_listen to an address of the host and a port that is free" in wrong
    assert over.endswith(": over")
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_it_listens_only_where_it_is_told() -> None:
    async def scene(place: Place) -> None:
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.2", place.port)

    run(scene)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:9942", "127.0.0.1:9942"),
        ("0.0.0.0:1024", "0.0.0.0:1024"),
        ("[::1]:65535", "[::1]:65535"),
        ("", None),
    ],
)
def test_a_place(text: str, shown: str | None) -> None:
    found = parse_listen(text, "metrics_listen")
    assert (found and str(found)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "localhost:9942", "9942", ":9942", "127.0.0.1", "127.0.0.1:", "127.0.0.1:80",
        "127.0.0.1:65536", "::1:9942", "[127.0.0.1]:9942", "[::1]", "127.0.0.1:99x", 9942, None,
    ],
)  # fmt: skip
def test_no_place(text: object) -> None:
    with pytest.raises(ConfigError, match=r"metrics_listen: .*127\.0\.0\.1:9942"):
        parse_listen(text, "metrics_listen")
