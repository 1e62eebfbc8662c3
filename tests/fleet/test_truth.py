# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode tells the truth: what a plan predicts is what an apply does.

A random walk through configurations. At each step the plan is compared with what the kernel holds
before and after: lookup tables slot by slot, and flows packet by packet. A walk runs in a process
with networks, mounts and pins of its own; to repeat one:
PYTHONPATH=.ansible/collections python -m tests.fleet.test_truth SEED
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.live import Live
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.plan import Plan
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import flows as flows_of
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Address,
    Config,
    Service,
    remembers,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import rtnetlink
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from lab.host import CHECKOUT
from tests.bench import sandbox
from tests.fleet.rig.clients import THOROUGH

INTERFACE = "eth0"
GATEWAY, GATEWAY6, GATEWAY_MAC = "203.0.113.1", "2001:db8:a::1", "52:54:00:00:00:fe"
STEPS = 45
NUD_PERMANENT = 0x80
SEEDS = (1, 2) if THOROUGH else (1,)

WHAT_COUNTS = (
    "changed",
    "unchanged",
    "removed",
    "program replaced",
    "slots moved",
    "another hash",
    "flows moved",
)

VIPS = ("192.0.2.10", "192.0.2.11", "2001:db8::10")
BACKENDS = [f"10.0.0.{n}" for n in range(1, 8)] + ["fd00::1", "fd00::2"]


# Configurations by chance.


def random_backend(rng: random.Random, address: str) -> dict[str, Any]:
    return {
        "address": address,
        "weight": rng.choice((1, 1, 1, 2, 5, 0)),
        "state": rng.choice(("enabled", "enabled", "enabled", "drained", "disabled")),
        "mac": rng.choice((None, None, None, "52:54:00:00:00:0b")),
    }


def random_service(rng: random.Random, name: str) -> dict[str, Any]:
    addresses = rng.sample(BACKENDS, rng.randrange(1, len(BACKENDS)))
    return {
        "name": name,
        "address": rng.choice(VIPS),
        "port": rng.choice((0, 80, 80, 443)),
        "protocol": "tcp",
        "scheduler": rng.choice(("maglev", "maglev", "jhash")),
        "affinity": rng.choice(("flow", "flow", "source")),
        "encapsulation": rng.choice(("ipip", "ipip", "gue", "gre", "l2")),
        "flow_table": rng.random() < 0.8,
        "backends": [random_backend(rng, address) for address in addresses],
    }


OPTIONS: dict[str, tuple[Any, ...]] = {
    "mode": ("auto", "auto", "generic", "native"),
    "source_address": (None, None, "198.51.100.1", "198.51.100.16/28"),
    "source_address6": (None, "2001:db8:5::1"),
    "gateway_mac": (None, None, GATEWAY_MAC),
    "flow_table_size": (65536, 65536, 65000, 4096, 0),
    "udp_timeout": (30, 60),
    "gue_port": (6080, 6081),
    "hash_seed": (0, 0, 7),
}


def random_options(rng: random.Random) -> dict[str, Any]:
    services = [random_service(rng, name) for name in rng.sample("abcd", rng.randrange(2, 5))]
    return {
        "interface": INTERFACE,
        **{name: rng.choice(values) for name, values in OPTIONS.items()},
        "services": list({(s["address"], s["port"]): s for s in services}.values()),
    }


def altered(rng: random.Random, options: dict[str, Any]) -> dict[str, Any]:
    """Other options: most often what an operator changes in a day."""
    options = {**options, "services": [dict(service) for service in options["services"]]}
    for _turn in range(rng.choice((1, 1, 2, 4))):
        services = options["services"]
        chance = rng.random()
        if chance < 0.03 or not services:
            options = random_options(rng)
        elif chance < 0.1:
            name = rng.choice(list(OPTIONS))
            options[name] = rng.choice(OPTIONS[name])
        elif chance < 0.17:
            index = rng.randrange(len(services))
            fresh = random_service(rng, services[index]["name"])
            name = rng.choice([name for name in fresh if name not in ("name", "address", "port")])
            services[index][name] = fresh[name]
        elif chance < 0.22 and len(services) > 1:
            one, other = rng.sample(services, 2)
            one["name"], other["name"] = other["name"], one["name"]
        else:
            service = rng.choice(services)
            backends = list(service["backends"])
            if backends and chance < 0.65:
                index = rng.randrange(len(backends))
                backends[index] = random_backend(rng, backends[index]["address"])
            elif backends and chance < 0.8:
                backends.remove(rng.choice(backends))
            else:
                there = {backend["address"] for backend in backends}
                backends += [
                    random_backend(rng, address) for address in BACKENDS[:3] if address not in there
                ]
            service["backends"] = backends
    return options


