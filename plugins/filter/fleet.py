# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter plugins: the balancers of a fleet beside each other, and in what they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import listed
from ansible_collections.xdp.l4lb.plugins.plugin_utils import fleet
from ansible_collections.xdp.l4lb.plugins.plugin_utils.fleet import (
    KINDS,
    Finding,
    wrong_results_told,
)
from ansible_collections.xdp.l4lb.plugins.plugin_utils.overview import overview as overview_of


def differences(results: Mapping[str, Any], ignore: Iterable[str] = ()) -> dict[str, Any]:
    """Who differs from the others in what; see differences.yml."""
    ignored = [ignore] if isinstance(ignore, str) else [*ignore]
    if unknown := [kind for kind in ignored if kind not in KINDS]:
        raise AnsibleFilterError(f"l4lb_ignore: {unknown[0]!r}: choose among {', '.join(KINDS)}")
    with wrong_results_told():
        found = fleet.fleet_of(results)
        findings = fleet.differences(found)
    serious = [one for one in findings if one.kind not in ignored]
    return {
        "differ": bool(serious),
        "summary": _summary(found.hosts, serious),
        "lines": [one.text + ("" if one in serious else " (ignored)") for one in findings],
        "findings": [{**vars(one), "who": [*one.who]} for one in findings],
    }


def overview(results: Mapping[str, Any], ignore: Iterable[str] = ()) -> dict[str, Any]:
    """What a page about the fleet shows; see overview.yml."""
    found = differences(results, ignore)
    with wrong_results_told():
        title = found["summary"].partition(":")[0]
        return {**found, "title": title, **overview_of(fleet.fleet_of(results))}


def refusal_to_withdraw(results: Mapping[str, Any], balancer: str, force: bool = False) -> str:
    """Why a balancer is not to be withdrawn, in words; empty if it may be."""
    if balancer not in results:
        those = listed(sorted(results)) or "none"
        return f"l4lb_balancer: {balancer!r}: this run is for other balancers: {those}"
    with wrong_results_told():
        found = fleet.fleet_of(results)
        if absent := [one.text for one in found.absent if balancer in one.who]:
            return absent[0]
        told = fleet.announcements(found)
    if balancer not in told:
        return f"{balancer} announces no VIPs, so it is for the router to leave it out"
    others = {vip for host, vips in told.items() if host != balancer for vip in vips}
    last = sorted(told[balancer] - others)
    if last and not force:
        return (
            f"{balancer} is the last one known to announce {listed(last)}; announce another before,"
            " or give l4lb_force=true"
        )
    return ""


def _summary(hosts: Sequence[str], findings: Sequence[Finding]) -> str:
    """In one line, for whoever is woken up by it."""
    if not findings:
        return f"{len(hosts)} of {len(hosts)} balancers were asked, and do not differ"
    by_balancer: dict[str, dict[str, list[str]]] = {}
    for one in findings:
        for name in one.who:
            services = by_balancer.setdefault(name, {}).setdefault(KINDS[one.kind], [])
            if one.service and one.service not in services:
                services.append(one.service)
    told = []
    for name, kinds in by_balancer.items():
        words = [f"{kind} of {listed(of)}" if of else kind for kind, of in kinds.items()]
        told.append(f"{name} ({'; '.join(words)})")
    return f"{len(by_balancer)} of {len(hosts)} balancers differ: {', '.join(told)}"


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "differences": differences,
            "overview": overview,
            "refusal_to_withdraw": refusal_to_withdraw,
        }
