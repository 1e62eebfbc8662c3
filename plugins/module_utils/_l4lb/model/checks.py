# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations that are well written, but cannot be meant.

Whoever sets up a balancer is refused such a one. What was accepted once goes on, with a warning:
since then the host may have got other addresses and routes, or a later version of the collection.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from operator import attrgetter

from ..errors import ConfigError
from .check import COSTS, MOST_OF_A_CORE
from .config import Address, Config, Network, Service

_NOBODYS = (
    ("0.0.0.0/8", "an unspecified address"),
    ("127.0.0.0/8", "a loopback address"),
    ("169.254.0.0/16", "a link-local address"),
    ("224.0.0.0/4", "a multicast address"),
    ("255.255.255.255/32", "the broadcast address"),
    ("::/128", "an unspecified address"),
    ("::1/128", "a loopback address"),
    ("::ffff:0:0/96", "an IPv4-mapped address"),
    ("fe80::/10", "a link-local address"),
    ("ff00::/8", "a multicast address"),
)
_CLASS_E = 240 << 24
"""From here on; the broadcast address is the last of them."""
_RANGES = {
    version: [
        (int(network.network_address), int(network.broadcast_address), what)
        for network, what in ((ip_network(text), what) for text, what in _NOBODYS)
        if network.version == version
    ]
    for version in (4, 6)
}
"""IP version -> first and last of some addresses, as numbers, and what they are."""


@dataclass(frozen=True)
class Host:
    """What a host has that a configuration may contradict."""

    macs: Collection[str]
    """Those of the interface; none where frames have no MAC addresses."""
    addresses: Collection[Address] = frozenset()
    """Those of all interfaces, and those `destinations` that its routes take to the host itself."""
    subnets: Collection[Network] = ()
    """What its interfaces are connected to."""
    routers: Mapping[Address, Address] = field(default_factory=dict)
    """Those `destinations` that are behind a router -> its address."""


@dataclass(frozen=True)
class Findings:
    """What speaks against a configuration."""

    refusals: list[ConfigError]
    """It cannot be meant."""
    warnings: list[str]
    """It may be."""


def check(config: Config, host: Host | None = None) -> Findings:
    """What speaks against `config`, by itself and on its host.

    host: None if nothing is known of it.
    """
    first = _first_services(config)
    ends = _ends(host.subnets) if host else {}
    refusals = [
        *_of_interface(config, host),
        *_of_sources(config, host),
        *_of_macs(config, host),
        *_of_services(config, host, ends),
        *_of_l2(config, host),
        *_of_backends(config, host, ends, first),
        *_of_probes(config, host),
        *_of_rates(config),
    ]
    warnings = [
        *_class_e(config, first),
        *_weights(config),
        *_outages(config),
        *_least_healthy(config),
    ]
    return Findings(refusals, warnings)


def destinations(config: Config) -> set[Address]:
    """The addresses of which `check` wants to know where the host's routes take them."""
    found = {service.address for service in config.services}
    for network in _sources(config).values():
        found |= {network.network_address, network.broadcast_address}
    for service in config.services:
        if service.encapsulation == "l2" and not config.gateway_mac:
            found.update(backend.address for backend in service.backends if not backend.mac)
    return found


# What is refused


def _of_interface(config: Config, host: Host | None) -> Iterator[ConfigError]:
    if config.interface == "lo" or (host and not host.macs):
        yield ConfigError(
            "interface",
            config.interface,
            "has no MAC address, so it is not where clients' packets come in; give the one that is",
        )


def _of_sources(config: Config, host: Host | None) -> Iterator[ConfigError]:
    remedy = "give an address of the host, or leave this option out"
    for option, network in _sources(config).items():
        first, last = network.network_address, network.broadcast_address
        ranges = _RANGES[network.version]
        nobodys = [what for low, high, what in ranges if low <= int(last) and int(first) <= high]
        taken = [service.name for service in config.services if service.address in network]
        if nobodys:
            problem = nobodys[0]
        elif taken:
            problem = f"has the address of {taken[0]}, whose backends take nothing from there"
        elif host is None or {first, last}.issubset(host.addresses):
            continue
        elif first == last:
            problem = "no address of this host, so errors on the way would not come back"
        else:
            problem = "not routed to this host, so errors on the way would not come back"
            remedy = f'run "ip route add local {network} dev lo", {remedy}'
        yield ConfigError(option, config.options()[option], f"{problem}; {remedy}")


def _of_macs(config: Config, host: Host | None) -> Iterator[ConfigError]:
    own = {*config.own_macs, *(host.macs if host else ())}
    problem = "the balancer's own, so packets to backends would come in again"
    if config.gateway_mac in own:
        yield ConfigError("gateway_mac", config.gateway_mac, f"{problem}; give the gateway's")
    for service in config.services:
        for backend in service.backends:
            if backend.mac in own:
                option = f"{_name(service, backend.address)}.mac"
                yield ConfigError(option, backend.mac, f"{problem}; give the next hop's")


def _of_services(
    config: Config, host: Host | None, ends: Mapping[Address, str]
) -> Iterator[ConfigError]:
    own = host.addresses if host and not config.allow_own_address else ()
    for service in config.services:
        address = service.address
        problem = _nobodys(address, ends)
        remedy = "give one that is routed to the balancer"
        if address in own and not problem:
            ports = f"port {service.port}" if service.port else "any port"
            problem = f"this host's own, which would no longer get {service.protocol} to {ports}"
            remedy += ", or set allow_own_address: true if that is meant, as beside keepalived"
        if problem:
            option = f"services[{service.name}].address"
            yield ConfigError(option, str(address), f"{problem}; {remedy}")


