# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancers of a fleet beside each other: who is there, and who differs in what.

Digests say quickly that nothing differs; where they do differ, the facts say what. The many are
right and the few are named, unless they are as many.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import listed, printable

KINDS: Mapping[str, str] = {
    "unreachable": "no answer",
    "idle": "what should balance does not",
    "collection": "version of the collection",
    "program": "program",
    "bcc": "version of bcc",
    "kernel": "kernel",
    "mode": "mode",
    "configuration": "configuration",
    "states": "states of backends",
    "lookup_table": "lookup table",
    "announcement": "announcement",
}
"""In what balancers may differ, in words."""
_VERSIONS = {
    "collection": "the version of the collection",
    "program": "the digest of the program",
    "bcc": "the version of bcc",
    "kernel": "the kernel",
}
Facts = Mapping[str, Any]
"""What l4lb_stats says of a balancer, or of one of its services or backends."""
Show = Callable[[Any], str]


@dataclass(frozen=True)
class Balancer:
    """One interface of one host.

    name: of the host, and of the interface where hosts have several.
    place: what the others have in the same place is compared with it.
    """

    name: str
    host: str
    interface: str
    place: str
    facts: Facts


@dataclass(frozen=True)
class Finding:
    """A difference. who: the balancers that differ; all of them if nobody knows who is right.
    service: None: it is the whole balancer's."""

    kind: str
    who: tuple[str, ...]
    text: str
    service: str | None = None


@dataclass
class Fleet:
    """All that was found out. absent: host -> why nothing of it is known; idle: what hosts say of
    interfaces that should balance."""

    hosts: list[str] = field(default_factory=list)
    balancers: list[Balancer] = field(default_factory=list)
    absent: list[Finding] = field(default_factory=list)
    idle: list[Finding] = field(default_factory=list)


