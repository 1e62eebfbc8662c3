# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer on any interface, whose frames leave by others."""

from __future__ import annotations

from typing import Any

from lab.host import Host
from tests.fleet.rig.hosts import python
from tests.fleet.there import library


class Balancer:
    """The one of an interface."""

    def __init__(self, host: Host, interface: str) -> None:
        self.host = host
        self.interface = interface

    def do(
        self, action: str, config: dict[str, Any] | None = None, accepted: bool = False
    ) -> dict[str, Any]:
        given = {"action": action, "config": config, "accepted": accepted}
        return dict(python(self.host, library.act, interface=self.interface, **given))

    def outdated(self) -> list[str]:
        return list(self.do("outdated")["outdated"])

    def counted(self) -> tuple[int, dict[str, int]]:
        """Packets that were sent, and those that were dropped by reason."""
        found = self.do("facts")
        drops = {reason: count for reason, count in found["drops"].items() if count}
        return sum(service["packets"] for service in found["services"]), drops
