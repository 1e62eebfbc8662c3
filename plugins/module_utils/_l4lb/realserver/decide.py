# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a desired state and what a host is like to the state that it shall have. All of this is
pure.

rp_filter. The kernel takes the larger of what an interface has and what "all" has, so no 0 loosens
a device while "all" is 1, but a 2 does: any source is taken that there is a route to, as there must
be one for the answer. Loose, the kernel takes nothing on an interface without an address; therefore
each device that IPv4 comes out of also has a VIP. So nothing but these devices changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network
from typing import Any

from ..errors import ConfigError, ForeignProgramError, HostError
from ..model.config import Address, Network
from ..printable import listed
from . import ruleset
from .desired import Desired, Entry
from .state import Device, State, Tunnel, Unpacker

MODULES = {
    "ipip": "ipip",
    "sit": "sit",
    "ip6tnl": "ip6_tunnel",
    "gre": "ip_gre",
    "ip6gre": "ip6_gre",
    "gue": "fou",
}
"""Kind of a device, or GUE -> the kernel's module."""
_MAPPED = IPv6Network("::ffff:0:0/96")
QUIET = {
    "net.ipv4.conf.all.arp_ignore": (1, (1, 2, 8)),
    "net.ipv4.conf.all.arp_announce": (2, (2,)),
}
"""What keeps ARP quiet about VIPs: the value to set, and those that do as well (ip-sysctl.rst)."""


@dataclass(frozen=True)
class Host:
    """What there is besides what is ours.

    addresses: each with the interface that has it. modules: those that the kernel has or can load.
    sysctls: of those that matter. foreign_programs: interfaces with an XDP program of others.
    mtus: by interface.
    """

    addresses: Mapping[Address, str]
    modules: Collection[str] = frozenset(MODULES.values())
    sysctls: Mapping[str, int] = field(default_factory=dict)
    foreign_programs: Collection[str] = ()
    mtus: Mapping[str, int] = field(default_factory=dict)
    has_nftables: bool = True


@dataclass(frozen=True)
class Decision:
    """The state that a host shall have, and what is to be said about that."""

    state: State
    way: str = ""
    """"kernel" or "bpf"; empty if nothing comes in tunnels."""
    warnings: tuple[str, ...] = ()


def needed_kinds(entries: Iterable[Entry]) -> set[str]:
    """Of devices, with "gue" if that is taken off before these see the packet."""
    found = set()
    for entry in entries:
        found.add(_kind(entry))
        if entry.encapsulation == "gue":
            found.add("gue")
    return found


def _kind(entry: Entry) -> str:
    if entry.encapsulation == "gre":
        return "gre" if entry.backend.version == 4 else "ip6gre"
    if entry.backend.version == 6:
        return "ip6tnl"
    return "ipip" if entry.vip.version == 4 else "sit"


def decide(desired: Desired, host: Host, program: str) -> Decision:
    """What the host shall be.

    program: the name of the one that there is to load.
    Raises ConfigError or HostError.
    """
    _check_addresses(desired, host)
    way, warnings = _way(desired, host)
    state: dict[str, Mapping[Any, Any]] = {
        "sysctls": _sysctls(desired, host),
        "vips": dict.fromkeys(sorted(desired.vips, key=_order), True),
    }
    if way == "kernel":
        state["tunnels"] = _tunnels(desired)
        state["gue"] = dict.fromkeys(
            sorted(
                {(one.backend, one.gue_port) for one in desired.tunnels if _has_port(one)},
                key=lambda end: (*_order(end[0]), end[1]),
            ),
            True,
        )
    elif way == "bpf":
        _require_balancers(desired, "the XDP program unpacks for balancers only")
        state["programs"] = _programs(desired, host, program)
    rules = ruleset.rules(desired, way, host)
    if rules and not host.has_nftables:
        if desired.firewall and way == "kernel":
            remedy = "nftables is missing; install it, or keep strangers out by other means"
            raise HostError(f"firewall: {remedy}")
        warnings.append(
            "clients' segments are not limited to what fits into the tunnel, as nftables is "
            "missing: install it, or set limit_segments to false if the network has room"
        )
    elif rules:
        if desired.firewall and way == "kernel":
            _require_balancers(desired, "the firewall lets balancers in only")
        state["filter"] = {ruleset.TABLE: ruleset.table(rules)}
    return Decision(state, way, tuple(warnings))


def _order(address: Address) -> tuple[int, bytes]:
    return address.version, address.packed


def _has_port(entry: Entry) -> bool:
    return entry.encapsulation == "gue"


