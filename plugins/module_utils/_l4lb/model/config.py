# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model: what a balancer shall do, as frozen dataclasses.

`parse_config` turns what a user wrote (or a JSON file) into the canonical form, or raises one
`ConfigError`; `Config.dump` is its inverse. Everything inside the library may rely on the
canonical form and never asks twice.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Union

from .check import Check
from .options import BACKEND, CONFIG, SERVICE

Address = Union[IPv4Address, IPv6Address]
Network = Union[IPv4Network, IPv6Network]
Announced = Union[Address, IPv6Network]
"""What is announced: a VIP, or an IPv6 prefix that VIPs are in."""
ServiceKey = tuple[Address, int, str]
"""Address, port and protocol."""


@dataclass(frozen=True)
class Backend:
    """A server behind a service."""

    address: Address
    weight: int = BACKEND["weight"].default
    state: str = BACKEND["state"].default
    mac: str | None = None
    mtu: int | None = None
    """Bytes of the longest packet on the way to it, outer headers included, if that is less than
    what interfaces and routes say."""
    backup: bool = BACKEND["backup"].default
    """It takes flows only while no backend can that is none."""
    held: bool = BACKEND["held"].default
    """An operator set this state, which is not enabled; a new configuration does not change it."""
    configured_weight: int | None = None
    """An operator set the weight, which a new configuration does not change; without that it would
    be this."""

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """As plain JSON types; not to be changed."""
        options = {
            "address": str(self.address),
            "weight": self.weight,
            "state": self.state,
            "mac": self.mac,
            "mtu": self.mtu,
        }
        if self.backup:
            options["backup"] = True
        if self.held:
            options["held"] = True
        if self.configured_weight is not None:
            options["configured_weight"] = self.configured_weight
        return options

    @functools.cached_property
    def order(self) -> tuple[int, bytes]:
        """Of its address among others."""
        return self.address.version, self.address.packed

    @property
    def share(self) -> int:
        """The weight that counts for new flows: 0 unless enabled."""
        return self.weight if self.state == "enabled" else 0


