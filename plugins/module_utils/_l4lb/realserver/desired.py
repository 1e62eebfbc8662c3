# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real server shall be: `options.parse_desired` makes it of what somebody wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..model.config import Address, Network

_SHIMS = {"ipip": 0, "gue": 8, "gre": 4}
_HEADERS = {4: 20, 6: 40}


class Entry(NamedTuple):
    """A VIP, and how packets to it reach this server; mtu: of that path, 0 if it is not given."""

    vip: Address
    backend: Address
    encapsulation: str
    gue_port: int
    mtu: int = 0

    @property
    def is_tunnel(self) -> bool:
        """Whether there is something to unpack."""
        return self.encapsulation != "l2"

    @property
    def added(self) -> int:
        """Bytes that packets grow by on their way here."""
        if not self.is_tunnel:
            return 0
        return _HEADERS[self.backend.version] + _SHIMS[self.encapsulation]


@dataclass(frozen=True)
class Desired:
    """The desired state of a server; options.py says what each means."""

    services: tuple[Entry, ...] = ()
    balancers: tuple[Network, ...] = ()
    decapsulation: str = "auto"
    interface: str | None = None
    firewall: bool = False
    limit_segments: bool = True

    @property
    def vips(self) -> frozenset[Address]:
        """All of them."""
        return frozenset(entry.vip for entry in self.services)

    @property
    def tunnels(self) -> Iterator[Entry]:
        """Those services that come in tunnels."""
        return (entry for entry in self.services if entry.is_tunnel)

    def together_with(self, other: Desired) -> Desired:
        """This, and what `other` has besides."""
        services = {*self.services, *other.services}
        balancers = {*self.balancers, *other.balancers}
        return replace(
            self,
            services=tuple(sorted(services, key=order)),
            balancers=tuple(sorted(balancers, key=lambda one: (one.version, one))),
        )

    def dump(self) -> dict[str, Any]:
        """As plain JSON types; `parse_desired` reads it back."""
        return {
            "services": [
                {
                    "address": str(entry.vip),
                    "backend": str(entry.backend),
                    "encapsulation": entry.encapsulation,
                    "gue_port": entry.gue_port,
                    "mtu": entry.mtu or None,
                }
                for entry in self.services
            ],
            "balancers": [str(one) for one in self.balancers],
            "decapsulation": self.decapsulation,
            "interface": self.interface,
            "firewall": self.firewall,
            "limit_segments": self.limit_segments,
        }


def order(entry: Entry) -> tuple[Any, ...]:
    """Of a service among others."""
    ends = ((one.version, one.packed) for one in (entry.vip, entry.backend))
    return (*ends, *entry[2:])