def _check_addresses(desired: Desired, host: Host) -> None:
    for entry in desired.services:
        if entry.backend not in host.addresses:
            there = listed(sorted(map(str, host.addresses)))
            remedy = f"this server has no such address; it has {there}"
            raise ConfigError(f"services[{entry.vip}].backend", str(entry.backend), remedy)
        interface = host.addresses.get(entry.vip, "lo")
        if interface != "lo":
            remedy = f"{interface} has it and tells the network so; remove it there"
            raise ConfigError("services.address", str(entry.vip), remedy)
        if entry.vip in {other.backend for other in desired.services}:
            raise ConfigError("services.address", str(entry.vip), "it is the server's own address")


def _way(desired: Desired, host: Host) -> tuple[str, list[str]]:
    """Who unpacks, and what is to be said about that. Raises HostError."""
    modules = {MODULES[kind] for kind in needed_kinds(desired.tunnels)}
    if not modules:
        return "", []
    missing = sorted(modules - set(host.modules))
    if desired.decapsulation == "bpf":
        return "bpf", []
    if not missing:
        return "kernel", []
    lacks = f"the kernel has no module {listed(missing)}"
    if desired.decapsulation == "kernel":
        remedy = "install the package of the kernel's other modules, or set it to bpf or auto"
        raise HostError(f"decapsulation: kernel: {lacks}; {remedy}")
    return "bpf", [f"{lacks}, so an XDP program unpacks"]


def _sysctls(desired: Desired, host: Host) -> dict[str, int]:
    if not any(vip.version == 4 for vip in desired.vips):
        return {}
    found = {}
    for name, (value, likewise) in QUIET.items():
        now = host.sysctls.get(name)
        found[name] = now if now in likewise else value
    return found


def _tunnels(desired: Desired) -> dict[Tunnel, Device]:
    inside: dict[Tunnel, set[Address]] = {}
    for entry in desired.tunnels:
        inside.setdefault(Tunnel(_kind(entry), entry.backend), set()).add(entry.vip)
    return {
        tunnel: Device(addresses=frozenset(_lowest(inside[tunnel])))
        for tunnel in sorted(inside, key=lambda one: (one.kind, *_order(one.local)))
    }


def _lowest(vips: Iterable[Address]) -> list[IPv4Address]:
    return sorted(vip for vip in vips if isinstance(vip, IPv4Address))[:1]


def _require_balancers(desired: Desired, why: str) -> None:
    """Raises ConfigError."""
    known = {one.version for one in desired.balancers}
    for entry in desired.tunnels:
        version = entry.backend.version
        if version not in known:
            everyone = "0.0.0.0/0" if isinstance(entry.backend, IPv4Address) else "::/0"
            raise ConfigError(
                "balancers",
                [str(one) for one in desired.balancers],
                f"{why}, so list where their tunnels over IPv{version} come from ({everyone} is "
                "everyone)",
            )


def _programs(desired: Desired, host: Host, name: str) -> dict[str, Unpacker]:
    """Raises ConfigError, or ForeignProgramError."""
    found: dict[str, list[Entry]] = {}
    ports: dict[Address, int] = {}
    for entry in desired.tunnels:
        found.setdefault(desired.interface or host.addresses[entry.backend], []).append(entry)
        if _has_port(entry) and ports.setdefault(entry.backend, entry.gue_port) != entry.gue_port:
            remedy = "the XDP program knows one port for each address; use the kernel's way"
            raise ConfigError("services.gue_port", entry.gue_port, remedy)
    for interface in found:
        if interface == "lo":
            remedy = "give the interface that packets come in by, as the address is on lo"
            raise ConfigError("interface", desired.interface, remedy)
        if interface in host.foreign_programs:
            raise ForeignProgramError(
                f"{interface} carries an XDP program of someone else; remove it, or set "
                "decapsulation to kernel"
            )
    return {
        interface: Unpacker(
            name,
            frozenset(
                (one.backend, ports.get(one.backend, one.gue_port)) for one in found[interface]
            ),
            frozenset(part for one in desired.balancers for part in _without_mapped(one)),
            frozenset(one.vip for one in found[interface]),
        )
        for interface in sorted(found)
    }


def _without_mapped(prefix: Network) -> list[Network]:
    """Without what stands for IPv4 in the program: everyone by IPv6 is nobody by IPv4."""
    if isinstance(prefix, IPv6Network) and prefix.supernet_of(_MAPPED):
        return list(prefix.address_exclude(_MAPPED))
    return [prefix]
