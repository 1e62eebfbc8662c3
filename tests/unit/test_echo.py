# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory's echo server outlives clients that go away."""

from __future__ import annotations

import selectors
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from lab.servers import echo

SERVER = Path(__file__).resolve().parents[2] / "lab/servers/echo.py"
AT_ONCE = struct.pack("=ii", 1, 0)  # struct linger: close() resets the connection


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def connected(port: int) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:  # noqa: PERF203 (it is just starting)
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_clients_that_reset_their_connections() -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, str(SERVER), str(port), "127.0.0.1"]) as server:
        try:
            connected(port).close()
            for _time in range(500):
                one = connected(port)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                one.close()
            with connected(port) as last:
                assert last.recv(100).endswith(b"\n")
                last.sendall(b"still there")
                assert last.recv(100) == b"still there"
            assert server.poll() is None
        finally:
            server.kill()


def test_a_client_that_nothing_was_heard_of() -> None:
    """Its connection times out minutes later: a server that was taken away has many of those."""

    class Silent(socket.socket):
        def recv(self, *_arguments: object) -> bytes:
            raise TimeoutError(110, "Connection timed out")

    with Silent() as one:
        echo.WAITING.register(one, selectors.EVENT_READ, echo.send_back)
        echo.send_back(one)
        assert not echo.WAITING.get_map()
