# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What traffic notices of changes, failures and accidents: nothing that it need not.

TCP connections stay open and are compared byte for byte; UDP datagrams carry numbers. All that
reaches the balancers does so on one CPU, as a flow does on a NIC.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import Host
from lab.traffic import Connections, Stream
from tests.fleet.test_module import WEB, WORKERS, apply, cleaned, counters, program, python, wanted

CHECKOUT = Path(__file__).resolve().parents[2]
VIP, OTHER_VIP = "192.0.2.10", "192.0.2.129"
ECHO = 7
SEED = int(os.environ.get("L4LB_SEED", random.SystemRandom().randrange(1 << 32)))
KEPT, COMING = ("web1", "web2"), ("web3", "web4")
FLOWS = 32
PATIENCE = 0.5  # seconds within which a packet that was sent has been balanced


def topology() -> dict[str, Any]:
    """That of two-ways.yml, with VIPs from 192.0.2.128 on behind lb1's second interface."""
    plan: dict[str, Any] = yaml.safe_load((CHECKOUT / "lab/two-ways.yml").read_text())
    hosts = plan["hosts"]
    hosts["router"]["routes"] += ["192.0.2.128/25 via 203.0.113.2"]
    hosts["bypass"]["routes"] = ["192.0.2.128/25 via 198.51.100.130"]
    for name in WEB:
        hosts[name] = {**hosts[name], "loopback": [*hosts[name]["loopback"], f"{OTHER_VIP}/32"]}
        echo = hosts[name]["services"]["echo"]
        service = {**echo, "command": [*echo["command"], OTHER_VIP]}
        hosts[name]["services"] = {**hosts[name]["services"], "echo": service}
    return plan


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(f"l{os.getpid()}")
    plan = tmp_path_factory.mktemp("lab") / "topology.yml"
    plan.write_text(yaml.safe_dump(topology()))
    lab.up(plan)
    try:
        yield lab
    finally:
        for worker in WORKERS.values():
            worker.communicate("")
        WORKERS.clear()
        left = lab.down()
    assert left == {}


