# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples of each metric, from what was found out of a balancer, and of the agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..model.config import Address, Service
from ..model.options import STATES
from . import families
from .checks import CheckCounts
from .exposition import Sample, Value, labelled
from .families import FAILURES, Family
from .seen import Counted

_DIGITS = 16
"""Of digests, as datapath/digests.py has them."""
_Samples = Callable[[Counted], Iterable[Sample]]


def _of_interface(value: Callable[[Counted], Value | None]) -> _Samples:
    """One, or none where there is no value."""

    def samples(one: Counted) -> Iterator[Sample]:
        found = value(one)
        if found is not None:
            yield "", one.known.interface, found

    return samples


def _by(label: str, values: Callable[[Counted], Mapping[str, int]]) -> _Samples:
    return lambda one: (
        ("", f'{one.known.interface},{label}="{key}"', value) for key, value in values(one).items()
    )


def _of_services(value: Callable[[Counted, Service], Value | None]) -> _Samples:
    def samples(one: Counted) -> Iterator[Sample]:
        for service in one.seen.services:
            found = value(one, service)
            if found is not None:
                yield "", one.known.services[service.name], found

    return samples


# Of an interface


def _flow_event(name: str) -> _Samples:
    return _of_interface(lambda one: one.flow_events.get(name) if one.flow_table else None)


def _program(one: Counted) -> Iterator[Sample]:
    if one.seen.mode:
        build = one.seen.manifest.build if one.seen.manifest else {}
        program = str(build.get("sources", ""))[:_DIGITS]
        more = labelled({"mode": one.seen.mode, "program": program})
        yield "", f"{one.known.interface},{more}", 1


def _configuration(one: Counted) -> Iterator[Sample]:
    if one.known.digest:
        yield "", f'{one.known.interface},digest="{one.known.digest}"', 1


def _fell_back(one: Counted) -> int | None:
    wanted = one.seen.manifest.config.mode if one.seen.manifest else ""
    return int(wanted == "auto" and one.seen.mode == "generic") if one.seen.mode else None


# Of a service


def _info(one: Counted) -> Iterator[Sample]:
    for service in one.seen.services:
        labels = families.SERVICE.labels[2:]
        more = labelled({label: getattr(service, label) for label in labels})
        yield "", f"{one.known.services[service.name]},{more}", 1


def _sum(one: Counted, service: Service, counts: list[int]) -> int:
    manifest = one.seen.manifest
    if not manifest or not counts:
        return 0
    numbers = manifest.numbers[service.name].values()
    return sum(counts[number] for number in numbers) + counts[manifest.past[service.name]]


def _usable(one: Counted, service: Service) -> int:
    return len(one.seen.manifest.standings[service.name].usable) if one.seen.manifest else 0


def _fails_open(one: Counted, service: Service) -> int | None:
    if not one.seen.manifest or not service.check:
        return None
    return int(one.seen.manifest.standings[service.name].fails_open)


def _announced(one: Counted, service: Service) -> int | None:
    if not one.seen.manifest or not one.seen.manifest.config.announce:
        return None
    return int(one.seen.manifest.config.announced_as(service.address) in one.seen.announced)


def _unhealthy(one: Counted, service: Service) -> int | None:
    return len(_bad(one, service)) if service.check else None


def _bad(one: Counted, service: Service) -> set[Address]:
    verdicts = one.seen.manifest.verdicts.get(service.name, {}) if one.seen.manifest else {}
    return {address for address, verdict in verdicts.items() if not verdict.share}


def _service_checks(one: Counted) -> Iterator[Sample]:
    for name, counts in one.checks.items():
        label = one.known.services[name]
        yield "_sum", label, sum(each.seconds for each in counts)
        yield "_count", label, sum(each.made for each in counts)


def _service_failures(one: Counted) -> Iterator[Sample]:
    for name, counts in one.checks.items():
        label, total = one.known.services[name], dict.fromkeys(FAILURES, 0)
        for each in counts:
            for reason, number in each.failures.items():
                total[reason] += number
        for reason, number in total.items():
            yield "", f'{label},reason="{reason}"', number


# Of a backend


def _counted(counts: Callable[[Counted], list[int]]) -> _Samples:
    def samples(one: Counted) -> Iterator[Sample]:
        numbers, found = one.seen.manifest.numbers if one.seen.manifest else {}, counts(one)
        for service in one.seen.services if found else ():
            backends = zip(one.known.backends[service.name], numbers[service.name].values())
            for label, number in backends:
                yield "", label, found[number]

    return samples


