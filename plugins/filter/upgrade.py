# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter plugins of the playbook upgrade: whom it upgrades, and whether who is upgraded works."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Callable

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import printable
from ansible_collections.xdp.l4lb.plugins.plugin_utils import upgrade
from ansible_collections.xdp.l4lb.plugins.plugin_utils.fleet import (
    fleet_of,
    wrong_results_told,
)
from ansible_collections.xdp.l4lb.plugins.plugin_utils.misspelt import PREFIX
from ansible_collections.xdp.l4lb.plugins.plugin_utils.upgrade import number

Result = Mapping[str, Any]
"""What a task was registered as."""


def upgrade_plan(
    results: Mapping[str, Result],
    changes: Mapping[str, bool],
    serial: Any = 1,
    min_serving: Any = 1,
    wait_timeout: Any = 300,
    skip_unreachable: bool = False,
) -> dict[str, Any]:
    """What is to be done with each balancer, or why nothing may be; see upgrade_plan.yml."""
    try:
        least = number(min_serving, "min_serving")
        number(wait_timeout, "wait_timeout")
        with wrong_results_told():
            fleet = replace(fleet_of(results), hosts=[*results])  # in the inventory's order
            found = upgrade.plan(fleet, changes, serial, least, skip_unreachable)
    except ConfigError as e:
        found = upgrade.Plan(f"{PREFIX}{e}")
    return {**asdict(found), "lines": [one.note for one in found.hosts.values()]}


def upgrade_probes(after: Result, before: Result) -> list[dict[str, Any]]:
    """What to try of a balancer that was upgraded; see upgrade_probes.yml."""
    with wrong_results_told():
        return upgrade.probes(fleet_of({"": after}).balancers, fleet_of({"": before}).balancers)


def upgrade_doubts(
    probes: Sequence[Mapping[str, Any]],
    flows: Sequence[Result] = (),
    metrics: Sequence[Result] = (),
    vips: Sequence[str] = (),
    asked: Result | None = None,
) -> list[str]:
    """Why a balancer does not work; see upgrade_doubts.yml."""
    found = [told for one in flows if (told := _flow(one))]
    if len(metrics) == 2:
        found += _checks(probes, *metrics)
    if asked is not None:
        with wrong_results_told():
            found += upgrade.missing(fleet_of({"it": asked}), vips)
    return found


def withdrawn_by(asked: Result) -> str:
    """Who has withdrawn a balancer; see withdrawn_by.yml."""
    with wrong_results_told():
        return upgrade.withdrawn_by(fleet_of({"": asked}).balancers)


def _flow(result: Result) -> str:
    """By what l4lb flow has said. item: the probe."""
    probe = result["item"]
    try:
        return upgrade.doubt(probe, json.loads(result["stdout"]))
    except (KeyError, TypeError, ValueError):
        told = result.get("stderr") or result.get("msg") or "no answer"
        return printable(f"{probe['service']}: l4lb flow cannot tell: {told}")


def _checks(probes: Sequence[Mapping[str, Any]], before: Result, now: Result) -> list[str]:
    """By what the agent has told before and now, if it has."""
    if not any(one["checked"] for one in probes):
        return []
    if "content" not in now or now.get("status") != 200:
        told = printable(str(now.get("msg", "no answer")))
        at = now.get("url", "its address")
        remedy = "an empty l4lb_metrics_listen has them left out"
        return [f"the agent does not tell of checks at {at}: {told}; {remedy}"]
    left = upgrade.unanswered(probes, before.get("content", ""), now["content"])
    return [f"{printable(one['service'])}: no check of it has been passed since" for one in left]


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "upgrade_plan": upgrade_plan,
            "upgrade_probes": upgrade_probes,
            "upgrade_doubts": upgrade_doubts,
            "withdrawn_by": withdrawn_by,
        }
