# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP requests of a client, one after the other."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from lab.topology import LabError
from lab.traffic import PATIENCE, family
from lab.traffic.background import Background

if TYPE_CHECKING:
    from lab.host import Host


class Requests(Background):
    """HTTP requests for /, one after the other on each of several connections, without any pardon:
    what a browser would try again is a failure here.

    with Requests(client, ("192.0.2.10", 80), kept=True) as requests:
        requests.await_answers()
    """

    def __init__(
        self,
        host: Host,
        address: tuple[str, int],
        kept: bool,
        connections: int = 8,
        interval: float = 0.02,
    ) -> None:
        """kept: whether connections go on after an answer, for as long as the server lets them."""
        super().__init__(connections)
        self.answers: list[str] = []
        self.failures: list[str] = []
        self.opened = 0
        self.turns: Counter[int] = Counter()
        """Requests that have ended, by thread."""
        self._host = host
        self._address = address
        self._kept = kept
        self._interval = interval

    def await_answers(self, count: int = 200) -> None:
        """Until so many more have come."""
        wanted = len(self.answers) + count
        deadline = time.monotonic() + PATIENCE
        while len(self.answers) < wanted:
            if time.monotonic() > deadline:
                raise LabError(f"{wanted - len(self.answers)} answers missing: {self.failures}")
            time.sleep(self._interval)

    def settle(self) -> None:
        """Until those that are under way have ended."""
        wanted = {thread.ident or 0: self.turns[thread.ident or 0] + 2 for thread in self.threads}
        while any(self.turns[thread] < turns for thread, turns in wanted.items()):
            time.sleep(self._interval)

    def run(self) -> None:
        """In the background."""
        connection = http.client.HTTPConnection(*self._address)
        while not self.stopping.wait(self._interval):
            self._ask(connection)
            self.turns[threading.get_ident()] += 1
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        try:
            if connection.sock is None:
                connection.sock = self._open()
            connection.request("GET", "/", headers={} if self._kept else {"Connection": "close"})
            response = connection.getresponse()
            answer = response.read().decode().strip()
        except (OSError, http.client.HTTPException) as e:
            self.failures.append(repr(e))
            connection.close()
        else:
            kind = self.answers if response.status == http.HTTPStatus.OK else self.failures
            kind.append(answer)

    def _open(self) -> socket.socket:
        opened = self._host.socket(family(self._address), socket.SOCK_STREAM)
        opened.settimeout(PATIENCE)
        self.opened += 1
        try:
            opened.connect(self._address)
        except OSError:
            opened.close()
            raise
        return opened