def _weights(one: Counted) -> Iterator[Sample]:
    for service in one.seen.services:
        for label, backend in zip(one.known.backends[service.name], service.backends):
            yield "", label, backend.weight


_STATES = {
    (state, held): labelled({"state": state, "held": str(held).lower()})
    for state in STATES
    for held in (False, True)
}


def _states(one: Counted) -> Iterator[Sample]:
    for service in one.seen.services:
        for label, backend in zip(one.known.backends[service.name], service.backends):
            yield "", f"{label},{_STATES[backend.state, backend.held]}", 1


def _healthy(one: Counted) -> Iterator[Sample]:
    for service in one.seen.services:
        bad = _bad(one, service)
        if service.check:
            for label, backend in zip(one.known.backends[service.name], service.backends):
                yield "", label, int(backend.address not in bad)


def _checked(one: Counted) -> Iterator[tuple[str, CheckCounts]]:
    for name, counts in one.checks.items():
        yield from zip(one.known.backends[name], counts)


def _checks(one: Counted) -> Iterator[Sample]:
    for label, counts in _checked(one):
        yield "_sum", label, counts.seconds
        yield "_count", label, counts.made


def _failures(one: Counted) -> Iterator[Sample]:
    for label, counts in _checked(one):
        for reason, number in counts.failures.items():
            yield "", f'{label},reason="{reason}"', number


OF_BALANCERS: Mapping[Family, _Samples] = {
    families.ATTACHED: _of_interface(lambda one: int(one.seen.mode is not None)),
    families.PAUSED: _of_interface(lambda one: int(one.seen.paused)),
    families.PROGRAM: _program,
    families.FELL_BACK: _of_interface(_fell_back),
    families.CONFIGURATION: _configuration,
    families.GENERATION: _of_interface(
        lambda one: one.seen.manifest.generation if one.seen.manifest else None
    ),
    families.SERVICE: _info,
    families.SERVICE_PACKETS: _of_services(lambda one, each: _sum(one, each, one.packets)),
    families.SERVICE_BYTES: _of_services(lambda one, each: _sum(one, each, one.bytes)),
    families.SERVICE_BACKENDS: _of_services(lambda _one, each: len(each.backends)),
    families.SERVICE_USABLE: _of_services(_usable),
    families.SERVICE_UNHEALTHY: _of_services(_unhealthy),
    families.SERVICE_OPEN: _of_services(_fails_open),
    families.SERVICE_ANNOUNCED: _of_services(_announced),
    families.SERVICE_CHECK: _service_checks,
    families.SERVICE_FAILURES: _service_failures,
    families.BACKEND_PACKETS: _counted(lambda one: one.packets),
    families.BACKEND_BYTES: _counted(lambda one: one.bytes),
    families.BACKEND_WEIGHT: _weights,
    families.BACKEND_STATE: _states,
    families.BACKEND_HEALTHY: _healthy,
    families.BACKEND_CHECK: _checks,
    families.BACKEND_FAILURES: _failures,
    families.DROPS: _by("reason", lambda one: one.drops),
    families.ANSWERS: _by("kind", lambda one: one.answers),
    **{family: _flow_event(name) for name, family in families.FLOW_EVENTS.items()},
    families.FLOW_ENTRIES: _of_interface(lambda one: one.flow_table and one.flow_table[0]),
    families.FLOW_CAPACITY: _of_interface(lambda one: one.flow_table and one.flow_table[1]),
    families.REPAIRS: _of_interface(lambda one: one.seen.kept.repairs if one.seen.kept else None),
    families.PROBLEM: _of_interface(
        lambda one: int(one.seen.kept.problem) if one.seen.kept else None
    ),
}
"""Metric -> what it has of a balancer."""


@dataclass(frozen=True)
class Host:
    """What there is once on a host.

    version: of the collection. next_hops: how many are resolved, and how many are not.
    agent: what it says of itself.
    """

    version: str
    next_hops: tuple[int, int] = (0, 0)
    agent: Mapping[Family, Value] | None = None

    def samples(self, family: Family) -> Iterator[Sample]:
        """What a metric has of it."""
        if family is families.BUILD:
            yield "", labelled({"version": self.version}), 1
        elif family is families.NEXT_HOPS:
            for resolved, number in zip(("true", "false"), self.next_hops):
                yield "", labelled({"resolved": resolved}), number
        elif self.agent and family in self.agent:
            yield "", "", self.agent[family]
