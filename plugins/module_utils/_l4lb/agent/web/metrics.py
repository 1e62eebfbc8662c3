# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics for whoever asks, as Prometheus does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Callable

from ...metrics.exposition import OPENMETRICS, PROMETHEUS, wants_openmetrics
from ...metrics.samples import Host
from ...metrics.seen import Counted, Seen
from ...metrics.text import Metrics
from .message import Handler, Request, Response

Look = Callable[[], tuple[Host, Sequence[Seen]]]
"""What there is now; it is called in another thread."""


def answers(look: Look, per_backend: bool) -> Handler:
    """Who answers /metrics.

    per_backend: whether there are metrics of each backend.
    """
    metrics = Metrics(per_backend)

    def prepare() -> tuple[Host, list[Counted]]:
        host, balancers = look()
        return host, metrics.know(balancers)

    async def answer(request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        host, there = await asyncio.to_thread(prepare)
        body = metrics.text(host, there, openmetrics)
        return Response(OPENMETRICS if openmetrics else PROMETHEUS, body, {"Vary": "Accept"})

    return answer
