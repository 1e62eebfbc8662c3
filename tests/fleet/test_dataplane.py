# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane under real traffic: every encapsulation, path MTU, UDP, and what happens to flows
when routes, neighbours and backends change.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import Lab
from lab.traffic import Download, Frames, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab import Host

CHECKOUT = Path(__file__).resolve().parents[2]
TOPOLOGY = CHECKOUT / "lab/two-ways.yml"

WEBSERVERS = ("web1", "web2", "web3", "web4")
VIPS = {4: "192.0.2.10", 6: "2001:db8:ffff::10"}
BACKENDS = {
    4: {f"web{n}": f"203.0.113.2{n}" for n in range(1, 5)},
    6: {f"web{n}": f"2001:db8:2::2{n}" for n in range(1, 5)},
}
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])

MTU = 1500
ENCAPSULATIONS = ("ipip", "gue", "gre", "l2")
SHIMS = {"ipip": 0, "gue": 8, "gre": 4}
BLOB = 100 << 20
FAILOVER = 2.0  # seconds after which a new next hop is in use
ECHO = 7


def overhead(encapsulation: str, outer: int) -> int:
    """Bytes that an encapsulation adds."""
    return 0 if encapsulation == "l2" else {4: 20, 6: 40}[outer] + SHIMS[encapsulation]


# The balancer.


