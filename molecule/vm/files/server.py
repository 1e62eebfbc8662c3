# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer HTTP requests on many ports, by the address that was asked for."""

from __future__ import annotations

import socket
import threading

PORTS = range(8001, 8033)
ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}"


def serve(listener: socket.socket) -> None:
    while True:
        connection, _client = listener.accept()
        with connection:
            connection.settimeout(10)
            try:
                connection.recv(4096)
                name = connection.getsockname()[0].removeprefix("::ffff:") + "\n"
                connection.sendall(ANSWER.format(len(name), name).encode())
            except OSError:  # that one is gone
                continue


def main() -> None:
    for port in PORTS:
        listener = socket.create_server(
            ("::", port), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True
        )
        threading.Thread(target=serve, args=[listener]).start()


if __name__ == "__main__":
    main()
