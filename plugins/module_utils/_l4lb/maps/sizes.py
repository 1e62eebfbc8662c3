# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much the maps hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ..model.config import Config, Service, ServiceKey, remembers
from . import flow_table
from .manifest import Manifest

_LEAST_TABLES = 16
_MOST_NUMBERS = 1 << 16
"""Of backends, as a slot of a lookup table names one by 16 bits; 0 is none."""


@dataclass(frozen=True)
class Room:
    """How much the maps hold: backends, number 0 included, and lookup tables."""

    backends: int
    tables: int

    def __or__(self, other: Room) -> Room:
        """Room for either."""
        return Room(max(self.backends, other.backends), max(self.tables, other.tables))


def room_for(before: Manifest | None, config: Config) -> Room:
    """How much the maps must hold, from few sizes, so that growing is rare.

    What is in use stays in use until the switch, so that both old and new need room.

    Raises ConfigError if a change of very many backends has none.
    """
    both: dict[ServiceKey, list[Service]] = {}
    for service in (*(before.config.services if before else ()), *config.services):
        both.setdefault(service.key, []).append(service)
    need = sum(1 + _distinct_backends(services) for services in both.values()) + 1
    if need > _MOST_NUMBERS:
        raise ConfigError(
            "services",
            f"{need - 1} backends and services",
            f"those that come and those that go are at most {_MOST_NUMBERS - 1} together, as both "
            "are there for a moment; remove some first, then add the others",
        )
    backends = next(size for size in (1024, 4096, 16384, _MOST_NUMBERS) if size >= need)
    # All that a change of states or weights can make need one, and at first twice as many: a change
    # of them all must not take another program.
    all_services = (*(before or Manifest(config)).config.services, *config.services)
    tables = sum(len(service.backends) > 1 for service in all_services)
    return Room(backends, max(_LEAST_TABLES, 1 << max(0, tables - 1).bit_length()))


def _distinct_backends(services: Sequence[Service]) -> int:
    """How many backends a service has in any of its states."""
    first = services[0].backends
    if all(service.backends == first for service in services):
        return len(first)
    return len({backend.address for service in services for backend in service.backends})


def flow_table_bytes(config: Config, cpus: int) -> int:
    """What the flow table takes, on all CPUs; nothing if no service uses it."""
    is_used = any(remembers(service, config) for service in config.services)
    return flow_blocks(config) * flow_table.FLOW_BLOCK_SIZE * cpus if is_used else 0


def flow_blocks(config: Config) -> int:
    """How many blocks of 1024 flows the flow table has per CPU: a power of two."""
    blocks = -(-config.flow_table_size // flow_table.FLOW_BLOCK_FLOWS)
    return 1 << max(0, blocks - 1).bit_length()
