# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listens on a host's loopback address, for programs of this machine, such as a browser."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

from lab.topology import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.host import Host

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def forwarding(host: Host, port: int, at: int) -> Iterator[None]:
    """Connections to a port of this machine's loopback address reach one of the host's meanwhile.
    Raises LabError."""

    class Both(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            inner = host.socket(socket.AF_INET, socket.SOCK_STREAM)
            with inner, contextlib.suppress(OSError):  # one of them has gone
                inner.connect((LOOPBACK, port))
                there = threading.Thread(target=_copy, args=(self.request, inner), daemon=True)
                there.start()
                _copy(inner, self.request)
                there.join()

    try:
        server = socketserver.ThreadingTCPServer((LOOPBACK, at), Both)
    except OSError as e:
        raise LabError(f"{LOOPBACK}:{at}: {e.strerror}; choose another port by --at") from e
    with server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := one.recv(1 << 16):
            other.sendall(part)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)
