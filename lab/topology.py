# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a laboratory consists of: the topology file, read and checked."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path
from typing import Any, Union

Address = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]

# Host names are names of directories and of a bridge's ports.
NAME = re.compile(r"[a-z][a-z0-9-]{0,9}")

# Userlands that hosts may have (lab/roots.py), and what the distribution calls them.
ROOTS = {
    "debian-12": "bookworm",
    "debian-12-bare": "bookworm",
    "debian-13": "trixie",
    "debian-13-bare": "trixie",
}


class LabError(Exception):
    """What a laboratory cannot do, in words for the person who asked."""


@dataclasses.dataclass(frozen=True)
class Interface:
    addresses: tuple[Address, ...] = ()
    bridge: bool = False
    flood: bool = True
    mtu: int = 1500
    to: str = ""

    @property
    def mac(self) -> str | None:
        """Locally administered, and the same every time: derived from the first address."""
        return "02:00:" + self.addresses[0].packed[-4:].hex(":") if self.addresses else None


@dataclasses.dataclass(frozen=True)
class Service:
    command: tuple[str, ...]
    ports: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class HostPlan:
    interfaces: dict[str, Interface] = dataclasses.field(default_factory=dict)
    loopback: tuple[Address, ...] = ()
    routes: tuple[str, ...] = ()
    sysctls: dict[str, Any] = dataclasses.field(default_factory=dict)
    bpffs: bool = True
    root: str | None = None
    cpu: int | None = None
    decapsulate: str | None = None
    balancers: tuple[Address, ...] = ()
    gue_port: int = 6080
    services: dict[str, Service] = dataclasses.field(default_factory=dict)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Those of all interfaces."""
        return tuple(a for interface in self.interfaces.values() for a in interface.addresses)


def read(path: Path) -> dict[str, HostPlan]:
    """The hosts of a topology file, in its order."""
    # Here, as decap.py uses this package under a Python that may lack it.
    import yaml

    try:
        plans = yaml.safe_load(path.read_text())["hosts"]
        hosts = {name: _host(name, plan) for name, plan in plans.items()}
        _check(hosts)
    except OSError as e:
        raise LabError(f"cannot read the topology: {e}") from e
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as e:
        raise LabError(f"topology {path}: {e}") from e
    return hosts


def _host(name: str, plan: dict[str, Any]) -> HostPlan:
    if not NAME.fullmatch(name):
        raise ValueError(f"host name {name!r}: {NAME.pattern} is allowed")
    interfaces = {
        key: Interface(**_with_addresses(value, "addresses"))
        for key, value in plan["interfaces"].items()
    }
    services = {
        key: Service(tuple(value["command"]), tuple(value.get("ports", ())))
        for key, value in plan.get("services", {}).items()
    }
    plan = _with_addresses(_with_addresses(plan, "loopback"), "balancers")
    return HostPlan(**{**plan, "interfaces": interfaces, "services": services})


def _with_addresses(plan: dict[str, Any], key: str) -> dict[str, Any]:
    return {**plan, key: tuple(ipaddress.ip_interface(text) for text in plan.get(key, ()))}


def _check(hosts: dict[str, HostPlan]) -> None:
    for name, plan in hosts.items():
        for interface, settings in plan.interfaces.items():
            peer, _slash, end = settings.to.partition("/")
            if settings.to and end not in (hosts[peer].interfaces if peer in hosts else ()):
                raise ValueError(f"{name}/{interface}: there is no {settings.to!r} to connect to")
        if plan.root and plan.root not in ROOTS:
            raise ValueError(f"{name}: there is no root {plan.root!r}, but {', '.join(ROOTS)}")
        if plan.decapsulate and plan.decapsulate not in plan.interfaces:
            raise ValueError(
                f"{name}: there is no interface {plan.decapsulate!r} to decapsulate on"
            )
