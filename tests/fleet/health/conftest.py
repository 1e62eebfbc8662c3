# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer whose agent checks four servers.

Every test finds all of them healthy, and leaves them so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import pytest

from lab import Lab
from lab.build import LAB
from lab.host import Host
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import changes
from tests.fleet.rig.services import ECHO, VIP, WEB

INTERVAL, TIMEOUT = 0.5, 0.5
PATIENCE = 60.0
BY = {"via": "address", "interval": INTERVAL, "timeout": TIMEOUT}
FLOWS = {
    "name": "flows",
    "address": VIP,
    "port": ECHO,
    "protocol": "tcp",
    "check": {"type": "tcp", **BY},
    "backends": [{"address": address} for address in WEB.values()],
}
"""The echo service; who does not listen any more has no connections either."""
PAGES = {
    **FLOWS,
    "name": "pages",
    "port": 80,
    "check": {"type": "http", "path": "/blob/ready", **BY},
}
"""Web servers that say themselves whether they are ready."""
THROUGH = {
    **FLOWS,
    "name": "through",
    "port": 8080,
    "check": {"type": "http", "interval": INTERVAL, "timeout": TIMEOUT},
}
"""Web servers that are asked for the service's address, through the tunnel."""
SERVICES: list[dict[str, Any]] = [FLOWS, PAGES, THROUGH]
DEPLOYED: dict[str, Any] = {"interface": "eth0", "services": SERVICES}


class Balancer:
    """lb1 and its agent. servers: name -> addresses."""

    def __init__(self, lab: Lab, servers: Mapping[str, Collection[str]]) -> None:
        self.lab, self.host = lab, lab.host("lb1")
        self._names = {address: name for name, all_ in servers.items() for address in all_}

    def all_health(self) -> dict[str, dict[str, str | None]]:
        """Service -> server -> why it is unhealthy; None: it is not."""
        (status,) = json.loads(l4lb(self.host, "status", "--json")).values()
        return {
            name: {self._names.get(key, key): one.get("reason") for key, one in found.items()}
            for name, found in status["health"].items()
        }

    def health(self, service: str) -> dict[str, str | None]:
        """That of one service."""
        return self.all_health()[service]

    def unhealthy(self, service: str) -> set[str]:
        return {name for name, reason in self.health(service).items() if reason}

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.host.log("agent").read_text()
            time.sleep(0.1)

    def until_unhealthy(self, service: str, *servers: str) -> None:
        self.until(lambda: self.unhealthy(service) == set(servers))

    def start_agent(self) -> None:
        self.host.start("agent", ["l4lb", "agent"])
        self.until(lambda: "No agent" not in l4lb(self.host, "status"))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with laboratory("he") as lab:
        for name in WEB:
            server = lab.host(name)
            server.run(["sh", "-ec", "mkdir -p /srv/blob; echo yes >/srv/blob/ready"])
            start_echo(server)
        yield lab


def start_echo(server: Host) -> None:
    server.start("echo", ["python3", str(LAB / "servers/echo.py"), str(ECHO), VIP, server.address])


@pytest.fixture(scope="session")
def deployed(lab: Lab) -> Iterator[Balancer]:
    assert changes(lab, "deploy", **DEPLOYED) == 4
    balancer = Balancer(lab, {name: [address] for name, address in WEB.items()})
    host = balancer.host
    balancer.start_agent()
    yield balancer
    host.stop("agent")
    assert "Traceback" not in host.log("agent").read_text()
    assert changes(lab, "remove", **DEPLOYED) > 0
    assert host.run(["ls", "/run/l4lb"], check=False).returncode, "the agent left something"


@pytest.fixture
def balancer(deployed: Balancer) -> Iterator[Balancer]:
    yield deployed
    for service in SERVICES:
        deployed.until_unhealthy(service["name"])
