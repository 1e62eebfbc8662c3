# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two states, in words, and which flows that moves.

A service is known by its address, port and protocol, as in the data plane; its name may change. A
new flow moves if its slot of the lookup table changes hands. A flow that the flow table remembers
keeps its backend, unless that one is removed or disabled.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import ne

from ..maps import image, sizes
from ..maps.manifest import Manifest
from ..model.config import Address, Backend, Config, Service, remembers
from ..model.interface import Ingress
from ..model.options import STATES
from ..model.standing import (
    Standing,
    Verdict,
    first_check,
    is_renewed,
    standing,
    verdicts_after,
)
from ..schedulers.candidate import JHASH_SLOTS, MAGLEV_SLOTS

_SERVICE_OPTIONS = (
    "address",
    "port",
    "protocol",
    "scheduler",
    "affinity",
    "encapsulation",
    "flow_table",
)
_HEALTH_OPTIONS = {
    "on_unhealthy": "flows of unhealthy backends",
    "min_healthy": "minimum of healthy backends",
    "slow_start": "slow start",
}
"""And what they are called."""
_DROPPED = "new flows are dropped"
_MOST_NAMED = 3
"""Of more backends only the number is told."""


@dataclass(frozen=True)
class Move:
    """What a change does to the flows of a service that was there before.

    slots: of its lookup table, those that change hands; None if flows find their slots by another
        hash than before, so that slots do not compare.
    of: slots of its lookup table.
    new_flows_percent: of new flows, those that get another backend than they would have had.
    established_flows: remembered flows of more than a single packet that lose their backend; None
        if the service does not remember flows across the change, and established flows go where
        new ones go.
    """

    service: str
    slots: int | None
    of: int
    new_flows_percent: float
    established_flows: int | None


@dataclass(frozen=True)
class Observed:
    """What the kernel does now.

    slots: the lookup table of a service: slot -> number of a backend, 0 for none.
    newcomer: as of `verdicts_after`.
    flows: how many established flows are remembered, by (id of the service, number of the backend).
    """

    manifest: Manifest
    slots: Callable[[Service], Sequence[int]]
    flows: Callable[[], Mapping[tuple[int, int], int]]
    newcomer: Verdict | None = None


@dataclass
class Changes:
    """The difference of two states: a line for each option and service that differs, and what the
    flows of those services do."""

    steps: list[str] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


def additions(config: Config) -> Changes:
    """What `config` brings to an interface that has no balancer."""
    return Changes([f"{service.name}: {_added(service)}" for service in config.services])


def compare(now: Observed, after: Config) -> Changes:
    """What changes from the state that the kernel has to `after`."""
    before = now.manifest.config
    pairs, added, removed = _match(before.services, after.services)
    lines: dict[str, list[str]] = {}
    moves: dict[str, Move] = {}
    for was, becomes in pairs:
        if was == becomes and before.hash_seed == after.hash_seed:
            continue
        parts = _differences(was, becomes)
        if was.key != becomes.key:
            lines[becomes.name] = [*parts, *_dropped(becomes), *_ended(now, was)]
            continue
        parts += _trusted(now, was, becomes)
        move = _move(now, was, becomes, after)
        if parts or move.new_flows_percent:
            outage = was.takes_flows and not becomes.takes_flows
            lines[becomes.name] = [*parts, _effect(move, remembers(was, before), outage)]
            moves[becomes.name] = move
    takers = {service.key: service.name for service in before.services}
    for service in added:
        taken = _taken_over(takers, service, "from")
        lines[service.name] = [_added(service), *taken]
    takers = {service.key: service.name for service in after.services}
    for service in removed:
        taken = _taken_over(takers, service, "by")
        lines.setdefault(service.name, []).extend(["removed", *taken, *_ended(now, service)])
    return Changes(
        [
            *_options(before, after),
            *(f"{name}: {', '.join(parts)}" for name, parts in sorted(lines.items())),
        ],
        [move for unused, move in sorted(moves.items())],
    )


def outdated(config: Config, then: Ingress, now: Ingress) -> list[str]:
    """What an interface has now and had not when `config` was applied to it."""
    old, new = image.own_macs(config, then), image.own_macs(config, now)
    lines = [] if old == new else [_change("own MAC addresses:", [*old], [*new])]
    if then.receivers.by_vlan != now.receivers.by_vlan or (
        old == new and then.receivers.by_mac != now.receivers.by_mac
    ):
        lines.append(f"other devices receive what comes in by {config.interface}")
    if then.mtu != now.mtu and config.gives_macs:  # else the data plane follows
        lines.append(_change(f"MTU of {config.interface}:", then.mtu, now.mtu))
    return lines


