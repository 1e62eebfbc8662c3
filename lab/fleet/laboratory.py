# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory: how it is set up, and what its hosts say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import Lab, LabError
from lab.build import await_services, start_services
from lab.host import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.host import Host

HERE = Path(__file__).parent
TOPOLOGY = HERE.parent / "topologies/fleet.yml"
WEB = ("192.0.2.10", "2001:db8:ffff::10")
ECHO = ("192.0.2.20", "2001:db8:ffff::20")
METRICS = "127.0.0.1:9942"
PATIENCE = 60.0  # seconds until what shall come to pass must have


class Fleet:
    """Hosts, and a directory with the inventory for everyone to play with."""

    def __init__(self, name: str) -> None:
        self.lab = Lab(name)
        self.directory = CHECKOUT / "build" / name
        self.log = self.directory / "log"

    def host(self, name: str) -> Host:
        """One of them."""
        return self.lab.host(name)

    @property
    def balancers(self) -> list[Host]:
        """All three."""
        return self._named("lb")

    @property
    def servers(self) -> list[Host]:
        """All six."""
        return self._named("web")

    def _named(self, prefix: str) -> list[Host]:
        return [host for name, host in self.lab.hosts.items() if name.startswith(prefix)]

    # Coming and going

    def build(self) -> None:
        """From the beginning every time. Raises LabError."""
        self.clean()
        shutil.copytree(HERE / "demo.d", self.directory)
        self.lab.up(TOPOLOGY)

    def clean(self) -> None:
        """Leave nothing behind."""
        self.lab.down()
        shutil.rmtree(self.directory, ignore_errors=True)

    def deploy(self, book: str = "site.yml", **variables: Any) -> None:
        """Set up backends and balancers, or a part of it. Raises LabError."""
        self.playbook(str(self.directory / book), **variables)

    def start_daemons(self) -> None:
        """On hosts with systemd the roles have done so."""
        for host in self.balancers:
            host.start("agent", ["l4lb", "agent", "--listen", METRICS])
            start_bird(host)

    def start_servers(self) -> None:
        """The web server of each."""
        for host in self.servers:
            start_services(host, ["nginx"])
            await_services(host)

    def playbook(self, book: str, **variables: Any) -> None:
        """Run one, with variables of the roles; what it writes is in the log. Raises LabError."""
        given = json.dumps({f"l4lb_{key}": value for key, value in variables.items()})
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        own = {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        with self.log.open("a") as log:
            done = subprocess.run(
                [program, "-i", str(self.directory / "inventory.yml"), "-e", given, book],
                cwd=CHECKOUT,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode:
            end = "\n".join(self.log.read_text().splitlines()[-30:])
            raise LabError(f"{book}: failed\n{end}\nAll of it: {self.log}")

    # What it is like

    def hops(self, vip: str) -> set[str]:
        """The balancers that the router sends packets for a VIP to."""
        version = "-6" if ":" in vip else "-4"
        words = self.host("router").run(["ip", version, "route", "show", vip]).stdout.split()
        found = {words[at + 1] for at, word in enumerate(words) if word == "via"}
        return {one.name for one in self.balancers if found & {one.address, one.address6}}

    def until_routed(self, *names: str, vips: tuple[str, ...] = WEB + ECHO) -> None:
        """Until the router sends packets for VIPs to these balancers, and to no other."""
        until(lambda: all(self.hops(vip) == {*names} for vip in vips), f"routes to {names}")

    def until_spread(self) -> None:
        """Until it sends them to all balancers, to which all backends are healthy."""
        self.until_routed(*(one.name for one in self.balancers))
        until(lambda: all(map(_all_healthy, self.balancers)), "healthy backends")


def start_bird(host: Host) -> None:
    """BIRD of a balancer, which goes before others: on a machine that is busy, BFD would else lose
    what is there."""
    host.run(["mkdir", "-p", "/run/bird"])
    host.start("bird", ["nice", "-n", "-15", "bird", "-f"])


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it. Raises LabError."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"there are no {what} within {PATIENCE:.0f} s")
        time.sleep(0.02)


def _all_healthy(host: Host) -> bool:
    states = json.loads(host.run(["l4lb", "status", "--json"], check=False).stdout or "{}")
    health = [services for one in states.values() for services in one["health"].values()]
    return bool(health) and not any(
        backend.get("reason") for backends in health for backend in backends.values()
    )