@dataclass(frozen=True)
class Service:
    """An address, port and protocol that clients talk to."""

    name: str
    address: Address
    port: int
    protocol: str
    scheduler: str = SERVICE["scheduler"].default
    affinity: str = SERVICE["affinity"].default
    encapsulation: str = SERVICE["encapsulation"].default
    flow_table: bool = SERVICE["flow_table"].default
    check: Check | None = None
    """None: all backends count as healthy."""
    on_unhealthy: str = SERVICE["on_unhealthy"].default
    min_healthy: int | str = SERVICE["min_healthy"].default
    """A number of backends, or a percentage as in "50 %"."""
    slow_start: int = SERVICE["slow_start"].default
    """Seconds over which the share of a backend grows that is healthy again."""
    announce_when: str = SERVICE["announce_when"].default
    backends: tuple[Backend, ...] = ()

    @property
    def key(self) -> ServiceKey:
        """What the data plane knows the service by; unique."""
        return (self.address, self.port, self.protocol)

    @property
    def takes_flows(self) -> bool:
        """Whether any backend takes new flows; else they are dropped."""
        return any(backend.share for backend in self.backends)

    @functools.cached_property
    def places(self) -> dict[Address, int]:
        """Where the backends are among them all."""
        return {backend.address: place for place, backend in enumerate(self.backends)}

    @functools.cached_property
    def candidates(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Places of the backends that could take flows, and of those that do while no other can."""
        could = [place for place, backend in enumerate(self.backends) if backend.share]
        backups = tuple(place for place in could if self.backends[place].backup)
        return tuple(place for place in could if place not in backups), backups

    def least_healthy(self, could: int) -> int:
        """With fewer healthy backends all are used that could take flows, which are so many."""
        if isinstance(self.min_healthy, int):
            return self.min_healthy
        return -(-could * int(self.min_healthy.rstrip(" %")) // 100)

    @property
    def options(self) -> dict[str, Any]:
        """All but the backends, as plain JSON types; those of health only with a check."""
        options = {
            "name": self.name,
            "address": str(self.address),
            "port": self.port,
            "protocol": self.protocol,
            "scheduler": self.scheduler,
            "affinity": self.affinity,
            "encapsulation": self.encapsulation,
            "flow_table": self.flow_table,
        }
        if self.check:
            options["check"] = self.check.options
            options["on_unhealthy"] = self.on_unhealthy
            options["min_healthy"] = self.min_healthy
            options["slow_start"] = self.slow_start
        if self.announce_when != SERVICE["announce_when"].default:
            options["announce_when"] = self.announce_when
        return options


@dataclass(frozen=True)
class Config:
    """The desired state of the balancer on one interface."""

    interface: str
    mode: str = CONFIG["mode"].default
    source_address: IPv4Network | None = None
    """A single address is a network of that one; flows are spread over a larger one."""
    source_address6: IPv6Network | None = None
    gateway_mac: str | None = None
    flow_table_size: int = CONFIG["flow_table_size"].default
    """Flows remembered per CPU."""
    udp_timeout: int = CONFIG["udp_timeout"].default
    """Seconds after which a silent UDP flow is forgotten."""
    gue_port: int = CONFIG["gue_port"].default
    hash_seed: int = CONFIG["hash_seed"].default
    own_macs: tuple[str, ...] = ()
    """MAC addresses whose frames are balanced, besides those that the interface itself has."""
    no_service: str = CONFIG["no_service"].default
    """What becomes of packets to a service's address that no service takes and the host would
    forward."""
    allow_own_address: bool = CONFIG["allow_own_address"].default
    """Whether a service may have an address of this host."""
    echo_rate: int = CONFIG["echo_rate"].default
    """Pings of services that a CPU answers a second at the most."""
    too_big_rate: int = CONFIG["too_big_rate"].default
    """Packets that do not fit and that a CPU answers a second at the most."""
    manage_sysctls: bool = CONFIG["manage_sysctls"].default
    """Whether sysctls are raised that are too low for the configuration."""
    announce: bool = CONFIG["announce"].default
    """Whether VIPs are announced while they are served."""
    announce_timeout: int = CONFIG["announce_timeout"].default
    """Seconds that a VIP waits for the first checks of its backends, before it is announced."""
    announce_prefix_length6: int = CONFIG["announce_prefix_length6"].default
    """How many bits of IPv6 VIPs are announced."""
    services: tuple[Service, ...] = field(default=())

    def announced_as(self, vip: Address) -> Announced:
        """What is announced for a VIP."""
        length = self.announce_prefix_length6
        if vip.version == 4 or length == vip.max_prefixlen:
            return vip
        return IPv6Network((vip, length), strict=False)

    @property
    def sources(self) -> dict[int, Address]:
        """IP version -> where tunnels come from, as far as it is given: of a prefix the first
        address, which routing is asked with."""
        given = (self.source_address, self.source_address6)
        return {network.version: network.network_address for network in given if network}

    @property
    def gives_macs(self) -> bool:
        """Whether it says of any backend where frames go, which routing finds else."""
        backends = (backend for service in self.services for backend in service.backends)
        return bool(self.gateway_mac) or any(backend.mac for backend in backends)

    @property
    def wastes_seed(self) -> bool:
        """Whether a seed is given that nothing depends on."""
        schedulers = {service.scheduler for service in self.services}
        return bool(self.hash_seed) and schedulers == {"jhash"}

    def options(self, shown: bool = False) -> dict[str, Any]:
        """All but the services, as plain JSON types.

        shown: to people, who see that there is a secret and whether it is another, but not which.
        """
        return {
            "interface": self.interface,
            "mode": self.mode,
            "source_address": _text(self.source_address),
            "source_address6": _text(self.source_address6),
            "gateway_mac": self.gateway_mac,
            "flow_table_size": self.flow_table_size,
            "udp_timeout": self.udp_timeout,
            "gue_port": self.gue_port,
            "hash_seed": shown_seed(self.hash_seed) if shown else self.hash_seed,
            "own_macs": [*self.own_macs],
            "no_service": self.no_service,
            "allow_own_address": self.allow_own_address,
            "echo_rate": self.echo_rate,
            "too_big_rate": self.too_big_rate,
            "manage_sysctls": self.manage_sysctls,
            "announce": self.announce,
            "announce_timeout": self.announce_timeout,
            "announce_prefix_length6": self.announce_prefix_length6,
        }

    def dump(self, shown: bool = False) -> dict[str, Any]:
        """This state as plain JSON types; `parse_config` reads it back.

        shown: to people, as of `options`; that cannot be read back.
        """
        return {
            **self.options(shown),
            "services": [
                {**service.options, "backends": [one.options for one in service.backends]}
                for service in self.services
            ],
        }


def shown_seed(seed: int) -> int | str:
    """A seed as people may see it: with 16 bits of a digest, by which two can be compared."""
    if not seed:
        return 0
    digest = hashlib.sha256(b"hash_seed" + seed.to_bytes(8, "big")).hexdigest()
    return f"set ({digest[:4]})"


def _text(network: Network | None) -> str | None:
    if network is None:
        return None
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def remembers(service: Service, config: Config) -> bool:
    """Whether the service uses the flow table."""
    return service.flow_table and config.flow_table_size > 0
