# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrading a fleet without a VIP that too few announce: who is upgraded when, whether that may
be, and whether an upgraded balancer works."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ansible.utils.helpers import pct_to_int
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.announce.word import OPERATOR
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import ANSWERS, DROPS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.exposition import labelled
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import listed, printable
from ansible_collections.xdp.l4lb.plugins.plugin_utils.fleet import (
    Balancer,
    Facts,
    Fleet,
    announcement,
    announcements,
)

SPEAKER = "upgrade"
"""Who withdraws balancers here; those that others have withdrawn stay so."""
_TO_SPARE = 2
"""So many balancers more than have to serve are asked right before a batch, as one may fail."""
_CLIENTS = {4: "198.51.100.1:40000", 6: "[2001:db8::1]:40000"}
"""Of flows that are tried: addresses that nobody has (RFC 5737, RFC 3849)."""
_ANY_PORT = 9
_LABEL = r'"(?:[^"\\]|\\.)*"'
_CHECKS = re.compile(
    rf"^l4lb_service_check_(duration_seconds_count|failures_total)"
    rf"\{{(interface={_LABEL},service={_LABEL})[,}}].* (\d+)$",
    re.MULTILINE,
)
"""Samples of docs/metrics.md."""


# Who, and when


@dataclass
class Upgrade:
    """What is to be done with a host.

    due: whether anything is: the role would change something, or an upgrade did not end.
    note: that in words.
    withdraws: whether it is still to be taken out before. announces: whether it is brought back
        after that, with these VIPs at the least.
    others: who are to be asked again before it is taken out, as they are to serve meanwhile.
    """

    due: bool
    note: str
    withdraws: bool = False
    announces: bool = False
    vips: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """refusal: why it may not begin, empty if it may. order: in which hosts have their turn."""

    refusal: str = ""
    order: list[str] = field(default_factory=list)
    hosts: dict[str, Upgrade] = field(default_factory=dict)


def batches(hosts: Sequence[str], serial: Any) -> Iterator[list[str]]:
    """Those that Ansible makes of the keyword serial. Raises ConfigError."""
    given = [*serial] if isinstance(serial, (list, tuple)) else [serial]
    try:
        sizes = [pct_to_int(one, len(hosts)) for one in given]
        if not sizes or min(sizes) < 0:
            raise ValueError
    except (ValueError, TypeError) as e:
        remedy = "give how many at a time, a number or a percentage, or a list of these"
        raise ConfigError("serial", serial, remedy) from e
    left = [*hosts]
    while left:
        size = sizes[0] or len(left)
        yield left[:size]
        left, sizes = left[size:], sizes[1:] or sizes


def number(given: object, option: str) -> int:
    """A count. Raises ConfigError."""
    text = str(given).strip()
    if isinstance(given, bool) or not (text.isascii() and text.isdecimal()):
        raise ConfigError(option, given, "give a whole number, 0 or more")
    return int(text)


def plan(
    fleet: Fleet,
    changes: Mapping[str, bool],
    serial: Any,
    least: int,
    leave_out: bool,
) -> Plan:
    """What is to be done with each host, and in which order: those first that are out already.

    changes: host -> whether the role would change anything, of those that could be asked for it.
    serial: as of `batches`. least: how many must be known to announce each VIP of a batch
    meanwhile. leave_out: whether those may be left out that cannot be reached. Raises ConfigError.
    """
    found, serving = Plan(), announcements(fleet)
    absent = {one.who[0]: one.text for one in fleet.absent if one.kind == "unreachable"}
    if absent and not leave_out:
        told = "; ".join(absent.values())
        found.refusal = f"{told}; l4lb_skip_unreachable=true leaves out who cannot be reached"
    for host in fleet.hosts:
        if host in absent or host not in changes:
            found.hosts[host] = Upgrade(False, f"{host} cannot be reached, and is left out")
        else:
            own = [one for one in fleet.balancers if one.host == host]
            found.hosts[host] = _of_host(host, own, changes[host], serving)
    due = [host for host, one in found.hosts.items() if one.due]
    found.order = sorted(due, key=lambda host: found.hosts[host].withdraws)
    for batch in batches(found.order, serial):
        refusal = _take_out(batch, found.hosts, serving, least)
        found.refusal = found.refusal or refusal
    return found


def _of_host(
    host: str, own: Sequence[Balancer], changes: bool, serving: Mapping[str, set[str]]
) -> Upgrade:
    vips = {vip for one in own for vip in one.facts.get("announcement", {})}
    speaker = withdrawn_by(own)
    if speaker == SPEAKER:  # what it announced before is not known; what others do, it should, too
        elsewhere = {vip for other, those in serving.items() if other != host for vip in those}
        note = f"{host} was withdrawn by an upgrade that did not end, which goes on"
        return Upgrade(True, note, False, True, sorted(vips & elsewhere))
    if not changes:
        return Upgrade(False, f"{host} is as it should be")
    if speaker:
        who = "the operator" if speaker == OPERATOR else printable(speaker)
        return Upgrade(True, f"{host} is upgraded, and stays withdrawn by {who}")
    if not vips:
        return Upgrade(True, f"{host} is upgraded; it announces nothing that could be withdrawn")
    note = f"{host} is withdrawn, upgraded, tried, and announced again"
    return Upgrade(True, note, True, True, sorted(serving[host]))


