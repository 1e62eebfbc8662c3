# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane over both address families, in the laboratory of two ways."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import run
from tests.fleet.there import library

TOPOLOGY = CHECKOUT / "lab/topologies/two-ways.yml"


WEBSERVERS = ("web1", "web2", "web3", "web4")


VIPS = {4: "192.0.2.10", 6: "2001:db8:ffff::10"}


BACKENDS = {
    4: {f"web{n}": f"203.0.113.2{n}" for n in range(1, 5)},
    6: {f"web{n}": f"2001:db8:2::2{n}" for n in range(1, 5)},
}


MTU = 1500


SHIMS = {"ipip": 0, "gue": 8, "gre": 4}


FAILOVER = 2.0  # seconds after which a new next hop is in use


ECHO = 7


Options = dict[str, dict[str, Any]]
"""Of backends, by the server's name."""


ALL: Options = {name: {} for name in WEBSERVERS}


def overhead(encapsulation: str, outer: int) -> int:
    """Bytes that an encapsulation adds."""
    return 0 if encapsulation == "l2" else {4: 20, 6: 40}[outer] + SHIMS[encapsulation]


def service(
    inner: int,
    outer: int,
    encapsulation: str = "ipip",
    port: int = 80,
    protocol: str = "tcp",
    backends: Options | None = None,
) -> dict[str, Any]:
    """A service of family `inner`, its backends of family `outer` by name, with their options."""
    chosen = ALL if backends is None else backends
    return {
        "name": f"{protocol} {port} {inner} in {outer} by {encapsulation}",
        "address": VIPS[inner],
        "port": port,
        "protocol": protocol,
        "encapsulation": encapsulation,
        "backends": [{"address": BACKENDS[outer][name], **chosen[name]} for name in chosen],
    }


def udp_service(family: int, backends: Options | None = None) -> dict[str, Any]:
    """lab/servers/echo.py behind the balancer."""
    return service(family, family, port=ECHO, protocol="udp", backends=backends)


def balance(host: Host, config: dict[str, Any] | None) -> dict[str, Any]:
    """Apply a configuration, if there is one, in a tenth of the time of the module; facts then."""
    return dict(python(host, library.balance, config=config))


class Balancer:
    """lb1, and what it has counted."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = lab.host("lb1")

    def deploy(self, *services: dict[str, Any]) -> None:
        """Apply with Ansible."""
        options = json.dumps({"interface": "eth0", "services": services})
        result = run(self.lab, "lb1", "-m", "l4lb", "-a", options, program="ansible")
        assert result.returncode == 0, result.stdout + result.stderr

    def apply(self, *services: dict[str, Any]) -> None:
        """Apply with the library."""
        balance(self.host, {"interface": "eth0", "services": services})

    def counters(self) -> dict[str, Any]:
        return balance(self.host, None)

    def drops(self) -> dict[str, int]:
        """By reason; they go on from test to test."""
        return dict(self.counters()["drops"])


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


def path_mtu(host: Host, address: str, *arguments: str) -> int:
    """What a host has learned of the way to an address."""
    words = host.run(["ip", "route", "get", address, *arguments]).stdout.split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else MTU
