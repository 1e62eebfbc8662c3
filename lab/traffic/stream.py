# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered datagrams of a client that knows what became of each."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import TYPE_CHECKING

from lab.topology import LabError
from lab.traffic import PATIENCE, family
from lab.traffic.background import Background

if TYPE_CHECKING:
    from lab.host import Host

SO_RCVBUFFORCE = 33  # as in lab/servers/echo.py
ROOM = 1 << 20  # bytes for answers that wait, as on a busy machine many do
QUIET = 0.5  # seconds without an answer after which none is under way any more


class Stream(Background):
    """Datagrams to lab/servers/echo.py on several flows, all of which send the next number at once.

    with Stream(client, ("192.0.2.10", 7)) as stream:
        stream.await_answers()
    """

    def __init__(
        self, host: Host, address: tuple[str, int], flows: int = 16, interval: float = 0.01
    ) -> None:
        super().__init__()
        self.interval = interval
        self.numbers = 0
        self.times: list[float] = []
        """When a number was sent, on the monotonic clock."""
        self.answers: list[dict[int, list[str]]] = [{} for _flow in range(flows)]
        """By flow: number -> the servers that answered it."""
        self.sockets = [host.socket(family(address), socket.SOCK_DGRAM) for _flow in range(flows)]
        for each in self.sockets:
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
            each.connect(address)

    def await_answers(self, flows: list[int] | None = None) -> None:
        """Until something sent from now on is answered on every one of the flows."""
        number = self.numbers
        waiting = set(range(len(self.answers)) if flows is None else flows)
        deadline = time.monotonic() + PATIENCE
        while waiting:
            if time.monotonic() > deadline:
                raise LabError(f"no answer on flows {waiting} within {PATIENCE} s")
            time.sleep(self.interval)
            waiting -= {flow for flow in waiting if max(self.answers[flow], default=-1) >= number}

    def servers(self, flow: int) -> list[str]:
        """Who answered on a flow, one after the other."""
        result: list[str] = []
        for _number, servers in sorted(self.answers[flow].items()):
            result += [server for server in servers if result[-1:] != [server]]
        return result

    def duplicates(self) -> int:
        """Answers beyond the first of each."""
        return sum(len(servers) - 1 for flow in self.answers for servers in flow.values())

    def lost(self, flow: int) -> list[int]:
        """The numbers of a flow that nobody answered; all are in when the stream has ended."""
        return [number for number in range(self.numbers) if number not in self.answers[flow]]

    def gap(self, flow: int) -> float:
        """Seconds that a flow was without answers at a stretch: as many as it lost numbers."""
        longest = run = 0
        for number in range(self.numbers):
            run = 0 if number in self.answers[flow] else run + 1
            longest = max(longest, run)
        return longest * self.interval

    def run(self) -> None:
        """In the background."""
        with selectors.DefaultSelector() as waiting:
            for flow, each in enumerate(self.sockets):
                waiting.register(each, selectors.EVENT_READ, flow)
            due = time.monotonic()
            while not self.stopping.is_set():
                self.times.append(time.monotonic())
                for each in self.sockets:
                    with contextlib.suppress(OSError):  # what was said of an earlier one
                        each.send(str(self.numbers).encode())
                self.numbers += 1
                # From when it really was sent: after a pause no burst follows.
                due = max(due, time.monotonic() - self.interval) + self.interval
                while (left := due - time.monotonic()) > 0:
                    self._receive(waiting, left)
            while self._receive(waiting, QUIET):
                pass

    def _receive(self, waiting: selectors.BaseSelector, patience: float) -> int:
        ready = waiting.select(patience)
        for key, _events in ready:
            with contextlib.suppress(OSError):
                server, number = self.sockets[key.data].recv(2048).decode().split()
                self.answers[key.data].setdefault(int(number), []).append(server)
        return len(ready)
