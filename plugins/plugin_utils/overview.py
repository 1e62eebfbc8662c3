# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page about a fleet shows, computed and worded, so that the template only lays it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import ANSWERS, DROPS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import listed, printable
from ansible_collections.xdp.l4lb.plugins.plugin_utils.fleet import (
    Balancer,
    Facts,
    Fleet,
    announcement,
    state_told,
)

MOST_SHOWN = 24
"""Backends of a service that are shown before one asks for more."""
_PREFIXES = " kMGTPE"
_Weighed = Mapping[str, float]
"""Address of a backend -> share, from 0 to 1."""


def overview(fleet: Fleet) -> dict[str, Any]:
    """All but the differences; texts and numbers as they are shown."""
    timed = any("packets_per_second" in one for each in fleet.balancers for one in _services(each))
    services = [*_services_of(fleet, timed)]
    backends = [backend for service in services for backend in service["all"]]
    dropped = _counted(fleet.balancers, "drops", DROPS)
    every = [service for balancer in fleet.balancers for service in _services(balancer)]
    return {
        "timed": timed,
        "hosts": len(fleet.hosts),
        "answering": len(fleet.hosts) - len(fleet.absent),
        "balancers": [*_balancers(fleet, timed)],
        "services": services,
        "backends": len(backends),
        "impaired": sum(not backend["plain"] for backend in backends),
        "packets": short(sum(one["packets"] for one in every)),
        "packet_rate": short(sum(one.get("packets_per_second", 0) for one in every)),
        "bit_rate": short(sum(one.get("bits_per_second", 0) for one in every)),
        "dropped": short(sum(one["exactly"] for one in dropped)),
        "drops": dropped,
        "answers": _counted(fleet.balancers, "answers", ANSWERS),
        "announcements": [*_announcements(fleet.balancers)],
    }


def short(value: float) -> str:
    """A number of three digits at the least, with a prefix of the SI; as it is if it is whole and
    needs none."""
    scaled, prefixes = float(value), iter(_PREFIXES)
    prefix = next(prefixes)
    while scaled >= 999.5:
        scaled, prefix = scaled / 1000, next(prefixes)
    if prefix == " " and scaled == int(scaled):
        return str(int(scaled))
    return f"{scaled:#.3g}".rstrip(".") + f" {prefix}".rstrip()


def percent(share: float) -> str:
    """With one digit after the point."""
    return f"{100 * share:.1f} %"


def _services(balancer: Balancer) -> Sequence[Facts]:
    found: Sequence[Facts] = balancer.facts["services"]
    return found


def _balancers(fleet: Fleet, timed: bool) -> Iterator[dict[str, Any]]:
    """Those that answer, with how much of the traffic they have."""
    unit = "packets_per_second" if timed else "packets"
    loads = {
        one.name: sum(service.get(unit, 0) for service in _services(one)) for one in fleet.balancers
    }
    total, most = sum(loads.values()), max(loads.values(), default=0)
    for one in fleet.balancers:
        versions = one.facts.get("versions", {})
        yield {
            "name": one.name,
            "interface": printable(one.interface),
            "mode": one.facts["mode"],
            "collection": versions.get("collection") or "not known",
            "kernel": versions.get("kernel") or "not known",
            "digest": one.facts.get("digest") or "not known",
            "packet_rate": short(_sum(_services(one), "packets_per_second")),
            "bit_rate": short(_sum(_services(one), "bits_per_second")),
            "packets": short(_sum(_services(one), "packets")),
            "dropped": short(sum(one.facts["drops"].values())),
            "share": percent(loads[one.name] / total) if total else "",
            "bar": _bar(loads[one.name], most),
        }


def _services_of(fleet: Fleet, timed: bool) -> Iterator[dict[str, Any]]:
    """All of them, in order."""
    having: dict[str, dict[str, Facts]] = {}
    for balancer in fleet.balancers:
        for service in _services(balancer):
            having.setdefault(service["name"], {})[balancer.name] = service
    for name in sorted(having):
        yield _service(having[name], timed)


def _service(having: Mapping[str, Facts], timed: bool) -> dict[str, Any]:
    """One of all balancers that have it."""
    first = next(iter(having.values()))
    options, unit = first.get("options", {}), "packets"
    if timed and _sum(having.values(), "packets_per_second"):
        unit = "packets_per_second"
    backends = _backends(having, unit)
    shown = backends
    if len(backends) > MOST_SHOWN:
        impaired = [one for one in backends if not one["plain"]]
        shown = sorted(
            (impaired + [one for one in backends if one["plain"]])[:MOST_SHOWN], key=_place
        )
    return {
        "name": printable(first["name"]),
        "endpoint": f"{first['address']} {first['protocol']} {first['port'] or 'every port'}",
        "how": ", ".join(
            str(options[option]) for option in ("scheduler", "encapsulation") if option in options
        ),
        "checked": "check" in options,
        "fails_open": listed(name for name, one in having.items() if one.get("fails_open")),
        "balancers": len(having),
        "packet_rate": short(_sum(having.values(), "packets_per_second")),
        "bit_rate": short(_sum(having.values(), "bits_per_second")),
        "packets": short(_sum(having.values(), "packets")),
        "measured": unit != "packets",
        "all": backends,
        "shown": shown,
        "more": [one for one in backends if one not in shown],
    }


