# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VIPs a host announces, and why not the others. All of it is pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..maps.manifest import Manifest
from ..model.config import Announced, Service

_NOT_CHECKED = "not all backends of {} have been checked yet"
_NO_BACKEND = "no backend of {} takes new flows"
_FAILS_OPEN = "too few backends of {} are healthy, so that all are used"


@dataclass(frozen=True)
class Side:
    """The balancer of one interface.

    idle: why no packet gets from it to a backend; empty if they do.
    unknown: its services of whose backends not all have been checked for the first time.
    """

    manifest: Manifest
    idle: str = ""
    unknown: Collection[str] = ()

    @property
    def announces(self) -> Sequence[Service]:
        """Its services whose VIPs are to be announced."""
        config = self.manifest.config
        return config.services if config.announce else ()


@dataclass(frozen=True)
class Objection:
    """Why a VIP is not to be announced. waits: only until its backends have been checked."""

    reason: str
    waits: bool = False


Decision = Mapping[Announced, Optional[Objection]]
"""VIP, or prefix that VIPs are in -> what speaks against announcing it; None: nothing."""
NOBODYS = Objection("no service has it")
"""Of one that is in no decision."""


def decide(sides: Collection[Side], there: Collection[Announced]) -> Decision:
    """For all VIPs of a host.

    sides: all of its balancers, as several may serve a VIP.
    there: what is announced now. These do not wait for the first checks, which others have
        made before.
    """
    found: dict[Announced, list[tuple[Side, Service]]] = {}
    for side in sides:
        for service in side.announces:
            name = side.manifest.config.announced_as(service.address)
            found.setdefault(name, []).append((side, service))
    return {name: _objection(those, name in there) for name, those in found.items()}


def _objection(those: Sequence[tuple[Side, Service]], is_there: bool) -> Objection | None:
    whens = {service.announce_when for _side, service in those}
    for when in sorted(whens):  # of several interfaces, or VIPs of a prefix, all must be content
        if when != "forwarding" and not is_there:
            waiting = sorted(service.name for side, service in those if _waits(side, service))
            if waiting:
                return Objection(_NOT_CHECKED.format(waiting[0]), waits=True)
        reasons = [_why_not(side, service, when) for side, service in those]
        if all(reasons) or (when == "all" and any(reasons)):
            return Objection(next(filter(None, reasons)))
    return None


def _waits(side: Side, service: Service) -> bool:
    return not side.idle and service.name in side.unknown


def _why_not(side: Side, service: Service, when: str) -> str:
    """Why a service does not serve; empty if it does."""
    if side.idle or when == "forwarding":
        return side.idle
    stands = side.manifest.standings[service.name]
    if not stands.usable:
        return _NO_BACKEND.format(service.name)
    if when == "healthy" and stands.fails_open:
        return _FAILS_OPEN.format(service.name)
    return ""
