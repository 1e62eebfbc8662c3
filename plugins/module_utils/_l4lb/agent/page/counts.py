# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a balancer has counted by a moment, in as little memory as it takes."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from ...datapath import counters
from ...datapath.counters import Count
from ...datapath.program import DataPath
from ...maps.manifest import Manifest
from ...model.config import Address
from ...operations.report import rates


@dataclass(frozen=True)
class Counts:
    """packets, bytes: by the numbers that this manifest gives backends."""

    manifest: Manifest
    packets: array[int]
    bytes: array[int]
    drops: Mapping[str, int]
    answers: Mapping[str, int]
    flows: Mapping[str, int]

    @classmethod
    def taken(cls, data_path: DataPath, manifest: Manifest) -> Counts:
        """Those of now. Raises L4lbError."""
        packets, bytes_ = array("Q"), array("Q")
        for some_packets, some_bytes in counters.totals(data_path):
            packets.extend(some_packets)
            bytes_.extend(some_bytes)
        return cls(manifest, packets, bytes_, *counters.events(data_path))

    def service(self, name: str) -> Count | None:
        """Of a service, its former backends included; None if there is none."""
        if name not in self.manifest.past:
            return None
        numbers = [self.manifest.past[name], *self.manifest.numbers[name].values()]
        return Count(*(sum(map(all_.__getitem__, numbers)) for all_ in (self.packets, self.bytes)))

    def backend(self, name: str, address: Address) -> Count | None:
        """Of a backend of a service; None if there is none."""
        number = self.manifest.numbers.get(name, {}).get(address)
        return None if number is None else Count(self.packets[number], self.bytes[number])

    def since(self, before: Counts, seconds: float) -> dict[Hashable, float]:
        """Rates since so many seconds ago: by (service, kind of rate), and by (None, reason of
        drops)."""
        found: dict[Hashable, float] = {}
        for service in self.manifest.config.services:
            new, old = self.service(service.name), before.service(service.name)
            for kind, rate in rates(old or Count(), new or Count(), seconds).items():
                found[service.name, kind] = rate
        for reason, dropped in self.drops.items():
            found[None, reason] = max(0, dropped - before.drops.get(reason, 0)) / seconds
        return found
