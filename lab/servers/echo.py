# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An echo service: sends back what it gets, over UDP with its host's name and a space before it,
over TCP with the name and a newline before all else.

    echo.py PORT ADDRESS...

It asks for each address by itself, as answers must come from the one that was asked.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys

ROOM = 4 << 20
"""Bytes for datagrams that wait: where others want the processor, many do, and none is to be lost
here."""
NAME = socket.gethostname().encode()
SO_RCVBUFFORCE = 33  # of Linux, beyond what an administrator allows; Python does not know it
WAITING = selectors.DefaultSelector()


def answer(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # there may be no way back to it
        asked, client = server.recvfrom(65535)
        server.sendto(NAME + b" " + asked, client)


def accept(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has gone already
        connection, _client = server.accept()
        WAITING.register(connection, selectors.EVENT_READ, send_back)
        connection.sendall(NAME + b"\n")


def send_back(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # also when it has timed out
        if asked := connection.recv(65535):
            connection.sendall(asked)
            return
    WAITING.unregister(connection)
    connection.close()


def main() -> None:
    for address in sys.argv[2:]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind, handler in ((socket.SOCK_DGRAM, answer), (socket.SOCK_STREAM, accept)):
            server = socket.socket(family, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
            server.bind((address, int(sys.argv[1])))
            if kind == socket.SOCK_STREAM:
                server.listen(128)
            WAITING.register(server, selectors.EVENT_READ, handler)
    while True:
        for key, _events in WAITING.select():
            key.data(key.fileobj)


if __name__ == "__main__":
    main()
