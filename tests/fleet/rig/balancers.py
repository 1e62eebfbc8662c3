# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers of hosts: what they are told, and what there is of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from lab.host import Host
from tests.fleet.rig.hosts import python
from tests.fleet.there import library, looking

FOLDERS = ["/run/l4lb", "/sys/fs/bpf/l4lb", "/etc/l4lb"]


def cleaned(host: Host) -> Iterator[Host]:
    """A host without a balancer, which it is afterwards, too."""
    assert traces(host) == []
    yield host
    python(host, library.remove, interfaces=["eth0", "eth1"])
    assert traces(host) == []


# Orders.


def apply(
    host: Host, *wanted: dict[str, Any] | None, replace: bool = False, accepted: bool = False
) -> Any:
    """Apply configurations one after the other in one process; returns the last outcome."""
    return python(host, library.apply, wanted=wanted, replace=replace, accepted=accepted)


def plan(host: Host, wanted: dict[str, Any] | None, interface: str = "eth0") -> Any:
    """What check mode says."""
    name = wanted["interface"] if wanted else interface
    return python(host, library.plan, wanted=wanted, interface=name)


# What there is.


def traces(host: Host) -> list[str]:
    """What a balancer has left on a host."""
    links = json.loads(host.run(["ip", "-json", "link"]).stdout)
    found = [f"XDP on {link['ifname']}" for link in links if link.get("xdp")]
    found += [f"file {name}" for name in host.run(["find", *FOLDERS], check=False).stdout.split()]
    found += host.run(["ip", "neigh", "show", "nud", "all", "proto", "214"]).stdout.splitlines()
    if forwarding(host) != "0":
        found.append("net.ipv4.conf.lo.forwarding")
    return found


def leftovers(host: Host, *interfaces: str) -> list[str]:
    """What is there besides the live state of these interfaces."""
    found: list[str] = host.run(["find", "/run/l4lb"], check=False).stdout.split()
    pins = host.run(["ls", "/sys/fs/bpf/l4lb"]).stdout.split()
    found += [name for name in pins if name not in interfaces]
    for interface in interfaces:
        names = host.run(["ls", f"/sys/fs/bpf/l4lb/{interface}"]).stdout.split()
        found += [name for name in names if "%" in name]
        found += python(host, looking.leftovers, interface=interface)
    return found


def state(host: Host) -> dict[str, Any]:
    """All that a run may change of a host, and what packets meet there."""
    found: dict[str, Any] = python(host, looking.state)
    return found


def program(host: Host, interface: str = "eth0") -> int | None:
    """The id of the XDP program."""
    (link,) = json.loads(host.run(["ip", "-json", "link", "show", interface]).stdout)
    return link["xdp"]["prog"]["id"] if link.get("xdp") else None


def saved(host: Host) -> dict[str, Any]:
    """The desired states on disk, by the name of the file."""
    files = host.run(["find", "/etc/l4lb", "-type", "f", "-printf", "%m %f\n"]).stdout.split()
    found = {}
    for mode, name in zip(files[::2], files[1::2]):
        assert mode == "600"
        raw = json.loads(host.run(["cat", f"/etc/l4lb/{name}"]).stdout)
        assert raw["version"] == 1
        found[name] = raw["config"]
    return found


def hops(host: Host) -> set[str]:
    """The next hops that the kernel keeps resolved."""
    found = host.run(["ip", "neigh", "show", "nud", "all", "proto", "214"]).stdout
    return {line.split()[0] for line in found.splitlines()}


def forwarding(host: Host) -> str:
    """Whether the loopback interface forwards."""
    return host.run(["cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]).stdout.strip()


# Counters.


def counters(host: Host, interface: str = "eth0") -> dict[str, Any]:
    """Facts of a balancer."""
    found: dict[str, Any] = python(host, library.counters, interface=interface)
    return found


def packets(host: Host, interface: str = "eth0") -> dict[str, int]:
    """Packets by service and backend."""
    return {
        f"{one['name']} {backend['address']}": backend["packets"]
        for one in counters(host, interface)["services"]
        for backend in one["backends"]
    }


# What befalls hosts for a while.

BCC, PYROUTE2 = (f"/usr/lib/python3/dist-packages/{name}" for name in ("bcc", "pyroute2"))
HEADERS = "/lib/modules"


@contextlib.contextmanager
def hidden(host: Host, path: str) -> Iterator[None]:
    """A folder that the host has not got for a while."""
    host.run(["mount", "-t", "tmpfs", "none", path])
    try:
        yield
    finally:
        host.run(["umount", path])


@contextlib.contextmanager
def renamed(host: Host, *names: str) -> Iterator[None]:
    """An interface that has other names, one after the other."""
    for old, new in zip(names, names[1:]):
        host.ip([f"link set {old} down", f"link set {old} name {new}", f"link set {new} up"])
    try:
        yield
    finally:
        host.ip([f"link set {names[-1]} down", f"link set {names[-1]} name {names[0]}"])
        host.ip([f"link set {names[0]} up"])
        for address in host.plan.interfaces[names[0]].addresses:
            host.run(["ip", "address", "replace", str(address), "dev", names[0]])
        for route in host.plan.routes:
            host.run(["ip", *(["-6"] if "::" in route else []), "route", "replace", *route.split()])