# The kernel, looked at from outside.


def traces(balancer: Balancer) -> list[Any]:
    """All that a run could leave: pins, files, programs, neighbours, sysctls, and what the maps
    hold that decides about packets."""
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    files = [
        (str(path), path.lstat().st_mtime_ns)
        for folder in ("/sys/fs/bpf", "/etc", "/run")
        for path in sorted(Path(folder).rglob("l4lb*/**/*"))
    ]
    sysctls = [
        Path(f"/proc/sys/net/ipv{version}/conf/lo/forwarding").read_text() for version in (4, 6)
    ]
    known = {
        (entry.index, str(entry.address))
        for entry in rtnetlink.neighbours()
        # the kernel makes and drops others by itself, whenever it likes
        if entry.protocol or entry.state & NUD_PERMANENT
    }
    found: list[Any] = [links, files, sysctls, known]
    live = balancer.live()
    if live.data_path:
        maps = live.data_path.maps
        found += [(name, map_.id) for name, map_ in maps.items()]
        found += [live.data_path.backends.read(), live.manifest]
    return found


@dataclass(frozen=True)
class Kernel:
    """What one service does, at one moment: slot -> backend, and flow -> backend."""

    service: Service
    slots: list[Address | None]
    flows: dict[bytes, str | None]


def look(live: Live) -> dict[tuple[Any, ...], Kernel]:
    """What all services do, by their keys; their flows are established from now on."""
    data_path, manifest = live.data_path, live.manifest
    assert data_path and manifest
    found = {}
    for service in manifest.config.services:
        owners = {number: address for address, number in manifest.numbers[service.name].items()}
        slots = [owners.get(number) for number in flows_of.slots(data_path, service, manifest)]
        flows = {}
        for frame in frames(service):
            for _packet in range(2):  # with a single one no flow is established
                flows[frame] = destination(*data_path.run(frame), service.encapsulation)
        found[service.key] = Kernel(service, slots, flows)
    return found


def frames(service: Service) -> Iterator[bytes]:
    """Packets of flows to a service that no other service has."""
    six = service.address.version == 6
    for number in range(30):
        source = f"2001:db8:c::{number + 1:x}" if six else f"198.51.100.{100 + number}"
        network = (IPv6 if six else IP)(src=source, dst=str(service.address))
        ports = TCP(sport=1024 + number, dport=service.port or 8080, flags="A")
        yield bytes(Ether(src=GATEWAY_MAC, dst="02:00:00:00:00:01") / network / ports)


def destination(verdict: int, frame: bytes, encapsulation: str) -> str | None:
    """Which backend a packet was sent to; None if to none."""
    if verdict not in (3, 4):
        return None
    outer: Packet = Ether(frame).payload
    return "somewhere" if encapsulation == "l2" else str(outer.dst)


# The proof.


