# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make HTTP requests and count, on the wire, what they cost.

    client.py ADDRESS PORT FIRST_SOURCE_PORT REQUESTS

Prints JSON: who answered the request from each source port, and by answer the frames that left
eth0 for it and their bytes.
"""

from __future__ import annotations

import collections
import contextlib
import json
import socket
import struct
import sys
import time

ETH_P_ALL = 3
ETH_HLEN = 14
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_STATISTICS = 6
QUIET = 0.3  # seconds after which no more frames are expected


class Wire:
    """Counts TCP frames that leave for an address and port, by source port."""

    def __init__(self, interface: str, address: str, port: int) -> None:
        self._address = socket.inet_aton(address)
        self._port = port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self.frames: collections.Counter[int] = collections.Counter()
        self.bytes: collections.Counter[int] = collections.Counter()

    def read(self) -> None:
        """Count what has left so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, origin = self._socket.recvfrom(65536)
                if origin[2] == PACKET_OUTGOING:
                    self._count(frame)

    def lost(self) -> int:
        """Frames that were too many to be seen."""
        return int(
            struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        )

    def _count(self, frame: bytes) -> None:
        protocol, destination = frame[ETH_HLEN + 9], frame[ETH_HLEN + 16 : ETH_HLEN + 20]
        if frame[12:14] != b"\x08\x00" or protocol != socket.IPPROTO_TCP:
            return
        ports = ETH_HLEN + (frame[ETH_HLEN] & 15) * 4
        source, port = struct.unpack_from("!HH", frame, ports)
        if (destination, port) == (self._address, self._port):
            self.frames[source] += 1
            self.bytes[source] += len(frame)


def request(address: str, port: int, source: int) -> str:
    """The answer to one request from a source port."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.settimeout(5)
        connection.bind(("", source))
        connection.connect((address, port))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")
        answer = b""
        # To the end, so that the server closes first and the source port can be used again.
        while part := connection.recv(65536):
            answer += part
    head, _blank, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"source port {source}: {answer!r}")
    return body.decode().strip()


def main() -> None:
    address = sys.argv[1]
    port, first, requests = (int(argument) for argument in sys.argv[2:])
    wire = Wire("eth0", address, port)
    answers = {}
    for source in range(first, first + requests):
        answers[source] = request(address, port, source)
        wire.read()
    time.sleep(QUIET)
    wire.read()
    by_server: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for source, name in answers.items():
        by_server[name].update(requests=1, frames=wire.frames[source], bytes=wire.bytes[source])
    print(json.dumps({"answers": answers, "servers": by_server, "lost": wire.lost()}))


if __name__ == "__main__":
    main()