@pytest.fixture
def lb1(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb1"))


# What is balanced.


def echo(
    protocol: str, *backends: str, vip: str = VIP, **options: dict[str, Any] | Any
) -> dict[str, Any]:
    """The echo service; a backend's options by its name."""
    listed = [{"address": WEB[name], **options.pop(name, {})} for name in backends]
    return {
        "name": protocol,
        "address": vip,
        "port": ECHO,
        "protocol": protocol,
        "backends": listed,
        **options,
    }


def echoes(*backends: str, **options: Any) -> list[dict[str, Any]]:
    """Over both protocols."""
    return [echo(protocol, *backends, **options) for protocol in ("tcp", "udp")]


def background(chance: random.Random, count: int) -> dict[str, Any]:
    """A service without traffic, whose backends go on changing."""
    chosen = chance.sample(range(1, 255), count)
    backends = [
        {"address": f"10.9.0.{n}", "mac": "02:00:00:00:00:09", "weight": chance.randrange(256)}
        for n in chosen
    ]
    return {
        "name": "background",
        "address": VIP,
        "port": 9,
        "protocol": "tcp",
        "scheduler": "jhash",
        "backends": backends,
    }


# Traffic, and what became of it.


@dataclass
class Traffic:
    """Both kinds from the client, while changes are made one after the other."""

    connections: Connections
    stream: Stream
    taken: list[tuple[float, float, set[str]]] = field(default_factory=list)
    """Servers that a change took away from their flows, and when it began and ended."""

    def was_taken(self, server: str, first: int, last: int) -> bool:
        """Whether a server was taken away between two numbers of the stream, or just then."""
        earliest, latest = self.stream.times[first], self.stream.times[last] + PATIENCE
        return any(
            server in servers and start <= latest and earliest <= end
            for start, end, servers in self.taken
        )

    def check(self) -> None:
        """Nothing is lost; nobody's server changed but that of a flow whose server was taken."""
        assert [self.stream.lost(flow) for flow in range(FLOWS)] == [[]] * FLOWS
        assert self.stream.duplicates() == 0
        for flow in range(FLOWS):
            answers = sorted(self.stream.answers[flow].items())
            for (number, (was,)), (next_number, (now,)) in zip(answers, answers[1:]):
                moved = f"flow {flow} went from {was} to {now} at {next_number}"
                assert was == now or self.was_taken(was, number, next_number), moved
        gone = set().union(*(servers for _, _, servers in self.taken))
        for number, error in self.connections.broken.items():
            assert self.connections.servers[number] in gone, (number, error)


@contextlib.contextmanager
def traffic(lab: Lab, vip: str = VIP, interval: float = 0.02) -> Iterator[Traffic]:
    """Until the end of the block, after which it is checked."""
    client = lab.host("client")
    with (
        Connections(client, (vip, ECHO), FLOWS) as connections,
        Stream(client, (vip, ECHO), FLOWS, interval) as stream,
    ):
        stream.await_answers()
        result = Traffic(connections, stream)
        yield result
        stream.await_answers()
        connections.await_rounds()
    print(f"{stream.numbers * FLOWS} datagrams, {connections.rounds * FLOWS} texts over TCP")
    result.check()


def assert_all_counted(host: Host, stream: Stream, before: dict[str, Any]) -> None:
    """What the client sent is what the balancer forwarded: no packet to the stream's service is
    missing, and none was dropped."""
    after = counters(host)
    sent = {one["name"]: one["packets"] for one in after["services"]}
    was = {one["name"]: one["packets"] for one in before["services"]}
    assert sent["udp"] - was.get("udp", 0) == stream.numbers * FLOWS
    assert after["drops"] == before["drops"]


# What an apply leaves behind, whatever happened to it.

LEFT = """
live = Balancer(given["interface"]).live()
path, manifest = live.data_path, live.manifest
used = {table.index for table in manifest.tables.values()}
tables = path.maps["lookup_tables"]
result = []
for index in range(64):
    inner = tables.inner(index)
    if inner and index not in used and any(inner.lookup(0)):
        result.append(f"lookup table {index}")
records, size = path.maps["backends"].lookup_all(), path.maps["backends"].shape.value_size
known = {n for numbers in manifest.numbers.values() for n in numbers.values()}
result += [
    f"backend {n}"
    for n in range(path.capacity)
    if n not in known and any(records[n * size:(n + 1) * size])
]
"""


def leftovers(host: Host, *interfaces: str) -> list[str]:
    """What is there besides the live state of these interfaces."""
    found: list[str] = host.run(["find", "/run/l4lb"], check=False).stdout.split()
    pins = host.run(["ls", "/sys/fs/bpf/l4lb"]).stdout.split()
    found += [name for name in pins if name not in interfaces]
    for interface in interfaces:
        names = host.run(["ls", f"/sys/fs/bpf/l4lb/{interface}"]).stdout.split()
        found += [name for name in names if "%" in name]
        found += python(host, LEFT, interface=interface)
    return found


# Many changes.


def random_change(
    chance: random.Random, present: set[str]
) -> tuple[list[dict[str, Any]], set[str], set[str]]:
    """The next services, the servers that these take from flows, and those that are there then."""
    then = set(present)
    for name in COMING:
        if chance.random() < 0.3:
            then ^= {name}
    options: dict[str, Any] = {}
    for name in (*KEPT, *sorted(then)):
        state = chance.choices(["enabled", "drained"], [3, 1])[0]
        # few enough combinations for the library to remember their lookup tables
        options[name] = {"state": state, "weight": chance.choice([0, 1, 5])}
    options["web1"] = {"weight": 1}  # somebody must take new flows
    services = echoes(*KEPT, *sorted(then), **options)
    services.append(background(chance, chance.randrange(20)))
    return services, present - then, then


APPLY_ALL = """
import time
balancer = Balancer("eth0", sources())
result = []
for options in given["configs"]:
    start = time.monotonic()
    outcome = attempt(balancer.apply, config_of(options))
    result.append((start, time.monotonic(), outcome))
"""


def test_a_thousand_changes(lab: Lab, lb1: Host) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    present = set(COMING)
    changes = []
    for _ in range(1000):
        services, taken, present = random_change(chance, present)
        changes.append((wanted(*services), taken))
    apply(lb1, wanted(*echoes(*WEB), background(chance, 1)))
    loaded, before = program(lb1), counters(lb1)
    with traffic(lab) as running:
        done = python(lb1, APPLY_ALL, configs=[config for config, _ in changes])
        for (start, end, outcome), (_, taken) in zip(done, changes):
            assert "error" not in outcome, outcome
            running.taken.append((start, end, taken))
    seconds = [end - start for start, end, _ in done]
    print(f"{sum(seconds):.1f} s, {max(seconds):.3f} s at most for one")
    assert program(lb1) == loaded, "no change of backends brings another program"
    assert_all_counted(lb1, running.stream, before)
    assert leftovers(lb1, "eth0") == []