@contextlib.contextmanager
def wrong_results_told() -> Iterator[None]:
    """Raises AnsibleFilterError for what `fleet_of` and others cannot read."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as e:
        raise AnsibleFilterError(f"not results of l4lb_stats: {e!r}") from e


def fleet_of(results: Mapping[str, Any]) -> Fleet:
    """host -> what the task that ran l4lb_stats there was registered as."""
    found = Fleet(sorted(results))
    interfaces: dict[str, Facts] = {}
    for host in found.hosts:
        result = results[host] if isinstance(results[host], Mapping) else {}
        facts = result.get("ansible_facts", {}).get("l4lb")
        if facts is None:
            kind = "unreachable" if result.get("unreachable") or not result else "idle"
            verb = "cannot be reached" if kind == "unreachable" else "cannot be asked"
            reason = printable(" ".join(str(result.get("msg", "no answer")).split()))
            found.absent.append(Finding(kind, (host,), f"{host} {verb}: {reason}"))
            continue
        interfaces[host] = facts
        told = [str(line) for line in result.get("problems", ())]
        if not facts and not told:
            told = ["does not balance"]
        found.idle += [Finding("idle", (host,), printable(f"{host}: {line}")) for line in told]
    single = all(len(facts) < 2 for facts in interfaces.values())
    for host, facts in interfaces.items():
        for name, of_one in sorted(facts.items()):
            label = host if single else f"{host} {name}"
            place = "" if single else name
            found.balancers.append(Balancer(printable(label), host, name, place, of_one))
    return found


def differences(fleet: Fleet) -> list[Finding]:
    """All there are, of hosts first that say nothing."""
    hosts = sorted({one.host for one in fleet.balancers})
    places = sorted({one.place for one in fleet.balancers})
    compared: list[Finding] = []
    for place in places:
        there = {one.host for one in fleet.balancers if one.place == place}
        balancing = {host: host in there for host in hosts}
        shown = _is("an interface that balances", "none")
        compared += _differing("configuration", place, balancing, shown)
    compared += (
        finding
        for place in places
        for finding in _compare([one for one in fleet.balancers if one.place == place])
    )
    return [*fleet.absent, *fleet.idle, *compared]


def _compare(balancers: Sequence[Balancer]) -> Iterator[Finding]:
    """Those of one place."""
    facts = {one.name: one.facts for one in balancers}
    for kind, subject in _VERSIONS.items():
        versions = {name: one.get("versions", {}).get(kind) for name, one in facts.items()}
        yield from _differing(kind, subject, versions, lambda one: one or "not known")
    yield from _differing("mode", "the mode", _each(facts, "mode"))
    settings = {name: one.get("settings", {}) for name, one in facts.items()}
    yield from _options("", settings)
    yield from _announcement({name: one.get("announcement", {}) for name, one in facts.items()})
    services = {
        name: {service["name"]: service for service in one["services"]}
        for name, one in facts.items()
    }
    seeds = _each(settings, "hash_seed")
    for service in sorted({each for one in services.values() for each in one}):
        there = {name: service in one for name, one in services.items()}
        found: list[Finding] = []
        found += _differing("configuration", "it", there, _is("a service", "no service"))
        having = {name: one[service] for name, one in services.items() if service in one}
        found += _service(having, seeds)
        for one in found:
            yield Finding(one.kind, one.who, f"{printable(service)}: {one.text}", service)


def _announcement(vips: Mapping[str, Facts]) -> Iterator[Finding]:
    for vip in sorted({vip for one in vips.values() for vip in one}):
        those = {name: one[vip] for name, one in vips.items() if vip in one}
        announced = {name: one["announced"] for name, one in those.items()}
        words = {_key(announced[name]): announcement(one) for name, one in those.items()}
        yield from _differing("announcement", vip, announced, _by_key(words))


def announcement(told: Facts) -> str:
    """That of a VIP, in words."""
    if told["announced"]:
        return "announced"
    return f"not announced ({printable(told.get('reason') or 'for no known reason')})"


def announcements(fleet: Fleet) -> dict[str, set[str]]:
    """Host -> the VIPs that it announces now, of the hosts that are told to announce any."""
    found: dict[str, set[str]] = {}
    for one in fleet.balancers:
        vips = one.facts.get("announcement", {})
        if vips:
            announced = {vip for vip, told in vips.items() if told["announced"]}
            found.setdefault(one.host, set()).update(announced)
    return found


def _service(having: Mapping[str, Facts], seeds: Mapping[str, Any]) -> Iterator[Finding]:
    """Of the balancers that have it."""
    digests = {name: one.get("digests", {}) for name, one in having.items()}
    tables = _each(digests, "lookup_table")
    for kind, details in (("configuration", _configuration), ("states", _states)):
        of_kind = _each(digests, kind)
        if len(_groups(of_kind)) > 1:
            backends = {
                name: {backend["address"]: backend for backend in one["backends"]}
                for name, one in having.items()
            }
            found = [*details(having, backends)]
            found = found or [*_differing(kind, f"the digest of its {KINDS[kind]}", of_kind)]
            yield from (_with_table(one, tables) for one in found)
    causes = {
        name: _key([one.get("configuration"), one.get("states"), seeds[name]])
        for name, one in digests.items()
    }
    for cause in sorted({*causes.values()}):
        alike = {name: table for name, table in tables.items() if causes[name] == cause}
        subject = "for the same configuration and states the digest of its lookup table"
        for one in _differing("lookup_table", subject, alike):
            yield replace(one, text=f"{one.text}; apply the configuration again")


def _with_table(finding: Finding, tables: Mapping[str, Any]) -> Finding:
    """The same, with what comes of it for new flows."""
    mine = {tables[name] for name in finding.who}
    others = {table for name, table in tables.items() if name not in finding.who}
    if mine - others if others else len(mine) > 1:
        return replace(finding, text=f"{finding.text}; the lookup table is another one, too")
    return finding


def _configuration(
    having: Mapping[str, Facts], backends: Mapping[str, Mapping[str, Facts]]
) -> Iterator[Finding]:
    for name in ("address", "port", "protocol"):
        yield from _differing("configuration", name, _each(having, name))
    yield from _options("", {name: one.get("options", {}) for name, one in having.items()})
    for address in sorted({address for one in backends.values() for address in one}):
        there = {name: address in one for name, one in backends.items()}
        yield from _differing("configuration", address, there, _is("a backend", "no backend"))
        those = {name: one[address] for name, one in backends.items() if address in one}
        weights = {name: one.get("configured_weight", one["weight"]) for name, one in those.items()}
        yield from _differing("configuration", f"the weight of {address}", weights)
        for option in ("mtu", "backup"):
            subject = f"{option} of {address}"
            yield from _differing("configuration", subject, _each(those, option))
    if len(_groups({name: sorted(one) for name, one in backends.items()})) == 1:
        orders = {name: [*one] for name, one in backends.items()}
        if any(one.get("options", {}).get("scheduler") == "jhash" for one in having.values()):
            yield from _differing("configuration", "the order of its backends", orders, listed)


def _states(
    having: Mapping[str, Facts], backends: Mapping[str, Mapping[str, Facts]]
) -> Iterator[Finding]:
    open_ = {name: bool(one.get("fails_open")) for name, one in having.items()}
    shown = _is("using all backends, as too few are healthy", "using healthy backends")
    yield from _differing("states", "it", open_, shown)
    for address in sorted({address for one in backends.values() for address in one}):
        those = {name: one[address] for name, one in backends.items() if address in one}
        states = {name: _state(one) for name, one in those.items()}
        words = {_key(states[name]): state_told(one) for name, one in those.items()}
        yield from _differing("states", address, states, _by_key(words))


def _state(backend: Facts) -> list[Any]:
    held = backend["weight"] if "configured_weight" in backend else None
    share = backend.get("share_percent", 100) if backend.get("healthy", True) else 0
    return [backend["state"], share, held]


def state_told(backend: Facts) -> str:
    """That of a backend, in words."""
    words = [backend["state"] + (" by an order" if backend.get("held") else "")]
    if "configured_weight" in backend:
        words.append(f"of weight {backend['weight']} by an order")
    if not backend.get("healthy", True):
        words.append(f"unhealthy ({printable(backend.get('reason') or 'for no known reason')})")
    elif "share_percent" in backend:
        words.append(f"healthy with {backend['share_percent']} % of its share")
    return " and ".join(words)


def _options(of: str, options: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Those that are told by name; of a check, its own."""
    for option in sorted({option for one in options.values() for option in one}):
        values = _each(options, option)
        known = [value for value in values.values() if value is not None]
        if len(_groups(values)) > 1 and all(isinstance(value, Mapping) for value in known):
            if len(known) == len(values):
                yield from _options(f"{of}{option}.", values)
                continue
            values = {name: value is not None for name, value in values.items()}
            yield from _differing("configuration", f"{of}{option}", values, _is("given", "none"))
            continue
        yield from _differing("configuration", f"{of}{option}", values, _value)


