# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the network is this host itself, and what is beside it: all that a configuration may
contradict."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from ..model import checks
from ..model.checks import Host
from ..model.config import Address, Config
from ..network import rtnetlink
from ..network.link import Link
from ..network.routes import routes

_LOOPBACK = 1  # the index of lo, whatever its name
_RTN_LOCAL, _RTN_BROADCAST = 2, 3
_NO_MAC = "00:00:00:00:00:00"


def look(config: Config, interface: Link, sources: Mapping[int, Address]) -> Host:
    """What `checks.check` asks about `config`. Raises KernelError.

    sources: where packets to backends come from, by IP version.
    """
    entries = rtnetlink.addresses()
    destinations = sorted(checks.destinations(config), key=int)
    own = {entry.address for entry in entries}
    routers: dict[Address, Address] = {}
    for address, route in zip(destinations, routes(destinations, sources)):
        if route is None:
            continue
        if route.type in (_RTN_LOCAL, _RTN_BROADCAST):  # the last one of a local prefix is such
            own.add(address)
            continue
        gateways = (ip_address(hop.gateway) for hop in route.hops if hop.gateway)
        routers.update((address, gateway) for gateway in gateways if gateway != address)
    return Host(
        macs={interface.mac} - {_NO_MAC},
        addresses=own,
        # of what is on lo, each address may be used
        subnets={entry.subnet for entry in entries if entry.index != _LOOPBACK},
        routers=routers,
    )
