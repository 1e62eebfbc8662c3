# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters as facts: what the module l4lb_stats and the l4lb command report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..balancer import modes
from ..balancer.live import Live
from ..datapath import digests
from ..datapath.counters import Count, Statistics
from ..datapath.digests import Digests
from ..datapath.program import DataPath
from ..maps.manifest import Manifest
from ..model.config import Backend, Config, Service
from ..model.standing import Verdict, Verdicts, standing


def rates(before: Count, after: Count, seconds: float) -> dict[str, float]:
    """Packets and bits per second between two samples; 0 if a counter started anew."""
    return {
        "packets_per_second": round(max(0, after.packets - before.packets) / seconds, 1),
        "bits_per_second": round(max(0, after.bytes - before.bytes) * 8 / seconds, 1),
    }


def held_weight(backend: Backend) -> dict[str, int]:
    """What to add to the state of a backend whose weight an operator set."""
    configured = backend.configured_weight
    return {} if configured is None else {"configured_weight": configured}


def _seldom(backend: Backend) -> dict[str, Any]:
    """What few backends have."""
    options = {"mtu": backend.mtu, "backup": backend.backup}
    return {
        **held_weight(backend),
        **{name: value for name, value in options.items() if value},
    }


def health(verdict: Verdict | None) -> dict[str, Any]:
    """What to add to the state of a backend that is checked."""
    if verdict is None:
        return {"healthy": True}
    if verdict.share:
        return {"healthy": True, "share_percent": verdict.share}
    return {"healthy": False, "reason": verdict.reason, "unhealthy_since": verdict.since}


def health_told(verdict: Verdict | None) -> str:
    """The same in words."""
    if verdict is None:
        return "healthy"
    if verdict.share:
        return f"healthy, with {verdict.share} % of its share"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(verdict.since))
    return f"unhealthy since {since}: {verdict.reason}"


def attachment(live: Live) -> dict[str, Any]:
    """Whether and how the program of a balancer is attached."""
    return {
        "attached": live.attached,
        "mode": live.mode,
        "paused_since": live.paused,
        "native_refused": modes.refusal(live),
    }


def _counters(old: Count | None, new: Count, seconds: float) -> dict[str, Any]:
    """seconds: since the old ones; 0: there are no rates."""
    counts: dict[str, Any] = {"packets": new.packets, "bytes": new.bytes}
    return {**counts, **rates(old or Count(), new, seconds)} if seconds > 0 else counts


def backend_facts(
    service: Service,
    backend: Backend,
    new: Count,
    old: Count | None = None,
    seconds: float = 0.0,
    verdict: Verdict | None = None,
) -> dict[str, Any]:
    """The state and counters of a backend, as in `facts`. old: of so many seconds ago."""
    return {
        "address": str(backend.address),
        "weight": backend.weight,
        "state": backend.state,
        "held": backend.held,
        **_seldom(backend),
        **(health(verdict) if service.check else {}),
        **_counters(old, new, seconds),
    }


def service_facts(
    service: Service,
    new: Count,
    old: Count | None = None,
    seconds: float = 0.0,
    verdicts: Verdicts | None = None,
) -> dict[str, Any]:
    """Those of a service, but for its backends. verdicts: on these."""
    return {
        "name": service.name,
        "address": str(service.address),
        "port": service.port,
        "protocol": service.protocol,
        **({"fails_open": standing(service, verdicts).fails_open} if service.check else {}),
        **_counters(old, new, seconds),
    }


def facts(
    config: Config,
    mode: str | None,
    now: Statistics,
    before: Statistics | None = None,
    seconds: float = 0.0,
    service: str | None = None,
    verdicts: Mapping[str, Verdicts] | None = None,
) -> dict[str, Any]:
    """The state and counters of one balancer, shaped as the documentation of l4lb_stats says.

    before, seconds: an earlier sample and its age; with them there are rates.
    service: only the service of this name.
    verdicts: of services that have unhealthy backends.
    """
    olds, seconds = (before, seconds) if before else (Statistics({}, {}, {}), 0.0)
    services = []
    for each in config.services:
        if service not in (None, each.name):
            continue
        name, bad = each.name, (verdicts or {}).get(each.name, {})
        found = service_facts(each, now.services[name], olds.services.get(name), seconds, bad)
        found["backends"] = [
            backend_facts(
                each,
                one,
                now.backends[name, one.address],
                olds.backends.get((name, one.address)),
                seconds,
                bad.get(one.address),
            )
            for one in each.backends
        ]
        services.append(found)
    return {
        "mode": mode,
        "services": services,
        "drops": dict(now.drops),
        "answers": dict(now.answers),
        "flow_table": dict(now.flows),
    }


def with_digests(found: dict[str, Any], data_path: DataPath, manifest: Manifest) -> dict[str, Any]:
    """Facts with all by which the balancers of a fleet are compared. Raises L4lbError."""
    services = {service.name: service for service in manifest.config.services}
    made = Digests(data_path, manifest)
    return {
        **found,
        "digest": made.configuration,
        "versions": digests.versions(manifest),
        "settings": digests.settings(manifest.config),
        "services": [
            {
                **one,
                "digests": made.of_service(services[one["name"]]),
                "options": digests.options(services[one["name"]]),
            }
            for one in found["services"]
        ],
    }
