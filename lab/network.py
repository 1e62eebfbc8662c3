# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a laboratory is wired: the commands of ip(8) for links, addresses and routes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from lab.topology import HostPlan

# Every host gets these: addresses are usable at once (no duplicate address detection), nothing
# configures itself, and replies may leave by another way than requests came.
SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0,
}
# Where the kernel has br_netfilter, a bridge would look into the frames it passes, and drop some.
BRIDGE_SYSCTLS = {
    "net.bridge.bridge-nf-call-arptables": 0,
    "net.bridge.bridge-nf-call-ip6tables": 0,
    "net.bridge.bridge-nf-call-iptables": 0,
}


@dataclasses.dataclass(frozen=True)
class Cable:
    """A veth pair: interface of host, and end of far, which may be a port of a bridge there."""

    host: str
    interface: str
    far: str
    end: str
    bridge: str | None
    flood: bool
    mtu: int
    # Indexes differ across the whole laboratory: one decap.c serves all hosts and tells them apart
    # by these.
    index: int

    def add(self, networks: dict[str, Path]) -> str:
        """The command, in the far host, so that the pair is never seen outside the laboratory."""
        # The kernel takes an index for the peer only if the near end has one too.
        peer = f"peer name {self.interface} index {self.index} netns {networks[self.host]}"
        return f"link add {self.end} index {self.index} type veth {peer}"


def cables(plans: dict[str, HostPlan]) -> list[Cable]:
    """All cables, in the topology's order."""
    result: list[Cable] = []
    for host, plan in plans.items():
        for interface, settings in plan.interfaces.items():
            if not settings.to:
                continue
            far, end = settings.to.split("/")
            bridge, flood = None, plans[far].interfaces[end].flood
            if plans[far].interfaces[end].bridge:
                # A port is named after who is plugged in.
                bridge, end = end, host if interface == "eth0" else f"{host}-{interface}"
            index = 100 + len(result)
            result.append(Cable(host, interface, far, end, bridge, flood, settings.mtu, index))
    return result


def add_bridges(plan: HostPlan) -> list[str]:
    """Commands for a host's bridges."""
    # Snooping would withhold neighbour discovery until a querier is heard, and there is none.
    return [
        f"link add {name} type bridge mcast_snooping 0"
        for name, settings in plan.interfaces.items()
        if settings.bridge
    ]


def start_links(plan: HostPlan, ports: list[Cable]) -> list[str]:
    """Commands that plug a host's ports into its bridges, and start all its links."""
    commands = ["link set lo up"]
    for name, settings in plan.interfaces.items():
        address = f"address {settings.mac}" if settings.mac else ""
        commands.append(f"link set {name} mtu {settings.mtu} {address} up")
    for port in ports:
        plug = f"master {port.bridge} mtu {port.mtu} addrgenmode none"
        commands.append(f"link set {port.end} {plug} up")
        if not port.flood:
            commands.append(f"link set {port.end} type bridge_slave flood off")
    return commands


def addresses_and_routes(plan: HostPlan) -> list[str]:
    """Commands for a host, once all links of the laboratory are up."""
    commands = [f"address add {address} dev lo" for address in plan.loopback]
    for name, settings in plan.interfaces.items():
        commands += [f"address add {address} dev {name}" for address in settings.addresses]
    return commands + [f"route add {route}" for route in plan.routes]
