# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client does all the while, and what it notices."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.fleet.laboratory import ECHO, WEB
from lab.traffic.connections import Connections
from lab.traffic.requests import Requests

if TYPE_CHECKING:
    from lab.host import Host

CONNECTIONS = 200
_INTERVAL = 0.1
"""Seconds between two texts on a connection, and between two requests on each of a few."""


@dataclass(frozen=True)
class Noticed:
    """standstill: seconds until the last connection went on, at worst. lost, failed: how many
    connections were lost and requests failed, by what became of them."""

    standstill: float
    lost: Counter[str]
    failed: Counter[str]


class Load(contextlib.ExitStack):
    """Open connections that are checked byte for byte, and new requests, half of them by IPv6."""

    def __init__(self, client: Host) -> None:
        super().__init__()
        self._connections = [
            self.enter_context(Connections(client, (vip, 7), CONNECTIONS // 2, _INTERVAL))
            for vip in ECHO
        ]
        self._requests = [
            self.enter_context(
                Requests(client, (vip, 80), kept=False, connections=2, interval=_INTERVAL)
            )
            for vip in WEB
        ]

    def begin(self) -> None:
        """Notice what becomes of them from now on."""
        self._before = self._so_far()
        for one in self._connections:
            one.longest = 0.0

    def end(self) -> Noticed:
        """Since the beginning."""
        was_lost, had_failed = self._before
        lost, failed = self._so_far()
        standstill = max(one.longest for one in self._connections)
        return Noticed(standstill, lost - was_lost, failed - had_failed)

    def _so_far(self) -> tuple[Counter[str], Counter[str]]:
        """What was lost, and what failed, when everything has ended that was under way."""
        for connections in self._connections:
            connections.await_rounds()
        for requests in self._requests:
            requests.settle()
        return (
            Counter(text for one in self._connections for text in one.broken.values()),
            Counter(text for one in self._requests for text in one.failures),
        )