def _place(backend: Mapping[str, Any]) -> int:
    place: int = backend["place"]
    return place


def _backends(having: Mapping[str, Facts], unit: str) -> list[dict[str, Any]]:
    """unit: what shares are of."""
    each: dict[str, dict[str, Facts]] = {}
    for name, service in having.items():
        for backend in service["backends"]:
            each.setdefault(backend["address"], {})[name] = backend
    total = sum(_sum(those.values(), unit) for those in each.values())
    expected = _expected(having, unit)
    actual = {
        address: _sum(those.values(), unit) / total if total else 0.0
        for address, those in each.items()
    }
    most = max([*actual.values(), *expected.values()], default=0.0)
    found = []
    for place, (address, those) in enumerate(each.items()):
        weights = sorted({backend["weight"] for backend in those.values()})
        state = _state(those, len(having))
        found.append(
            {
                "place": place,
                "address": printable(address),
                "weight": " or ".join(map(str, weights)),
                "state": state,
                "plain": state in ("enabled", "healthy"),
                "share": percent(actual[address]) if total else "no packets",
                "expected": percent(expected.get(address, 0.0)),
                "bar": _bar(actual[address], most),
                "mark": _bar(expected.get(address, 0.0), most),
                "packet_rate": short(_sum(those.values(), "packets_per_second")),
                "bit_rate": short(_sum(those.values(), "bits_per_second")),
                "packets": short(_sum(those.values(), "packets")),
            }
        )
    return found


def _expected(having: Mapping[str, Facts], unit: str) -> _Weighed:
    """What new flows give each backend by weight and state, where balancers have the share of the
    traffic that they have."""
    total = _sum(having.values(), unit)
    found: dict[str, float] = {}
    for service in having.values():
        part = service.get(unit, 0) / total if total else 1 / len(having)
        shares = _taking(service)
        everything = sum(shares.values())
        for address, share in shares.items():
            found[address] = found.get(address, 0.0) + part * share / (everything or 1)
    return found


def _taking(service: Facts) -> _Weighed:
    """Weights of the backends that take new flows: healthy ones before others, and backups where
    no other can."""
    enabled = [one for one in service["backends"] if one["state"] == "enabled" and one["weight"]]
    if not service.get("fails_open"):
        enabled = [one for one in enabled if one.get("healthy", True)]
    first = [one for one in enabled if not one.get("backup")]
    return {
        one["address"]: one["weight"] * one.get("share_percent", 100) / 100
        for one in first or enabled
    }


def _state(those: Mapping[str, Facts], count: int) -> str:
    """As all balancers have it, or as each has it; count: of those that have the service."""
    words: dict[str, list[str]] = {}
    for name, backend in those.items():
        told = state_told(backend)
        if told == "enabled" and backend.get("healthy"):
            told = "healthy"
        words.setdefault(told, []).append(name)
    if len(words) == 1 and len(those) == count:
        return next(iter(words))
    return ", ".join(f"{told} on {listed(names)}" for told, names in words.items())


def _counted(
    balancers: Iterable[Balancer], kind: str, meanings: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What was counted at all, the most first."""
    found = []
    for reason, meaning in meanings.items():
        counts = {one.name: one.facts[kind].get(reason, 0) for one in balancers}
        if total := sum(counts.values()):
            where = (f"{name} {short(count)}" for name, count in counts.items() if count)
            told = {"name": reason, "count": short(total), "exactly": total}
            found.append({**told, "where": listed(where), "meaning": meaning})
    return sorted(found, key=lambda one: -one["exactly"])


def _announcements(balancers: Sequence[Balancer]) -> Iterator[dict[str, str]]:
    """VIP by VIP, who announces it, and why others do not."""
    told: dict[str, dict[str, Facts]] = {}
    for balancer in balancers:
        for vip, one in balancer.facts.get("announcement", {}).items():
            told.setdefault(vip, {})[balancer.name] = one
    for vip, each in sorted(told.items()):
        by = [name for name, one in each.items() if one["announced"]]
        others = (f"{name}: {announcement(one)}" for name, one in each.items() if name not in by)
        yield {"vip": vip, "by": listed(by) or "nobody", "others": "; ".join(others)}


def _sum(facts: Iterable[Facts], name: str) -> float:
    total: float = sum(one.get(name, 0) for one in facts)
    return total


def _bar(value: float, most: float) -> str:
    """As a part of 100, for a drawing."""
    return f"{100 * value / most:.2f}" if most else "0"
