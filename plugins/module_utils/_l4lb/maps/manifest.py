# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What user space knows of the maps."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from ..errors import L4lbError
from ..model.config import Address, Config
from ..model.parse import parse_config
from ..model.standing import Standing, Verdicts, standing

_UNCHANGED = ("backend_numbers", "all_numbers")


@dataclass(frozen=True)
class LookupTable:
    """A lookup table in the kernel: its index, what it was made from, and what it must contain."""

    index: int
    digest: str
    checksum: int


@dataclass(frozen=True)
class Refusal:
    """Why a driver did not take the program in mode native.

    words: the kernel's. mtus: that the interface had, and the one that it stands on or its peer.
    """

    words: str
    mtus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What user space knows of the maps."""

    config: Config
    build: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0
    service_ids: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, LookupTable] = field(default_factory=dict)
    """Of services that have one; see `Standing.is_settled`."""
    numbers: Mapping[str, Mapping[Address, int]] = field(default_factory=dict)
    """Of the backends of each service, in their order."""
    past: Mapping[str, int] = field(default_factory=dict)
    """Service -> a number that is no backend's: there the counters of former backends go on."""
    next_number: int = 1
    second: frozenset[str] = frozenset()
    """Services of whose backends the second records are in use."""
    route_mtus: Mapping[Address, int] = field(default_factory=dict)
    """Of those that have one."""
    mtu: int = 0
    """Of the interface, then: a limit on the way to MAC addresses that are given."""
    refusal: Refusal | None = None
    """Why the program is not attached in mode native, if that was tried."""
    verdicts: Mapping[str, Verdicts] = field(default_factory=dict)
    """Of services that have unhealthy backends. They are not in the manifest's own map: see
    `health`."""

    @functools.cached_property
    def standings(self) -> Mapping[str, Standing]:
        """How packets meet the backends of each service."""
        return {
            service.name: standing(service, self.verdicts.get(service.name))
            for service in self.config.services
        }

    @functools.cached_property
    def backend_numbers(self) -> frozenset[int]:
        """Those of backends."""
        return frozenset(n for numbers in self.numbers.values() for n in numbers.values())

    @functools.cached_property
    def all_numbers(self) -> frozenset[int]:
        """Every number that is in use."""
        return self.backend_numbers | set(self.past.values())

    def judged(self, verdicts: Mapping[str, Verdicts]) -> Manifest:
        """The same with other verdicts on the backends of these services. What does not depend on
        them is not found out again."""
        after = replace(
            self,
            verdicts={name: one for name, one in {**self.verdicts, **verdicts}.items() if one},
        )
        services = (one for one in self.config.services if one.name in verdicts)
        stands = {one.name: standing(one, verdicts[one.name]) for one in services}
        known = {name: vars(self)[name] for name in _UNCHANGED if name in vars(self)}
        vars(after).update(known, standings={**self.standings, **stands})
        return after

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(
            {
                "config": self.config.dump(),
                "build": dict(self.build),
                "generation": self.generation,
                "service_ids": dict(self.service_ids),
                "tables": {
                    name: [table.index, table.digest, table.checksum]
                    for name, table in self.tables.items()
                },
                "numbers": {
                    service.name: [*self.numbers[service.name].values()]
                    for service in self.config.services
                },
                "past": dict(self.past),
                "next_number": self.next_number,
                "second": sorted(self.second),
                "route_mtus": {str(address): mtu for address, mtu in self.route_mtus.items()},
                "mtu": self.mtu,
                "refusal": self.refusal and [self.refusal.words, self.refusal.mtus],
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def load(cls, text: bytes) -> Manifest:
        """Read what `dump` wrote. Raises L4lbError if it is something else."""
        try:
            raw: dict[str, Any] = json.loads(text.rstrip(b"\0"))
            config = parse_config(raw["config"])
            return cls(
                config=config,
                build=raw["build"],
                generation=raw["generation"],
                service_ids=raw["service_ids"],
                tables={name: LookupTable(*table) for name, table in raw["tables"].items()},
                numbers={
                    service.name: dict(
                        zip((b.address for b in service.backends), raw["numbers"][service.name])
                    )
                    for service in config.services
                },
                past=raw["past"],
                next_number=raw["next_number"],
                second=frozenset(raw["second"]),
                route_mtus={ip_address(text): mtu for text, mtu in raw["route_mtus"].items()},
                mtu=raw["mtu"],
                refusal=_refusal(raw.get("refusal")),
            )
        except (ValueError, KeyError, TypeError, L4lbError) as e:
            raise L4lbError(f"the manifest of the maps is not readable: {e}") from e


def _refusal(raw: Any) -> Refusal | None:
    return Refusal(str(raw[0]), tuple(raw[1])) if raw else None


def checksum(table: bytes) -> int:
    """Of a lookup table, to see whether the kernel's is still the one that was written."""
    return zlib.crc32(table)
