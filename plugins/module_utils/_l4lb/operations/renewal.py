# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying a configuration that replaces all backends of a service: the old ones serve until one of
the new ones has passed a check."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from ..balancer import live
from ..balancer.balancer import Balancer, Outcome
from ..balancer.plan import Plan
from ..errors import L4lbError
from ..maps.manifest import Manifest
from ..model.config import Config, Service
from ..model.standing import first_check, is_renewed

_LOOK = 0.1
_FOLLOWS = 2.0
"""Seconds within which an agent has followed a change, on a host that is busy."""


def apply(
    balancer: Balancer, config: Config | None, replace_foreign: bool = False, verify: bool = False
) -> Outcome:
    """As Balancer.apply, and raises the same; only what to wait for is waited for before."""
    outcome = balancer.apply(config, replace_foreign, verify=verify, overlap=True)
    if not outcome.pending:
        return outcome
    plan = outcome.plan
    try:
        late = _await_checks(balancer, plan)
        last = balancer.apply(config, accepted=True, verify=verify)
    except BaseException:
        _go_back(balancer, plan)
        raise
    warnings = (*plan.warnings, *late, *last.plan.warnings)
    plan = replace(plan, warnings=tuple(dict.fromkeys(warnings)))
    headers = last.headers or outcome.headers
    return replace(last, plan=plan, headers=headers, waited=outcome.waited + last.waited)


def _await_checks(balancer: Balancer, plan: Plan) -> list[str]:
    """Until each service has a new backend that is healthy; returns what is to be said of those
    which have not in time."""
    waiting = _renewed(plan)
    began = time.monotonic()
    while waiting:
        time.sleep(_LOOK)
        _live, _data_path, manifest = live.at_work(balancer.places)
        waiting = [service for service in waiting if not _has_healthy(manifest, service)]
        waited = time.monotonic() - began - _FOLLOWS
        late = [service for service in waiting if waited > first_check(service)]
        if late == waiting:
            break
    return [
        f"{service.name}: none of its new backends was healthy within {first_check(service):g} s; "
        "the old ones are gone, and health counts again once one is"
        for service in waiting
    ]


def _renewed(plan: Plan) -> list[Service]:
    if plan.live.manifest is None or plan.desired is None:
        return []
    old = {service.key: service for service in plan.live.manifest.config.services}
    both = ((old[one.key], one) for one in plan.desired.services if one.key in old)
    return [becomes for was, becomes in both if is_renewed(was, becomes)]


def _has_healthy(manifest: Manifest, service: Service) -> bool:
    verdicts = manifest.verdicts.get(service.name, {})
    return any(one.share and one.address not in verdicts for one in service.backends)


def _go_back(balancer: Balancer, plan: Plan) -> None:
    """To what was before, if that can be had."""
    if plan.live.manifest:
        with contextlib.suppress(L4lbError):
            balancer.apply(balancer.as_given(plan.live.manifest.config), accepted=True)