def _differing(
    kind: str, subject: str, values: Mapping[str, Any], show: Show | None = None
) -> Iterator[Finding]:
    """A finding if not all have the same value."""
    groups = _groups(values)
    if len(groups) < 2:
        return
    few, (_least, most) = groups[:-1], groups[-1]
    tie = len(few[-1][1]) == len(most)
    told = [f"{(show or _value)(value)} on {listed(names)}" for value, names in groups]
    text = f"{subject} is {', '.join(told[:-1])}, and {told[-1]}"
    who = [name for _value_of, names in few for name in names]
    if tie:
        who += most
        text += "; as many have the one as the other, so who is wrong is not known"
    yield Finding(kind, tuple(sorted(who)), text)


def _groups(values: Mapping[str, Any]) -> list[tuple[Any, list[str]]]:
    """Values, and who has them, the few before the many."""
    found: dict[str, tuple[Any, list[str]]] = {}
    for name, value in values.items():
        found.setdefault(_key(value), (value, []))[1].append(name)
    return sorted(found.values(), key=lambda group: len(group[1]))


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _each(facts: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    return {balancer: one.get(name) for balancer, one in facts.items()}


def _by_key(words: Mapping[str, str]) -> Show:
    return lambda value: words[_key(value)]


def _is(yes: str, no: str) -> Show:
    return lambda value: yes if value else no


def _value(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return str(value).lower()
    return printable(value if isinstance(value, str) else json.dumps(value))
