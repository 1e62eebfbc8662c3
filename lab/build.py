# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a laboratory is built, step by step."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab import namespace, network
from lab.topology import HostPlan, LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lab.host import Host

LAB = Path(__file__).parent
PATIENCE = 10.0  # seconds for a link to come up, and for a service to listen

# Commands, and the Debian packages that have them.
PACKAGES = {
    "ethtool": "ethtool",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "nsenter": "util-linux",
    "sysctl": "procps",
}


def check_machine(plans: dict[str, HostPlan]) -> None:
    """Find out before anything is built what would stop it."""
    if os.geteuid() != 0:
        raise LabError("a laboratory needs root")
    here = [plan for plan in plans.values() if not plan.root]
    services = (service.command[0] for plan in here for service in plan.services.values())
    needed = {"ethtool", "ip", "nsenter", "sysctl", *services}
    missing = sorted(command for command in needed if not shutil.which(command))
    if missing:
        packages = " ".join(PACKAGES.get(command, command) for command in missing)
        raise LabError(f"missing: {', '.join(missing)}; apt-get install {packages}")


def build(hosts: dict[str, Host]) -> None:
    """Make hosts that exist as directories only, and everything between them."""
    plans = {name: host.plan for name, host in hosts.items()}
    cables = network.cables(plans)
    table = _host_table(plans)
    pinned = namespace.pinned(next(iter(hosts.values())).directory.parent)
    with _programs(hosts, cables) as attach:
        _each(hosts, lambda host: host.create(table, pinned))
        _each(hosts, _sysctls)
        _each(hosts, lambda host: _add_links(host, hosts, cables))
        _each(hosts, lambda host: _start_links(host, cables))
        _each(hosts, lambda host: host.ip(network.addresses_and_routes(host.plan)))
        _each(hosts, start_services)
        attach()
    _each(hosts, _await_links)
    _each(hosts, await_services)


def _each(hosts: dict[str, Host], step: Callable[[Host], None]) -> None:
    """Take a step in every host; they wait for the kernel more than for a processor."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(step, hosts.values()))


def _sysctls(host: Host) -> None:
    bridges = network.BRIDGE_SYSCTLS if Path("/proc/sys/net/bridge").exists() else {}
    settings = {**network.SYSCTLS, **bridges, **host.plan.sysctls}
    host.run(["sysctl", "-q", "-w", *(f"{key}={value}" for key, value in settings.items())])


def _add_links(host: Host, hosts: dict[str, Host], cables: list[network.Cable]) -> None:
    networks = {name: one.network for name, one in hosts.items()}
    pairs = [cable.add(networks) for cable in cables if cable.far == host.name]
    host.ip(network.add_bridges(host.plan) + pairs)


def _start_links(host: Host, cables: list[network.Cable]) -> None:
    """Make veth carry frames as a wire would, and start all links.

    GRO starts the NAPI that delivers what a peer redirects. Checksums and segments
    must be finished by the sender: behind an outer header nobody completes them.
    """
    ports = [cable for cable in cables if cable.far == host.name and cable.bridge]
    links = [*host.plan.interfaces, *(port.end for port in ports)]
    offloads = [f"ethtool -K {link} gro on tx off tso off gso off" for link in links]
    host.run(["sh", "-ec", "\n".join(offloads + _steering(host, links))])
    host.ip(network.start_links(host.plan, ports))


def _steering(host: Host, links: list[str]) -> list[str]:
    """Commands that have one CPU handle what a host receives, and so forwards."""
    if host.plan.cpu is None:
        return []
    return [
        f"echo {1 << host.plan.cpu:x} >/sys/class/net/{link}/queues/rx-0/rps_cpus" for link in links
    ]


def start_services(host: Host, names: Iterable[str] | None = None) -> None:
    """All that run on a host, or some of them."""
    for name in host.plan.services if names is None else names:
        service = host.plan.services[name]
        host.start(name, [word.replace("{lab}", str(LAB)) for word in service.command])


def _await_links(host: Host) -> None:
    """Until the kernel has taken notice of every carrier; it does so after a second at worst."""
    deadline = time.monotonic() + PATIENCE
    while down := [name for name, state in host.links().items() if state == "DOWN"]:
        if time.monotonic() > deadline:
            raise LabError(f"{host.name}: {', '.join(down)} stays down")
        time.sleep(0.02)


def await_services(host: Host) -> None:
    """Until all listen. Raises LabError if one does not."""
    deadline = time.monotonic() + PATIENCE
    for name, service in host.plan.services.items():
        while not all(host.listening(port) for port in service.ports):
            if not host.running(name) or time.monotonic() > deadline:
                log = host.log(name).read_text().strip()
                raise LabError(f"{host.name}: {name} does not listen\n{log}")
            time.sleep(0.02)


def _host_table(plans: dict[str, HostPlan]) -> str:
    """/etc/hosts, so that hosts know each other by name."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for name, plan in plans.items():
        lines += [f"{address.ip} {name}" for address in plan.addresses]
    return "\n".join(lines) + "\n"


def _tunnel_end(host: Host, interface: str) -> dict[str, object]:
    """What decap.py is told of the interface of a server."""
    plan = host.plan
    return {
        "namespace": str(host.network),
        "interface": interface,
        "addresses": [str(address.ip) for address in plan.interfaces[interface].addresses],
        "gue_port": plan.gue_port,
        "balancers": [str(address.network) for address in plan.balancers] or ["::/0"],
        "vips": [str(address.network) for address in plan.loopback],
    }


@contextlib.contextmanager
def _programs(hosts: dict[str, Host], cables: list[network.Cable]) -> Iterator[Callable[[], None]]:
    """Compile decap.c meanwhile, as it takes as long as all the rest; attach it when called.

    Also to the ports of bridges, where it has nothing to take off: what a host sends by XDP_TX
    waits in the port's ring until some other frame comes, unless the port has a program itself
    (veth_xdp_flush in the kernel's drivers/net/veth.c).
    """
    ends: list[dict[str, object]] = [
        {"namespace": str(hosts[cable.far].network), "interface": cable.end}
        for cable in cables
        if cable.bridge
    ]
    ends += [
        _tunnel_end(host, host.plan.decapsulate) for host in hosts.values() if host.plan.decapsulate
    ]
    if not ends:
        yield lambda: None
        return

    # The interpreter that Debian's bcc belongs to, whichever this one is.
    loader = subprocess.Popen(
        ["/usr/bin/python3", str(LAB / "servers/decap.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def attach() -> None:
        output, _errors = loader.communicate(json.dumps(ends))
        if loader.returncode:
            raise LabError(f"no decapsulation:\n{output.strip()}")

    with loader:
        try:
            yield attach
        finally:
            loader.kill()
