# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""/status.json: what is known of the balancers of this host, for programs and for the status page.

docs/status-page.md says what is in it. Names are the same as in what `l4lb status --json` and
`l4lb stats --json` say.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...announce.host import of_balancer
from ...datapath.counters import Count
from ...maps.reasons import ANSWERS, DROPS, FLOW_EVENTS
from ...model.config import Service
from ...operations.report import attachment, backend_facts, service_facts
from ..web.message import Request, Response
from .history import POINTS, STEP
from .recorder import Reading, Recorder

_KINDS = ("packets_per_second", "bits_per_second")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_AT_ONCE = 100
"""Backends of a slice: a millisecond or so."""
_MEANINGS = {"drops": DROPS, "answers": ANSWERS, "flow_table": FLOW_EVENTS}


class Status:
    """The answer to whoever asks for it."""

    def __init__(
        self,
        version: str,
        recorder: Recorder,
        troubles: Callable[[], Mapping[str, str]],
        upkeep: Callable[[], Mapping[str, Any]],
    ) -> None:
        """troubles, upkeep: as of `slices`, when asked."""
        self._version = version
        self._recorder, self._troubles, self._upkeep = recorder, troubles, upkeep

    async def __call__(self, _request: Request) -> Response:
        """As it is now, and the same for everybody."""
        body = slices(self._version, self._recorder, self._troubles(), self._upkeep())
        return Response("application/json", body, _HEADERS)


def slices(
    version: str,
    recorder: Recorder,
    troubles: Mapping[str, str],
    upkeep: Mapping[str, Any],
) -> Iterator[bytes]:
    """The document, in slices none of which takes long, however many backends there are.

    version: of the collection. troubles: what is wrong by the agent's word -> why.
    upkeep: what it has repaired, by interface.
    """
    top = {
        "version": version,
        "host": socket.gethostname(),
        "now": round(time.time(), 3),
        "history": {"seconds": STEP, "points": POINTS},
        "meanings": _MEANINGS,
        "troubles": [{"trouble": what, "reason": why} for what, why in troubles.items()],
    }
    yield _opened(top, "balancers", "{")
    readings = recorder.latest()
    names = sorted({*readings, *recorder.problems})
    for place, name in enumerate(names):
        yield f"{',' if place else ''}{json.dumps(name)}:".encode()
        if name in readings:
            announced = of_balancer(recorder.announcement, readings[name].manifest.config)
            yield from _balancer(readings[name], upkeep.get(name), announced)
        else:
            left: dict[str, Any] = {
                "problem": recorder.problems[name],
                "upkeep": upkeep.get(name),
                "services": [],
            }
            yield json.dumps(left).encode()
    yield b"}}\n"


def _balancer(
    reading: Reading, upkeep: dict[str, Any] | None, announced: Mapping[str, Any]
) -> Iterator[bytes]:
    manifest, history, now = reading.manifest, reading.history, reading.now
    head = {
        "problem": None,
        "at": round(reading.at, 3),
        **attachment(reading.live),
        "link_up": reading.live.link.is_up,
        "digest": reading.digest,
        "generation": manifest.generation,
        "announcement": announced,
        "upkeep": upkeep,
        "next_hops": reading.hops.shown(),
        "drops": now.drops,
        "answers": now.answers,
        "flow_table": now.flows,
        "drops_history": {
            reason: history.points((None, reason)) for reason, count in now.drops.items() if count
        },
    }
    yield _opened(head, "services", "[")
    for place, service in enumerate(manifest.config.services):
        yield b"," if place else b""
        yield from _service(service, reading)
    yield b"]}"


def _service(service: Service, reading: Reading) -> Iterator[bytes]:
    """As in the facts of l4lb_stats, and more."""
    name, now, before = service.name, reading.now, reading.before
    verdicts = reading.manifest.verdicts.get(name, {})
    old = before.service(name) if before else None
    head = {
        **service_facts(service, now.service(name) or Count(), old, reading.seconds, verdicts),
        "scheduler": service.scheduler,
        "encapsulation": service.encapsulation,
        "check": service.check.type if service.check else None,
        "min_healthy": service.min_healthy,
        "history": {kind: reading.history.points((name, kind)) for kind in _KINDS},
    }
    yield _opened(head, "backends", "[")
    for start in range(0, len(service.backends), _AT_ONCE):
        each = [
            backend_facts(
                service,
                backend,
                now.backend(name, backend.address) or Count(),
                before.backend(name, backend.address) if before else None,
                reading.seconds,
                verdicts.get(backend.address),
            )
            for backend in service.backends[start : start + _AT_ONCE]
        ]
        yield f"{',' if start else ''}{json.dumps(each)[1:-1]}".encode()
    yield b"]}"


def _opened(head: Mapping[str, Any], name: str, bracket: str) -> bytes:
    """A JSON object that goes on with a member of this name."""
    return f"{json.dumps(head)[:-1]},{json.dumps(name)}:{bracket}".encode()
