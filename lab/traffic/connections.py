# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections that stay open, and what comes back by them."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from lab.topology import LabError
from lab.traffic import PATIENCE, family
from lab.traffic.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.host import Host


class Connections(Background):
    """TCP connections to servers/echo.py that stay open; what comes back is compared byte for byte.

    with Connections(client, ("192.0.2.10", 7)) as connections:
        ...
    assert connections.broken == {}
    """

    def __init__(
        self, host: Host, address: tuple[str, int], count: int = 64, interval: float = 0.02
    ) -> None:
        """count: by default so many that each of four servers has some."""
        super().__init__()
        self.interval = interval
        self.servers: list[str] = []
        """By connection."""
        self.broken: dict[int, str] = {}
        """Connection -> what happened to it."""
        self.rounds = 0
        self.longest = 0.0
        """Seconds that the longest round took, until the last had its answer; who sets it to 0
        learns of those from then on."""
        for _turn in range(count):
            one = host.socket(family(address), socket.SOCK_STREAM)
            one.settimeout(PATIENCE)
            one.connect(address)
            self.sockets.append(one)
            self.servers.append(_line(one))

    def await_rounds(self, count: int = 2) -> None:
        """Until each connection that is not broken has carried something sent from now on."""
        wanted = self.rounds + count
        while self.rounds < wanted and self.threads[0].is_alive():
            time.sleep(self.interval)

    def run(self) -> None:
        """In the background."""
        while not self.stopping.is_set():
            began = time.monotonic()
            whole = [number for number in range(len(self.sockets)) if number not in self.broken]
            for number in whole:
                self._attempt(number, lambda one, text: one.sendall(text))
            for number in whole:
                self._attempt(number, _compare)
            self.longest = max(self.longest, time.monotonic() - began)
            self.rounds += 1
            self.stopping.wait(self.interval)

    def _attempt(self, number: int, action: Callable[[socket.socket, bytes], None]) -> None:
        """Not a word twice: so what is doubled, lost or another's shows."""
        if number not in self.broken:
            text = b"".join(b"%d of %d in %d\n" % (n, number, self.rounds) for n in range(40))
            try:
                action(self.sockets[number], text)
            except (OSError, LabError) as e:
                self.broken[number] = str(e)


def _compare(one: socket.socket, expected: bytes) -> None:
    got = b""
    while len(got) < len(expected):
        part = one.recv(len(expected) - len(got))
        if not part:
            raise LabError("the server closed it")
        got += part
    if got != expected:
        raise LabError(f"{got!r} came instead of {expected!r}")


def _line(one: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        if not (byte := one.recv(1)):
            raise LabError("the server closed the connection at once")
        text += byte
    return text.decode().strip()
