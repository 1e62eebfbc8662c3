# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""People who keep a server busy without a wish to hear from it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

WHERE = ("127.0.0.1", 9942)
CONNECTIONS = 1000
LARGE = 100_000_000


def dawdle() -> dict[str, int]:
    """Open many connections at once that do not ask to the end, and meanwhile send a large request;
    how many there were, and the status that is answered to that."""
    return asyncio.run(_dawdle())


async def _dawdle() -> dict[str, int]:
    opened = await asyncio.gather(*(_begin() for _n in range(CONNECTIONS)))
    status = await asyncio.to_thread(_send_much)
    for writer in opened:
        writer.transport.abort()
    return {"opened": len(opened), "status": status}


async def _begin() -> asyncio.StreamWriter:
    _reader, writer = await asyncio.open_connection(*WHERE)
    writer.write(b"GET /metrics HTT")
    return writer


def _send_much() -> int:
    with socket.create_connection(WHERE, timeout=20) as one:
        one.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % LARGE)
        status = int(one.recv(100).split()[1])
        with contextlib.suppress(OSError):  # it is cut off
            for _n in range(LARGE // 1_000_000):
                one.sendall(bytes(1_000_000))
    return status
