# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures that are this balancer's own: its link is down, or so many fail at once that it is more
likely at fault than they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..model.config import Address, ServiceKey

_SEVERAL = 2
"""So many services, and so many different backends."""


class Links:
    """Balanced interfaces that are down, or were a moment ago: nobody answers whom nobody can ask.
    All of it is pure, as below."""

    def __init__(self) -> None:
        self._down: set[str] = set()
        self._up: dict[str, float] = {}
        """Since when, of those that were down."""

    def see(self, name: str, is_down: bool, now: float) -> None:
        """How an interface is by now."""
        if is_down:
            self._down.add(name)
        elif name in self._down:
            self._down.remove(name)
            self._up[name] = now

    def was_down(self, name: str, since: float) -> bool:
        """Whether it is, or was at some time since then."""
        return name in self._down or self._up.get(name, since) > since


class Outage:
    """When backends failed of late, by service. All of it is pure: time is what the caller says."""

    def __init__(self) -> None:
        self._failed: dict[ServiceKey, dict[Address, float]] = {}
        self._hit: set[ServiceKey] = set()

    def fail(self, key: ServiceKey, address: Address, now: float) -> None:
        """A backend has become unhealthy."""
        self._failed.setdefault(key, {})[address] = now

    def heal(self, key: ServiceKey, address: Address) -> None:
        """It is healthy again."""
        self._failed.get(key, {}).pop(address, None)

    def services(
        self, sizes: Mapping[ServiceKey, tuple[int, float]], now: float
    ) -> set[ServiceKey]:
        """Those most of whose backends failed at once and still do; none unless several.

        sizes: how many backends each service has, and within how many seconds one cause is noticed
            at all of them: checks are spread over the interval.
        """
        for key in self._failed.keys() - sizes.keys():
            del self._failed[key]
        bad = {key for key, found in self._failed.items() if _most(found, sizes[key][0])}
        self._hit &= bad
        for key in bad:
            count, window = sizes[key]
            fresh = [one for one, when in self._failed[key].items() if now - when <= window]
            if _most(fresh, count):
                self._hit.add(key)
        backends = {address for key in self._hit for address in self._failed[key]}
        if min(len(self._hit), len(backends)) < _SEVERAL:
            return set()
        return set(self._hit)


def _most(those: Iterable[Address], count: int) -> bool:
    return 2 * len([*those]) > count