# What differs


def _match(
    before: Iterable[Service], after: Iterable[Service]
) -> tuple[list[tuple[Service, Service]], list[Service], list[Service]]:
    """Services that are the same before and after, those that are added, those that are removed.

    The same are first those of one address, port and protocol, then those of one name.
    """
    old, new = list(before), list(after)
    pairs = []
    for name in ("key", "name"):
        known = {getattr(service, name): service for service in old}
        found = [(known.pop(getattr(s, name)), s) for s in new if getattr(s, name) in known]
        pairs += found
        matched = {id(service) for pair in found for service in pair}
        old = [service for service in old if id(service) not in matched]
        new = [service for service in new if id(service) not in matched]
    return pairs, new, old


def _options(before: Config, after: Config) -> list[str]:
    """What differs in the options that are not a service's."""
    old, new = before.options(), after.options()
    was, becomes = before.options(shown=True), after.options(shown=True)
    lines = [
        _change(f"{name}:", was[name], becomes[name]) for name in old if old[name] != new[name]
    ]
    was_remembered = any(remembers(service, before) for service in before.services)
    if was_remembered and not _keeps_flow_table(before, after):
        lines.append("flows remembered so far are forgotten")
    return lines


def _differences(was: Service, becomes: Service) -> list[str]:
    """What differs in a service."""
    old = {backend.address: backend for backend in was.backends}
    new = {backend.address: backend for backend in becomes.backends}
    kept = [(old[address], new[address]) for address in new if address in old]
    parts = [] if was.name == becomes.name else [f"renamed from {was.name}"]
    for option in _SERVICE_OPTIONS:
        before, after = getattr(was, option), getattr(becomes, option)
        if before != after:
            parts.append(_change(option.replace("_", " "), before, after))
    parts += _health_differences(was, becomes)
    parts += _counted("added", [address for address in new if address not in old])
    parts += _counted("removed", [address for address in old if address not in new])
    for state in STATES:
        parts += _counted(
            state, [b.address for a, b in kept if b.state == state and a.state != state]
        )
    parts += _changed(kept, "weight", "weight")
    parts += _changed(kept, "mac", "MAC address")
    parts += _changed(kept, "mtu", "MTU")
    parts += _changed(kept, "backup", "backup")
    parts += _changed(kept, "held", "hold")
    parts += _changed(kept, "configured_weight", "configured weight")
    if [a.address for a, unused in kept] != [a for a in old if a in new]:
        parts.append("backends in another order")
    return parts


def _health_differences(was: Service, becomes: Service) -> list[str]:
    """What differs in how the backends' health is found out, and what follows from it."""
    parts = []
    if not was.check or not becomes.check:
        parts += ["check added"] if becomes.check else ["check removed"] if was.check else []
    elif names := was.check.differences(becomes.check):
        parts.append(f"check changed ({', '.join(names)})")
    for option, words in _HEALTH_OPTIONS.items():
        before, after = getattr(was, option), getattr(becomes, option)
        if before != after:
            parts.append(_change(f"{words}:", before, after))
    if was.announce_when != becomes.announce_when:
        parts.append(_change("announced when", was.announce_when, becomes.announce_when))
    return parts


def _trusted(now: Observed, was: Service, becomes: Service) -> list[str]:
    """What becomes of new backends before their first check."""
    fresh = becomes.places.keys() - was.places.keys()
    if becomes.check is None or not fresh:
        return []
    if was.check is None or now.newcomer is None:
        return ["what is new counts as healthy until it is checked"]
    if is_renewed(was, becomes):
        limit = f"{first_check(becomes):g} s"
        return [f"the old ones serve until a new one is healthy, but no longer than {limit}"]
    return []


def _counted(what: str, addresses: Sequence[Address]) -> list[str]:
    """Backends that something happens to."""
    if not addresses:
        return []
    text = f"{_backends(len(addresses))} {what}"
    if len(addresses) <= _MOST_NAMED:
        text += f" ({', '.join(map(str, addresses))})"
    return [text]


def _changed(kept: Iterable[tuple[Backend, Backend]], name: str, words: str) -> list[str]:
    """Backends with another value of one of their fields."""
    values = [(new.address, getattr(old, name), getattr(new, name)) for old, new in kept]
    found = [value for value in values if value[1] != value[2]]
    if len(found) > _MOST_NAMED:
        return [f"{words} of {_backends(len(found))} changed"]
    return [_change(f"{words} of {address}", old, new) for address, old, new in found]