def _of_l2(config: Config, host: Host | None) -> Iterator[ConfigError]:
    """Packets are still addressed to the service, so that a router would send them back."""
    gateway = config.gateway_mac
    routers = host.routers if host else {}
    for service in config.services:
        if service.encapsulation != "l2":
            continue
        for backend in service.backends:
            address = backend.address
            if gateway and backend.mac in (None, gateway):
                problem = f"{address} would get its packets from gateway_mac; give it its own mac"
            elif not backend.mac and address in routers:
                problem = f"{address} is behind the router {routers[address]}; give it its own mac"
            else:
                continue
            yield ConfigError(
                f"services[{service.name}].encapsulation",
                service.encapsulation,
                f"{problem} if it is on the balancer's link, else choose another encapsulation",
            )
            break


def _of_backends(
    config: Config,
    host: Host | None,
    ends: Mapping[Address, str],
    first: Mapping[Address, Service],
) -> Iterator[ConfigError]:
    services = {service.address: service.name for service in config.services}
    own = host.addresses if host else ()
    spread = [one for one in _sources(config).values() if one.prefixlen < one.max_prefixlen]
    for address, service in first.items():
        problem, remedy = _nobodys(address, ends), "give the server's own"
        if not problem and address in services:
            problem = f"the address of the service {services[address]}, so packets would come back"
        elif not problem and (address in own or any(address in one for one in spread)):
            problem = "this host's own, and what it balances does not come to itself"
            remedy = "have other hosts balance, or be the backends"
        if problem:
            option = f"{_name(service, address)}.address"
            yield ConfigError(option, str(address), f"{problem}; {remedy}")


def _of_probes(config: Config, host: Host | None) -> Iterator[ConfigError]:
    """Through the tunnel to what the host takes itself."""
    own = host.addresses if host else ()
    for service in config.services:
        if service.check and service.check.via == "tunnel" and service.address in own:
            yield ConfigError(
                f"services[{service.name}].check.via",
                service.check.via,
                f"{service.address} is this host's own, so it would ask itself; use via: address",
            )


def _of_rates(config: Config) -> Iterator[ConfigError]:
    """More checks than one core can do."""
    loads = {
        service.name: (len(service.backends) * COSTS[check.type] / check.interval, check)
        for service in config.services
        if (check := service.check)
    }
    total = sum(load for load, _check in loads.values())
    if total > MOST_OF_A_CORE:
        name = max(loads, key=lambda name: loads[name][0])
        interval = loads[name][1].interval
        longer = math.ceil(interval * total / MOST_OF_A_CORE * 10) / 10
        yield ConfigError(
            f"services[{name}].check.interval",
            interval,
            f"all checks together would take {total:.1f} cores, and have one; give {longer:g}, and "
            "the others in proportion",
        )


# What is warned of


def _class_e(config: Config, first: Mapping[Address, Service]) -> Iterator[str]:
    reserved = "of class E, which many systems drop"
    for service in config.services:
        if _is_class_e(service.address):
            yield f"services[{service.name}].address: {str(service.address)!r}: {reserved}"
    for address, service in first.items():
        if _is_class_e(address):
            yield f"{_name(service, address)}.address: {str(address)!r}: {reserved}"


def _is_class_e(address: Address) -> bool:
    return address.version == 4 and int(address) >= _CLASS_E


def _weights(config: Config) -> Iterator[str]:
    for service in config.services:
        weights = {backend.share for backend in service.backends} - {0}
        if service.scheduler == "jhash" and len(weights) > 1:
            yield (
                f"services[{service.name}].scheduler: 'jhash': ignores weights other than 0; "
                "choose maglev, or leave the weights out"
            )


def _outages(config: Config) -> Iterator[str]:
    for service in config.services:
        if not service.takes_flows:
            yield f"{service.name}: no backend takes new flows; they are dropped"


def _least_healthy(config: Config) -> Iterator[str]:
    """Percentages always fit."""
    for service in config.services:
        count = len(service.backends)
        if service.check and count < service.least_healthy(count):
            yield (
                f"services[{service.name}].min_healthy: {service.min_healthy}: more than its "
                f"{count} backends, so that health never counts; choose less"
            )


# What these ask


def _sources(config: Config) -> dict[str, Network]:
    """Option -> the source addresses of tunnels that it gives."""
    given = {"source_address": config.source_address, "source_address6": config.source_address6}
    return {option: network for option, network in given.items() if network}


def _first_services(config: Config) -> dict[Address, Service]:
    """Backend -> the first service that has it."""
    found: dict[Address, Service] = {}
    for service in reversed(config.services):
        found.update(dict.fromkeys(map(attrgetter("address"), service.backends), service))
    return found


def _name(service: Service, backend: Address) -> str:
    return f"services[{service.name}].backends[{backend}]"


def _nobodys(address: Address, ends: Mapping[Address, str]) -> str | None:
    """What an address is that no host has; None if one may have it."""
    number = int(address)
    for low, high, what in _RANGES[address.version]:
        if low <= number <= high:
            return what
    return ends.get(address)


def _ends(subnets: Collection[Network]) -> dict[Address, str]:
    """The addresses of subnets that no host has, and what they are."""
    found: dict[Address, str] = {}
    for subnet in subnets:
        if subnet.max_prefixlen - subnet.prefixlen < 2:  # all of them may be hosts'
            continue
        found[subnet.network_address] = f"the network address of {subnet}"
        if subnet.version == 4:
            found[subnet.broadcast_address] = f"the broadcast address of {subnet}"
    return found
