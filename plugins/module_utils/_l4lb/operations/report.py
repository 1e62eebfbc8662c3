# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters as facts: what the module l4lb_stats and the l4lb command report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..datapath import digests
from ..datapath.counters import Count, Statistics
from ..datapath.digests import Digests
from ..datapath.program import DataPath
from ..maps.manifest import Manifest
from ..model.config import Backend, Config
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

    def counters(old: Count | None, new: Count) -> dict[str, Any]:
        counts: dict[str, Any] = {"packets": new.packets, "bytes": new.bytes}
        if before is not None and seconds > 0:
            counts.update(rates(old or Count(), new, seconds))
        return counts

    services = []
    for each in config.services:
        if service not in (None, each.name):
            continue
        old = before.services.get(each.name) if before else None
        bad = (verdicts or {}).get(each.name, {})
        backends = []
        for backend in each.backends:
            key = (each.name, backend.address)
            backends.append(
                {
                    "address": str(backend.address),
                    "weight": backend.weight,
                    "state": backend.state,
                    "held": backend.held,
                    **_seldom(backend),
                    **(health(bad.get(backend.address)) if each.check else {}),
                    **counters(before.backends.get(key) if before else None, now.backends[key]),
                }
            )
        services.append(
            {
                "name": each.name,
                "address": str(each.address),
                "port": each.port,
                "protocol": each.protocol,
                **({"fails_open": standing(each, bad).fails_open} if each.check else {}),
                **counters(old, now.services[each.name]),
                "backends": backends,
            }
        )
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