def service(
    inner: int,
    outer: int,
    encapsulation: str = "ipip",
    port: int = 80,
    protocol: str = "tcp",
    backends: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A service of family `inner`, its backends of family `outer` by name, with their options."""
    chosen = dict.fromkeys(WEBSERVERS, {}) if backends is None else backends
    return {
        "name": f"{protocol} {port} {inner} in {outer} by {encapsulation}",
        "address": VIPS[inner],
        "port": port,
        "protocol": protocol,
        "encapsulation": encapsulation,
        "backends": [{"address": BACKENDS[outer][name], **chosen[name]} for name in chosen],
    }


def udp_service(
    inner: int, outer: int, encapsulation: str = "ipip", **backends: dict[str, Any]
) -> dict[str, Any]:
    """lab/echo.py behind the balancer, on all servers unless some are named."""
    return service(inner, outer, encapsulation, ECHO, "udp", backends or None)


# The library as the module uses it, in a tenth of the time.
LIBRARY = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1] + "/.ansible/collections")
from ansible_collections.xdp.l4lb.plugins.module_utils.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils.facts import facts
from ansible_collections.xdp.l4lb.plugins.module_utils.model import Config

files = pathlib.Path(sys.argv[1], "files/bpf").glob("*.[ch]")
balancer = Balancer("eth0", {file.name: file.read_text() for file in files})
config = json.load(sys.stdin)
if config:
    balancer.apply(Config.parse(config))
live, statistics = balancer.statistics()
json.dump(facts(live.config, live.mode, statistics), sys.stdout)
"""


def library(host: Host, config: dict[str, Any] | None) -> dict[str, Any]:
    command = ["/usr/bin/python3", "-c", LIBRARY, str(CHECKOUT)]
    return dict(json.loads(host.run(command, input=json.dumps(config)).stdout))


class Balancer:
    """lb1, and what it has counted."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = lab.host("lb1")

    def deploy(self, *services: dict[str, Any]) -> None:
        """Apply with Ansible."""
        options = json.dumps({"interface": "eth0", "services": services})
        result = subprocess.run(
            [str(Path(sys.executable).with_name("ansible")), "lb1", "-m", "l4lb", "-a", options],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "ANSIBLE_INVENTORY": str(CHECKOUT / "lab/inventory.yml"),
                "L4LB_LAB": self.lab.name,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def apply(self, *services: dict[str, Any]) -> None:
        """Apply with the library."""
        library(self.host, {"interface": "eth0", "services": services})

    def counters(self) -> dict[str, Any]:
        return library(self.host, None)

    def drops(self) -> dict[str, int]:
        return {reason: count for reason, count in self.counters()["drops"].items() if count}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"p{os.getpid()}")
    lab.up(TOPOLOGY)
    for name in WEBSERVERS:
        files = f"install -d -o www-data /srv/blob && head -c {BLOB} /dev/urandom >/srv/blob/big"
        lab.host(name).run(["sh", "-ec", files])
    lab.host("client").run(["sh", "-ec", f"head -c {BLOB} /dev/urandom >/tmp/big"])
    yield lab
    assert lab.down() == {}


@pytest.fixture(scope="module")
def balancer(lab: Lab) -> Balancer:
    return Balancer(lab)


@pytest.fixture
def client(lab: Lab) -> Host:
    """A client that has not learned any path MTU yet."""
    host = lab.host("client")
    for family in ("-4", "-6"):
        host.run(["ip", family, "route", "flush", "cache"])
    return host


def url(family: int, path: str = "/", port: int = 80) -> str:
    address = f"[{VIPS[6]}]" if family == 6 else VIPS[4]
    return f"http://{address}:{port}{path}"


def ask(client: Host, family: int, port: int = 80, count: int = 80) -> Counter[str]:
    """Who answers so many requests, each a connection of its own."""
    parallel = ["curl", "-sS", "-Z", "--parallel-max", "10", "--max-time", "30"]
    answers = client.run([*parallel, url(family, f"/[1-{count}]", port)]).stdout.split()
    assert len(answers) == count
    return Counter(answers)


def digest(host: Host, file: str) -> str:
    return host.run(["sha256sum", file]).stdout.split()[0]


def await_equal(actual: Callable[[], Any], expected: Callable[[], Any]) -> None:
    """What is still under way arrives."""
    deadline = time.monotonic() + 5
    while (found := actual()) != (wanted := expected()):
        assert time.monotonic() < deadline, (found, wanted)


# HTTP through every encapsulation.

Way = tuple[int, int, str, int]
"""Families of service and backends, encapsulation, port."""


def assert_balances(balancer: Balancer, client: Host, ways: list[Way]) -> None:
    """All servers answer, and the balancer counts exactly what the client sends."""
    before = balancer.counters()
    with Frames(client, "eth0", VIPS.values()) as frames:
        for inner, _, _, port in ways:
            assert set(ask(client, inner, port)) == set(WEBSERVERS)

        def sent() -> dict[str, tuple[int, int]]:
            result = {}
            for inner, outer, encapsulation, port in ways:
                packets, octets = frames.count(VIPS[inner], port)
                octets += packets * overhead(encapsulation, outer)
                name = service(inner, outer, encapsulation, port)["name"]
                result[str(name)] = packets, octets
            return result

        await_equal(lambda: counted(before, balancer.counters()), sent)
    assert balancer.drops() == {}


def counted(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Packets and bytes by service between two samples; those of the backends add up to them."""
    result = {}
    for was, now in zip(before["services"], after["services"]):
        for backend, old in zip(now["backends"], was["backends"]):
            assert backend["packets"] > old["packets"]
        for counter in ("packets", "bytes"):
            assert sum(backend[counter] for backend in now["backends"]) == now[counter]
        result[now["name"]] = now["packets"] - was["packets"], now["bytes"] - was["bytes"]
    return result


def test_all_encapsulations_at_once(balancer: Balancer, client: Host) -> None:
    """One program for all there is, deployed with Ansible."""
    combinations = itertools.product([4, 6], [4, 6], ENCAPSULATIONS)
    ways = [(*combination, port) for port, combination in enumerate(combinations, 8001)]
    balancer.deploy(*(service(*way) for way in ways))
    assert_balances(balancer, client, ways)


@pytest.mark.parametrize("encapsulation", ENCAPSULATIONS)
@FAMILIES
def test_one_encapsulation(
    balancer: Balancer, client: Host, family: int, encapsulation: str
) -> None:
    """Another program each, as it has only what is needed."""
    ways = [(family, 4, encapsulation, 80), (family, 6, encapsulation, 8080)]
    balancer.apply(*(service(*way) for way in ways))
    assert_balances(balancer, client, ways)


@FAMILIES
def test_ping(balancer: Balancer, client: Host, family: int) -> None:
    balancer.apply(service(family, family))
    before = balancer.counters()
    client.run(["ping", "-c3", "-i0.1", "-W2", VIPS[family]])
    after = balancer.counters()
    assert after["answers"]["echo_reply"] - before["answers"]["echo_reply"] == 3
    assert after["services"] == before["services"]