def withdrawn_by(balancers: Iterable[Balancer]) -> str:
    """Who has withdrawn the host whose balancers these are; empty if nobody has."""
    each = (one.facts.get("announcement", {}).values() for one in balancers)
    speakers = (told["withdrawn_by"] for vips in each for told in vips if "withdrawn_by" in told)
    return str(next(speakers, ""))


def _take_out(
    batch: Sequence[str], hosts: Mapping[str, Upgrade], serving: dict[str, set[str]], least: int
) -> str:
    """Have a batch come and go; why it must not, empty if it may."""
    out = [host for host in batch if hosts[host].announces]
    lost = sorted({vip for host in out for vip in serving.pop(host)})
    refusal = ""
    for vip in lost:
        those = (host for host in hosts if vip in serving.get(host, ()))
        others = [*islice(those, least + _TO_SPARE)]
        for host in out:
            hosts[host].others = [*dict.fromkeys([*hosts[host].others, *others])]
        if len(others) < least and not refusal:
            refusal = _too_few(out, vip, others, least)
    serving.update((host, {*hosts[host].vips}) for host in out)
    return refusal


def _too_few(out: Sequence[str], vip: str, others: Sequence[str], least: int) -> str:
    those = listed(others) or "nobody"
    return (
        f"with {listed(out)} withdrawn, {those} would be left that is known to announce {vip}, and "
        f"l4lb_min_serving is {least}; bring others back before, take fewer at a time with "
        "l4lb_serial, or give a smaller l4lb_min_serving"
    )


# Whether it works


def probes(after: Sequence[Balancer], before: Sequence[Balancer]) -> list[dict[str, Any]]:
    """A new flow to each service of a host that has a backend to go to.

    after, before: its balancers now, and before it was upgraded.

    Returns arguments of the command l4lb flow, and `checked`, whether a check of it must be passed:
    where there are any, unless no backend was healthy before.
    """
    old = {
        (one.interface, service["name"]): service
        for one in before
        for service in one.facts["services"]
    }
    found = []
    for one in after:
        for service in one.facts["services"]:
            vip, name = service["address"], service["name"]
            if not _usable(service):
                continue
            version = 6 if ":" in vip else 4
            there = f"[{vip}]" if version == 6 else vip
            ends = [_CLIENTS[version], f"{there}:{service['port'] or _ANY_PORT}"]
            was = old.get((one.interface, name), service)
            found.append(
                {
                    "interface": one.interface,
                    "service": name,
                    "arguments": [service["protocol"], *ends, "--interface", one.interface],
                    "checked": "fails_open" in service and _usable({**was, "fails_open": False}),
                }
            )
    return found


def _usable(service: Facts) -> bool:
    """Whether a backend takes new flows."""
    return any(
        one["state"] == "enabled"
        and one["weight"]
        and (service.get("fails_open") or one.get("healthy", True))
        for one in service["backends"]
    )


def doubt(probe: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Why a flow does not go as it should, by what l4lb flow --json says; empty if it does."""
    name, new = printable(probe["service"]), found["new"]
    if found["service"] != probe["service"]:
        return f"{name}: its packets are not taken for it"
    if new["fate"] != "sent":
        reason = new.get("reason", "")
        meaning = {**DROPS, **ANSWERS}.get(reason, "")
        return f"{name}: a new flow is {new['fate']}: {reason}. {meaning}".rstrip(". ")
    if found["other_sources"]:
        return f"{name}: the program at work is not the one of this collection"
    return ""


def missing(fleet: Fleet, vips: Iterable[str]) -> Iterator[str]:
    """Those of these VIPs that a host has and does not announce, and why, unless others have
    withdrawn it meanwhile. fleet: the host."""
    yield from (one.text for one in fleet.absent)
    told: dict[str, Facts] = {}
    for balancer in fleet.balancers:
        told.update(balancer.facts.get("announcement", {}))
    for vip in vips:
        one = told.get(vip)
        if one and not one["announced"] and one.get("withdrawn_by", SPEAKER) == SPEAKER:
            yield f"{vip} is {announcement(one)}"


def passed(metrics: str) -> Counter[str]:
    """Labels of a service -> how many checks of it have been passed since the agent began, at the
    least: some that found nothing out count as failures only. metrics: what the agent tells."""
    found: Counter[str] = Counter()
    for what, labels, value in _CHECKS.findall(metrics):
        found[labels] += int(value) * (-1 if what == "failures_total" else 1)
    return found


def unanswered(
    probed: Iterable[Mapping[str, Any]], before: str, now: str
) -> Iterator[Mapping[str, Any]]:
    """Those of these probes of whose service no check was passed since, by metrics then and now."""
    then, later = passed(before), passed(now)
    for one in probed:
        key = labelled({name: one[name] for name in ("interface", "service")})
        began_anew = later[key] < then[key]
        if one["checked"] and later[key] <= (0 if began_anew else then[key]):
            yield one
