"""How a laboratory is wired: the commands that make links, addresses and routes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.topology import HostPlan

# Every host gets these: the addresses are usable at once (no duplicate address detection),
# nothing configures itself, and replies may leave by another way than requests came.
SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0,
}


def cables(hosts: dict[str, HostPlan], network_of: dict[str, Path]) -> dict[str, list[str]]:
    """Commands of ip(8), by the host to run them in, that make the bridges and veth pairs.

    A pair is made in the far end's namespace, so that none is ever seen outside the laboratory.
    """
    commands: dict[str, list[str]] = {name: [] for name in hosts}
    for name, plan in hosts.items():
        commands[name] += [
            # Snooping would withhold neighbour discovery until a querier is heard; there is none.
            f"link add {interface} type bridge mcast_snooping 0"
            for interface, settings in plan.interfaces.items()
            if settings.bridge
        ]
    for index, (name, interface) in enumerate(_cabled(hosts), start=100):
        far, end = far_end(hosts, name, interface)
        # Indexes differ across the whole laboratory: one decap.c serves all hosts, and tells them apart
        # by these. The kernel takes one for the peer only if the near end has one too.
        commands[far].append(
            f"link add {end} index {index} type veth peer name {interface} index {index} netns {network_of[name]}"
        )
    return commands


def far_end(hosts: dict[str, HostPlan], name: str, interface: str) -> tuple[str, str]:
    """Host and interface at the other end of a cable; on a bridge that is a port named after this host."""
    far, end = hosts[name].interfaces[interface].to.split("/")
    if hosts[far].interfaces[end].bridge:
        end = name if interface == "eth0" else f"{name}-{interface}"
    return far, end


def links_up(hosts: dict[str, HostPlan], name: str) -> list[str]:
    """Commands of ip(8), inside the host, that name, plug and start its links."""
    commands = ["link set lo up"]
    for interface, settings in hosts[name].interfaces.items():
        address = f"address {settings.mac}" if settings.mac else ""
        commands.append(f"link set {interface} mtu {settings.mtu} {address} up")
    for other, interface in _cabled(hosts):
        far, end = far_end(hosts, other, interface)
        if far == name and end not in hosts[name].interfaces:
            bridge = hosts[other].interfaces[interface].to.split("/")[1]
            mtu = hosts[other].interfaces[interface].mtu
            commands.append(f"link set {end} master {bridge} mtu {mtu} addrgenmode none up")
    return commands


def addresses_and_routes(plan: HostPlan) -> list[str]:
    """Commands of ip(8), inside the host, once the links of all hosts are up."""
    commands = [f"address add {address} dev lo" for address in plan.loopback]
    for interface, settings in plan.interfaces.items():
        commands += [f"address add {address} dev {interface}" for address in settings.addresses]
    # ip(8) takes the family from the first address; "default via 2001:…" works too.
    return commands + [f"route add {route}" for route in plan.routes]


def links(hosts: dict[str, HostPlan], name: str) -> list[str]:
    """All links of a host, the ports of its bridges included."""
    ports = [far_end(hosts, *cable) for cable in _cabled(hosts)]
    return list(dict.fromkeys([*hosts[name].interfaces, *(end for far, end in ports if far == name)]))


def _cabled(hosts: dict[str, HostPlan]) -> list[tuple[str, str]]:
    return [
        (name, interface)
        for name, plan in hosts.items()
        for interface, settings in plan.interfaces.items()
        if settings.to
    ]
