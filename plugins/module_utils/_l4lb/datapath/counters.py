# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a data path has counted."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import L4lbError
from ..kernel.bpf import possible_cpus
from ..kernel.maps import PerCpuArray, Sums
from ..maps.backend_record import COUNTER
from ..maps.manifest import Manifest
from ..maps.reasons import ANSWERS, DROPS, FLOW_EVENTS
from ..model.config import Address
from .program import DataPath

_WORD = 8
_PART = 8192
"""Counters of a backend on a CPU that are read and summed at once, in a millisecond or two."""


@dataclass(frozen=True)
class Count:
    """Transmitted Ethernet frames and their bytes, encapsulation included."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.bytes + other.bytes)


@dataclass(frozen=True)
class Statistics:
    """All counters, summed over CPUs: by service name; by (service name, backend address); drops
    by reason; answers by kind; flows: what the flow table did."""

    services: dict[str, Count]
    backends: dict[tuple[str, Address], Count]
    drops: dict[str, int]
    answers: dict[str, int] = field(default_factory=dict)
    flows: dict[str, int] = field(default_factory=dict)


def statistics(data_path: DataPath, manifest: Manifest | None = None) -> Statistics:
    """All counters of the services in `manifest`; default: what the maps hold."""
    manifest = manifest or data_path.read()
    if manifest is None:
        raise L4lbError("the maps do not say what they hold; apply the configuration again")
    sent = Sums(data_path.backend_cpus, 2)
    backends = {
        (name, address): Count(*sent(number))
        for name, numbers in manifest.numbers.items()
        for address, number in numbers.items()
    }
    services = {name: Count(*sent(number)) for name, number in manifest.past.items()}
    for (name, _address), count in backends.items():
        services[name] += count
    return Statistics(services, backends, *events(data_path))


def events(data_path: DataPath) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Drops by reason, answers by kind, and what the flow table did, summed over CPUs."""
    drops, answers = Sums(data_path.counters("drops"), 1), Sums(data_path.counters("answers"), 1)
    flows: Sequence[int] = [0] * len(FLOW_EVENTS)
    if "flow_events" in data_path.maps:
        flows = Sums(data_path.counters("flow_events"), len(FLOW_EVENTS))(0)
    return (
        {reason: drops(number)[0] for number, reason in enumerate(DROPS, 1)},
        {kind: answers(number)[0] for number, kind in enumerate(ANSWERS)},
        dict(zip(FLOW_EVENTS, flows)),
    )


def totals(data_path: DataPath) -> Iterator[tuple[list[int], list[int]]]:
    """Packets and bytes by the numbers of backends, summed over CPUs: in parts, for those who must
    not be kept for long."""
    cpus = data_path.backend_cpus
    element = cpus.element_size // _WORD
    each = element // possible_cpus()
    for part in cpus.parts(max(1, _PART // possible_cpus())):
        words = array("Q", part)
        packets, bytes_ = (
            [*map(sum, zip(*(words[at + counter :: element] for at in range(0, element, each))))]
            for counter in range(2)
        )
        yield packets, bytes_


def packets(data_path: DataPath, number: int) -> int:
    """How many packets were sent to a backend."""
    cpus = data_path.backend_cpus
    return sum(
        COUNTER.unpack_from(record)[0] for record in cpus.per_cpu(cpus.lookup(number) or b"")
    )


def copy(mine: DataPath, theirs: DataPath) -> dict[str, bytes]:
    """Take over the counters of another data path from those of its maps that are not shared;
    returns what these held, by name."""
    copied = {}
    for name in ("drops", "answers", "flow_events", "backend_cpus"):
        to, from_ = mine.maps.get(name), theirs.maps.get(name)
        if not isinstance(to, PerCpuArray) or not isinstance(from_, PerCpuArray):
            continue
        same_kind = from_.shape == replace(to.shape, max_entries=from_.shape.max_entries)
        if from_.id != to.id and same_kind:
            copied[name] = from_.read()
            to.update_many(zip(range(to.shape.max_entries), from_.split(copied[name])))
    return copied


def catch_up(mine: DataPath, theirs: DataPath, copied: Mapping[str, bytes]) -> None:
    """Add what the other has counted for backends since `copy`; it has stopped by now.

    This program counts already. Of what it counts for a backend in the microseconds between
    reading and writing its counters, nothing remains.
    """
    before = copied.get("backend_cpus", b"")
    after = theirs.backend_cpus.read() if before else b""
    cpus = mine.backend_cpus
    pairs = zip(theirs.backend_cpus.split(before), theirs.backend_cpus.split(after))
    for number, (old, new) in enumerate(pairs):
        if old != new:
            cpus.update(number, add(cpus, [cpus.lookup(number) or b"", new], less=old))


def add(cpus: PerCpuArray, elements: Sequence[bytes], less: bytes = b"") -> bytes:
    """The first of some struct backend_cpu of all CPUs, with the counters of all of them, less
    those of another."""
    total = []
    subtracted = cpus.per_cpu(less or cpus.empty)
    for records, minus in zip(zip(*map(cpus.per_cpu, elements)), subtracted):
        sums = [sum(each) for each in zip(*map(COUNTER.unpack_from, records))]
        counted = COUNTER.pack(*map(operator.sub, sums, COUNTER.unpack_from(minus)))
        total.append(counted + records[0][COUNTER.size :])
    return cpus.joined(total)
