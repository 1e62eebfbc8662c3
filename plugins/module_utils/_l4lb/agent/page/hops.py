# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next hops by which packets leave for the backends, and whether they answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...balancer import needs
from ...model.config import Address, Config
from ...network import neighbours, rtnetlink

_MOST_LISTED = 100
"""There may be as many as backends; those with problems come first."""
_PAUSE = 10.0
"""Seconds from one look to the next, at the least."""
_SHARE = 0.01
"""of a CPU, at most, is spent on looking."""


@dataclass(frozen=True)
class NextHop:
    """mac: None: it does not answer, or has not yet."""

    address: Address
    interface: str
    mac: str | None


@dataclass(frozen=True)
class Hops:
    """all: those that do not answer come first. unreachable: backends that no route leads to."""

    all: Sequence[NextHop] = ()
    unreachable: Sequence[Address] = ()

    def shown(self) -> dict[str, Any]:
        """As plain JSON types; of very many the first."""
        return {
            "count": len(self.all),
            "unresolved": sum(hop.mac is None for hop in self.all),
            "list": [
                {"address": str(hop.address), "interface": hop.interface, "mac": hop.mac}
                for hop in self.all[:_MOST_LISTED]
            ],
            "without_route": {
                "count": len(self.unreachable),
                "list": [str(address) for address in self.unreachable[:_MOST_LISTED]],
            },
        }


def look(config: Config) -> Hops:
    """As the host has them now. Raises KernelError."""
    links = rtnetlink.links()
    names = {link.index: link.name for link in links}
    found, unreachable = neighbours.next_hops(
        neighbours.ways(needs.routed(config), config.sources), links
    )
    macs = neighbours.macs(found)
    each = [
        NextHop(address, names.get(index, str(index)), macs.get((index, address)))
        for index, address in found
    ]
    each.sort(key=lambda hop: (hop.mac is not None, hop.address.version, int(hop.address)))
    return Hops(each, unreachable)


class Lookout:
    """Looks now and then, as often as it costs next to nothing."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._found = Hops()
        self._not_before = 0.0

    def look(self, config: Config) -> Hops:
        """Raises KernelError."""
        began = time.monotonic()
        if config is not self._config or began >= self._not_before:
            spent = time.thread_time()
            self._found, self._config = look(config), config
            spent = time.thread_time() - spent
            self._not_before = time.monotonic() + max(_PAUSE, spent / _SHARE)
        return self._found
