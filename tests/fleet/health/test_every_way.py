# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that fail behind every encapsulation and pair of families: they get no new flows, and
those of others go on to their last byte."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.build import await_services, start_services
from lab.host import Host
from tests.fleet.health.conftest import PATIENCE, Balancer
from tests.fleet.rig.families import (
    BACKENDS,
    TOPOLOGY,
    VIPS,
    WEBSERVERS,
    ask,
    service,
    url,
)
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import changes

CHECK = {"type": "http", "path": "/blob/ready", "interval": 0.5, "timeout": 0.4, "fall": 2}
WAYS = [*itertools.product([4, 6], [4, 6], ("ipip", "gue", "gre", "l2"))]
SERVICES: list[dict[str, Any]] = [
    {**service(*way, port), "check": CHECK} for port, way in enumerate(WAYS, 8001)
]
DEPLOYED: dict[str, Any] = {"interface": "eth0", "services": SERVICES}
NAMES = {one["name"] for one in SERVICES}
TUNNELLED = {one["name"] for one in SERVICES if one["encapsulation"] != "l2"}
DOWNLOADS = 3
"""Of each service at a time."""
BYTES, RATE = 600_000, 100_000
REFUSED, SILENT, ANSWERED = "connection refused", "timeout after 0.4 s", "HTTP 404"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("hw", TOPOLOGY) as lab:
        for name in WEBSERVERS:
            blob = f"mkdir -p /srv/blob; touch /srv/blob/ready; truncate -s {BYTES} /srv/blob/long"
            lab.host(name).run(["sh", "-ec", blob])
        yield lab


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> Iterator[Balancer]:
    assert changes(lab, "deploy", **DEPLOYED) > 0
    balancer = Balancer(lab, {name: [BACKENDS[4][name], BACKENDS[6][name]] for name in WEBSERVERS})
    balancer.start_agent()
    yield balancer
    balancer.host.stop("agent")
    assert "Traceback" not in balancer.host.log("agent").read_text()


@contextmanager
def killed(server: Host) -> Iterator[None]:
    server.stop("nginx")
    try:
        yield
    finally:
        start_services(server, ["nginx"])
        await_services(server)


@contextmanager
def hanging(server: Host) -> Iterator[None]:
    """The kernel takes connections for it all the same."""
    main = server.running("nginx")
    workers = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    for worker in workers:
        os.kill(int(worker), signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(int(worker), signal.SIGCONT)


@contextmanager
def cut_off(server: Host, lab: Lab) -> Iterator[None]:
    """Its cable is pulled out at the other end."""
    router = lab.host("router")
    router.ip([f"link set {server.name} down"])
    try:
        yield
    finally:
        router.ip([f"link set {server.name} up"])


@contextmanager
def without_addresses(server: Host) -> Iterator[None]:
    """Its own address answers all the while."""
    addresses = [f"{VIPS[4]}/32", f"{VIPS[6]}/128"]
    server.ip([f"address delete {one} dev lo" for one in addresses])
    try:
        yield
    finally:
        server.ip([f"address add {one} dev lo" for one in addresses])


@contextmanager
def not_ready(server: Host) -> Iterator[None]:
    server.run(["rm", "/srv/blob/ready"])
    try:
        yield
    finally:
        server.run(["touch", "/srv/blob/ready"])


class Downloads:
    """Of a client, by every way at once, each slow enough to outlast what is found meanwhile."""

    def __init__(self, client: Host) -> None:
        self._client = client
        self._log = client.log("downloads")
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        told = "%{header_json}%{response_code} %{size_download}\\n"
        urls = [
            url(inner, f"/blob/long?{number}", port)
            for port, (inner, *_others) in enumerate(WAYS, 8001)
            for number in range(DOWNLOADS)
        ]
        command = [
            *("curl", "-sS", "-Z", "--parallel-immediate", "--parallel-max", str(len(urls))),
            *("--limit-rate", str(RATE), "--speed-limit", "1", "--speed-time", "5", "-w", told),
        ]
        targets = [word for one in urls for word in ("-o", "/dev/null", one)]
        client.start("downloads", [*command, *targets])

    def results(self) -> dict[str, list[int]]:
        """Server -> how many bytes of each of its files have arrived, once all have ended."""
        deadline = time.monotonic() + 2 * PATIENCE
        while self._client.running("downloads"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self._client.stop("downloads")
        found: dict[str, list[int]] = {}
        server = ""
        for line in self._log.read_text()[self._begin :].splitlines():
            if line.startswith('"x-server"'):
                server = line.split('"')[3]
            elif line.startswith("}"):
                found.setdefault(server, []).append(int(line.split()[-1]))
        return found


def fetch(client: Host, count: int = 60) -> dict[str, set[str]]:
    """Service -> who answers new connections."""
    ways = zip(SERVICES, enumerate(WAYS, 8001))
    return {
        one["name"]: set(ask(client, inner, port, count)) for one, (port, (inner, *_others)) in ways
    }


# Of other servers each time, for who fails again is watched longer.
FAILURES: dict[str, tuple[str, Callable[..., AbstractContextManager[None]], str]] = {
    "killed": ("web1", killed, REFUSED),
    "hanging": ("web2", hanging, SILENT),
    "cut off": ("web3", cut_off, SILENT),
    "without addresses": ("web4", without_addresses, SILENT),
    "not ready": ("web3", not_ready, ANSWERED),
}


@pytest.mark.parametrize(("name", "failure", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_server_that_fails(
    lab: Lab,
    deployed: Balancer,
    name: str,
    failure: Callable[..., AbstractContextManager[None]],
    reason: str,
) -> None:
    client, server = lab.host("client"), lab.host(name)
    others = {*WEBSERVERS} - {name}
    deployed.until(lambda: unhealthy(deployed) == {})
    downloads = Downloads(client)
    time.sleep(1)  # they have begun
    with failure(server, lab) if failure is cut_off else failure(server):
        deployed.until(lambda: unhealthy(deployed) == {key: {name: reason} for key in NAMES})
        assert fetch(client) == dict.fromkeys(NAMES, others)
        arrived = downloads.results()
        assert sum(map(len, arrived.values())) == len(WAYS) * DOWNLOADS
        for one in WEBSERVERS if reason == ANSWERED else others:
            assert set(arrived[one]) == {BYTES}
    deployed.until(lambda: unhealthy(deployed) == {})
    assert fetch(client) == {key: {*WEBSERVERS} for key in NAMES}


def unhealthy(balancer: Balancer) -> dict[str, dict[str, str]]:
    """Service -> its servers that are, and why; none if it has no such."""
    bad = {
        name: {server: reason for server, reason in found.items() if reason}
        for name, found in balancer.all_health().items()
    }
    return {name: found for name, found in bad.items() if found}


def test_a_tunnel_that_a_server_does_not_unpack(lab: Lab, deployed: Balancer) -> None:
    """Only services with such a tunnel mind. Nothing mends it: this is the last test."""
    lab.host("web2").ip(["link set eth0 xdp off"])
    deployed.until(lambda: unhealthy(deployed) == {key: {"web2": SILENT} for key in TUNNELLED})
    found = fetch(lab.host("client"))
    assert {name for name, servers in found.items() if "web2" in servers} == NAMES - TUNNELLED