class Walk:
    """One balancer, from configuration to configuration."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.balancer = Balancer(INTERFACE, read_sources(CHECKOUT / "files/bpf"))
        self.options = random_options(self.rng)
        self.seen: Counter[str] = Counter()
        self.flow_map = 0
        self.muddled: set[tuple[Any, ...]] = set()
        """Services of which the flow table has flows from an older life."""

    def step(self) -> None:
        """Predict, apply, compare."""
        if self.rng.random() < 0.05:
            self.compare(None)
        self.compare(parse_config(self.options))
        self.options = altered(self.rng, self.options)

    def compare(self, config: Config | None) -> None:
        before = self.balancer.live()
        was = look(before) if before.manifest else {}
        left = traces(self.balancer)
        # much of what chance makes up cannot be meant
        predicted = self.balancer.plan(config, accepted=True)
        now = traces(self.balancer)
        assert now == left, f"check mode left traces: {[p for p in zip(left, now) if p[0] != p[1]]}"

        applied = self.balancer.apply(config, accepted=True).plan
        self.same(predicted, applied)
        again = self.balancer.plan(config, accepted=True)
        assert again.steps == (), "a second run would change something"
        assert again.before == again.after == predicted.after
        after = self.balancer.live()
        if config is None:
            assert not after.manifest and not after.attached
            assert [path for path in Path("/sys/fs/bpf").iterdir() if path.name == "l4lb"] == []
            self.seen["removed"] += 1
            return
        assert after.attached and after.mode
        assert after.config == predicted.desired
        self.seen["changed" if predicted.changed else "unchanged"] += 1
        self.seen["program replaced"] += predicted.load
        self.follow(before, after)
        self.moves(predicted, was, look(after))

    def same(self, predicted: Plan, applied: Plan) -> None:
        for name in ("steps", "moves", "before", "after", "load", "attach", "write"):
            assert getattr(predicted, name) == getattr(applied, name), name

    def follow(self, before: Live, after: Live) -> None:
        """Note of which services the flow table knows just the flows that `look` has sent."""
        assert after.data_path
        flows = after.data_path.maps.get("flows")
        if flows is None or flows.id != self.flow_map:
            self.muddled.clear()
            self.flow_map = flows.id if flows else 0
        old = {service.key: service for service in before.config.services}
        new = {service.key: service for service in after.config.services}
        for key, service in old.items():
            heir = new.get(key)
            if heir is None or remembers(service, before.config) != remembers(heir, after.config):
                self.muddled.add(key)

    def moves(
        self,
        predicted: Plan,
        was: dict[tuple[Any, ...], Kernel],
        now: dict[tuple[Any, ...], Kernel],
    ) -> None:
        """Compare the predicted moves with those that took place."""
        moves = {move.service: move for move in predicted.moves}
        told = " ".join(predicted.steps)
        for key in was.keys() & now.keys():
            old, new = was[key], now[key]
            move = moves.pop(new.service.name, None)
            moved = sum(a != b for a, b in zip(old.slots, new.slots))
            if move is None:
                assert len(old.slots) == len(new.slots) and not moved, "slots move unpredicted"
                continue
            assert f"{new.service.name}: " in told
            assert move.of == len(new.slots)
            if move.slots is None:
                shares = Counter(new.slots)
                same = sum(count * shares[owner] for owner, count in Counter(old.slots).items())
                chance = 1 - same / len(old.slots) / len(new.slots)
                assert move.new_flows_percent == pytest.approx(100 * chance, abs=0.001)
                self.seen["another hash"] += 1
            else:
                assert len(old.slots) == len(new.slots)
                assert move.slots == moved, "other slots move than predicted"
                percent = 100 * moved / move.of
                assert move.new_flows_percent == pytest.approx(percent, abs=0.001)
                self.seen["slots moved"] += bool(moved)
            if move.established_flows is None or key in self.muddled:
                continue
            if "l2" in (old.service.encapsulation, new.service.encapsulation):
                continue
            lost = [
                frame
                for frame, backend in old.flows.items()
                if backend is not None and new.flows[frame] != backend
            ]
            self.seen["flows moved"] += bool(lost)
            assert move.established_flows == len(lost), f"other flows move than {told}"
        assert not moves, "moves of services that are not there"


def main(seed: int) -> None:
    """A walk in a place of its own."""
    sandbox.enter()
    for command in (
        "netns add gateway",
        f"link add {INTERFACE} type veth peer name {INTERFACE} netns gateway",
        f"-n gateway address add {GATEWAY}/24 dev {INTERFACE}",
        f"-n gateway address add {GATEWAY6}/64 dev {INTERFACE} nodad",
        f"-n gateway link set {INTERFACE} address {GATEWAY_MAC} up",
        f"address add 203.0.113.2/24 dev {INTERFACE}",
        f"address add 2001:db8:a::2/64 dev {INTERFACE} nodad",
        f"link set {INTERFACE} address 02:00:00:00:00:01 up",
        f"route add 10.0.0.0/8 via {GATEWAY}",
        f"route add fd00::/16 via {GATEWAY6}",
    ):
        sandbox.ip(command)
    sandbox.await_carrier(INTERFACE)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the flow table is per CPU
    walk = Walk(seed)
    for number in range(STEPS):
        print(f"seed {seed}, step {number}: {walk.options}")
        walk.step()
    print(json.dumps(walk.seen))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plan_tells_what_an_apply_does(seed: int) -> None:
    library = os.pathsep.join([str(CHECKOUT / ".ansible/collections"), str(CHECKOUT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.fleet.test_truth", str(seed)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": library},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-20000:])  # the seed and the configurations
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert [what for what in WHAT_COUNTS if not seen.get(what)] == [], "the walk is too dull"


if __name__ == "__main__":
    main(int(sys.argv[1]))
