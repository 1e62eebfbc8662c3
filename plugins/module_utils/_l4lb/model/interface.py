# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the balanced interface has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from .config import Address


@dataclass(frozen=True)
class Receivers:
    """The interfaces by which the host's stack receives frames that come in by the balanced one."""

    macs: tuple[str, ...] = ()
    """Their MAC addresses, without that of the balanced one."""
    by_vlan: Mapping[int, int] = field(default_factory=dict)
    """VLAN, 0 for none -> the index of the interface for frames to any of these addresses, ..."""
    by_mac: Mapping[str, int] = field(default_factory=dict)
    """... but for these, which one interface alone has."""


@dataclass(frozen=True)
class Ingress:
    """What the balanced interface itself has: its first addresses, MAC address and MTU; and
    what is above it."""

    address: IPv4Address | None
    mac: str
    address6: IPv6Address | None = None
    mtu: int = 1500
    receivers: Receivers = field(default_factory=Receivers)

    @property
    def sources(self) -> dict[int, Address]:
        """IP version -> where tunnels come from, unless that is given."""
        return {own.version: own for own in (self.address, self.address6) if own}
