# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backends for probes: servers on loopback, good ones and such as no probe should trust."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import (
    Answer,
    CannotProbe,
    Target,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.prober import Prober
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.check import Check
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
PATIENT, IMPATIENT = 30, 0.4
"""Timeouts: of what comes, on however busy a machine, and of what does not."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Result = tuple[bool, bool, str]
"""Healthy, answered, and the reason."""


def check(kind: str, timeout: float = PATIENT, **options: Any) -> Check:
    """As it is parsed."""
    given = {"type": kind, "timeout": timeout, "interval": 60, **options}
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    config = parse_config({"interface": "eth0", "services": [{**service, "check": given}]})
    found = config.services[0].check
    assert found
    return found


def target(port: int, version: int = 4) -> Target:
    address = ip_address(LOOPBACK[version])
    return Target(address=address, port=port, backend=address)


async def ask(prober: Prober, check: Check, target: Target) -> Result:
    """What comes of a probe; again where this machine was too busy for one."""
    for _each in range(20):
        try:
            answer: Answer = await prober.probe(check, target)
        except CannotProbe as e:
            if "late by" not in e.reason:
                raise
            continue
        assert answer.reason.isprintable()
        assert len(answer.reason) <= 60
        assert answer.seconds >= 0
        return answer.healthy, answer.answered, answer.reason
    raise AssertionError("this machine is too busy")


@contextlib.asynccontextmanager
async def prober(user: str | None = None) -> AsyncIterator[Prober]:
    made = Prober(user)
    try:
        yield made
    finally:
        made.close()


@contextlib.asynccontextmanager
async def tcp(
    handler: Handler, version: int = 4, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Target]:
    """A server that treats each connection so, whatever comes of it."""

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.close()

    server = await asyncio.start_server(handled, LOOPBACK[version], ssl=tls)
    try:
        yield target(server.sockets[0].getsockname()[1], version)
    finally:
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


@contextlib.asynccontextmanager
async def udp(answers: Callable[[bytes], list[bytes]], version: int = 4) -> AsyncIterator[Target]:
    """A server that answers a packet with these."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:

        def asked() -> None:
            said, peer = sock.recvfrom(1 << 16)
            for answer in answers(said):
                sock.sendto(answer, peer)

        sock.bind((LOOPBACK[version], 0))
        loop.add_reader(sock, asked)
        try:
            yield target(sock.getsockname()[1], version)
        finally:
            loop.remove_reader(sock)


def closed_port(kind: socket.SocketKind = socket.SOCK_STREAM, version: int = 4) -> int:
    """Where nobody listens: taken, and given back."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, kind) as sock:
        sock.bind((LOOPBACK[version], 0))
        return int(sock.getsockname()[1])


def say(*parts: bytes, then_wait: bool = False) -> Handler:
    """One who says this after the first words, or at once if there are none."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then_wait:
            await asyncio.sleep(PATIENT)

    return handler


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()
    await asyncio.sleep(PATIENT)


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(PATIENT)


async def close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Without a word."""


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


def endlessly(first: bytes, more: bytes, pause: float = 0) -> Handler:
    """This, and then that without an end."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(first)
        while True:
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(pause)

    return handler