def _change(what: str, before: object, after: object) -> str:
    return f"{what} {_shown(before)} -> {_shown(after)}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _added(service: Service) -> str:
    return ", ".join([f"added with {_backends(len(service.backends))}", *_dropped(service)])


def _dropped(service: Service) -> list[str]:
    """What becomes of new flows that no backend takes."""
    return [] if service.takes_flows else [_DROPPED]


def _taken_over(
    names: Mapping[tuple[Address, int, str], str], service: Service, preposition: str
) -> list[str]:
    """Whose the flows of a service were before it came, or will be when it has gone."""
    whole = names.get((service.address, 0, service.protocol))
    if not service.port or whole is None:
        return []
    return [f"port {service.port} is taken over {preposition} {whole}"]


def _backends(count: int) -> str:
    return f"{count} backend{'' if count == 1 else 's'}"


# Which flows move


def _move(now: Observed, was: Service, becomes: Service, after: Config) -> Move:
    before = now.manifest.config
    length = JHASH_SLOTS if becomes.scheduler == "jhash" else MAGLEV_SLOTS
    old = now.slots(was)
    verdicts = now.manifest.verdicts.get(was.name, {})
    stands = standing(becomes, verdicts_after(was, becomes, verdicts, now.newcomer))
    known = now.manifest.numbers[was.name]
    new = _slots_after(becomes, after.hash_seed, known, length, stands)
    if _hash(was, before) == _hash(becomes, after):
        slots = sum(map(ne, old, new))
        share = slots / length
    else:
        slots = None
        share = 1 - _agreement(old, new)
    established = None
    both_remember = remembers(was, before) and remembers(becomes, after)
    if both_remember and _keeps_flow_table(before, after):
        kept = {b.address for b in becomes.backends if b.state != "disabled"}
        established = _remembered(now, was, kept)
    return Move(becomes.name, slots, length, round(share * 100, 3), established)


def _slots_after(
    service: Service, seed: int, known: Mapping[Address, int], length: int, stands: Standing
) -> Sequence[int]:
    """The lookup table that a service will have: slot -> number, that which a backend has already,
    or one that no other has."""
    taken = set(known.values())
    spare = (number for number in range(1, 1 << 16) if number not in taken)
    numbers = {b.address: known.get(b.address) or next(spare) for b in service.backends}
    return array("H", image.lookup_table(service, seed, numbers, stands)[: length * 2])


def _hash(service: Service, config: Config) -> tuple[object, ...]:
    """What decides by which hash a new flow finds its slot."""
    if service.scheduler == "jhash":
        return service.scheduler, service.affinity
    return service.scheduler, service.affinity, config.hash_seed


def _agreement(old: Sequence[int], new: Sequence[int]) -> float:
    """How likely two independent slots have the same backend, 0.0 to 1.0."""
    shares = Counter(new)
    same = sum(count * shares[number] for number, count in Counter(old).items())
    return same / len(old) / len(new)


def _keeps_flow_table(before: Config, after: Config) -> bool:
    """Whether flows that are remembered before are found again after."""
    return sizes.flow_blocks(before) == sizes.flow_blocks(after)


def _remembered(now: Observed, service: Service, kept: Iterable[Address] = ()) -> int:
    """How many established flows backends serve, those `kept` aside."""
    gone = {b.address for b in service.backends if b.state != "disabled"}.difference(kept)
    if not gone:
        return 0
    numbers = now.manifest.numbers[service.name]
    identity, flows = now.manifest.service_ids[service.name], now.flows()
    return sum(flows.get((identity, numbers[address]), 0) for address in gone)


def _effect(move: Move, remembered: bool, outage: bool) -> str:
    """In words.

    remembered: whether the service remembered flows before.
    outage: no backend takes new flows any more, so that flows which lose theirs are dropped.
    """
    share, established = move.new_flows_percent, move.established_flows
    new_ones = _DROPPED if outage else f"{_percent(share)} of new flows move"
    if established is not None:
        if not share and not established:
            return "no flow moves"
        return f"{new_ones}, {established} established"
    if remembered:
        return f"{new_ones}, established ones are treated as new"
    if outage:
        return "flows are dropped, new or established"
    return f"{_percent(share)} of flows move, new or established" if share else "no flow moves"


def _ended(now: Observed, service: Service) -> list[str]:
    """What becomes of the flows to an address and port that are no longer a service's."""
    if not remembers(service, now.manifest.config):
        return []
    return [f"{_remembered(now, service)} established flows end"]


def _percent(share: float) -> str:
    if 0 < share < 0.1:
        return "less than 0.1 %"
    return "0 %" if not share else "100 %" if share == 100 else f"{min(share, 99.9):.1f} %"
