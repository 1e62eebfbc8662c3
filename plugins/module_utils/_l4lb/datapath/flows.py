# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where flows go: lookup tables, and the flow table."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ..kernel.bpf import possible_cpus
from ..kernel.clock import ticks, ticks_per_second
from ..kernel.maps import PerCpuArray
from ..maps import image
from ..maps.flow_table import FLOW_BLOCK_FLOWS, FlowOwner, RememberedFlow, confirmed_owner, flows_of
from ..maps.layout import LOOKUP_TABLE_SIZE, TABLE_SLOTS
from ..maps.manifest import Manifest
from ..model.config import Service
from ..schedulers.candidate import JHASH_SLOTS
from .program import DataPath

_MOST_FLOWS_READ = 1 << 22
"""64 MB of a flow table, in a fraction of a second."""
_SAMPLE = 1 << 15
"""Flows of it that are looked at where an estimate will do: in a millisecond or two."""


@dataclass(frozen=True)
class Silences:
    """Seconds since the last packet of each flow: confirmed ones, and tentative ones, of which a
    single packet was seen."""

    confirmed: list[float] = field(default_factory=list)
    tentative: list[float] = field(default_factory=list)


def silences(data_path: DataPath, owners: Collection[FlowOwner]) -> dict[FlowOwner, Silences]:
    """How long the flows are silent that the flow table remembers of these owners."""
    flows: list[RememberedFlow] = []
    table = data_path.flows
    if table:
        for index in range(table.shape.max_entries):  # not all at once: it may be gigabytes
            flows += flows_of(owners, table.lookup(index) or b"")
    now, second = ticks(), ticks_per_second()
    found: dict[FlowOwner, dict[int, tuple[float, bool]]] = {o: {} for o in owners}
    for owner, fingerprint, tick, confirmed in flows:
        # each CPU that saw packets of a flow remembers it
        least, known = found[owner].get(fingerprint, (math.inf, False))
        silence = (now - tick) % 2**32 / second
        found[owner][fingerprint] = min(least, silence), known or confirmed
    return {
        owner: Silences(
            [silence for silence, confirmed in each.values() if confirmed],
            [silence for silence, confirmed in each.values() if not confirmed],
        )
        for owner, each in found.items()
    }


def slots(data_path: DataPath, service: Service, manifest: Manifest) -> Sequence[int]:
    """The lookup table of a service: slot -> number of a backend, 0 for none."""
    length = JHASH_SLOTS if service.scheduler == "jhash" else TABLE_SLOTS
    if manifest.standings[service.name].is_settled:
        return array("H", [image.only_number(service, manifest)]) * length
    content = data_path.lookup_tables.lookup(manifest.tables[service.name].index)
    return array("H", (content or bytes(LOOKUP_TABLE_SIZE))[: 2 * length])


def use(table: PerCpuArray) -> tuple[int, int]:
    """How many flows a flow table remembers, as a part of it has it, and how many it has room for,
    on all CPUs."""
    blocks = table.shape.max_entries
    room = FLOW_BLOCK_FLOWS * possible_cpus()
    read = min(blocks, max(1, _SAMPLE // room))
    ends = memoryview(table.read(read)).cast("H")[7::8].tolist()  # as of flows_of
    return (len(ends) - ends.count(0)) * blocks // read, blocks * room


def remembered(data_path: DataPath) -> dict[tuple[int, int], int]:
    """How many confirmed flows are remembered, by (id of the service, number of the backend).

    Those count that ended long ago: there is no telling. Of a very large table only a part is
    read; flows are spread evenly over it.
    """
    table = data_path.flows
    if not table:
        return {}
    blocks = table.shape.max_entries
    read = max(1, _MOST_FLOWS_READ // (FLOW_BLOCK_FLOWS * possible_cpus()))
    read = min(read, blocks)
    counts = Counter(memoryview(table.read(read)).cast("I")[3::4])
    owners = ((confirmed_owner(word), n) for word, n in counts.items())
    return {(owner[1], owner[0]): n * blocks // read for owner, n in owners if owner}
