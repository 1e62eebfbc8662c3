# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of balancers, down to the bytes of their maps."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from array import array
from pathlib import Path
from typing import Any
from unittest import mock

import bcc
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import flows
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.program import DataPath
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import Program
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import (
    Array,
    Map,
    PerCpuArray,
    Sums,
    maps_of,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.pins import Pins
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import image
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import link, neighbours

from tests.fleet.there import library, worker
from tests.fleet.there.library import facts


def versions() -> dict[str, list[Any]]:
    """The first two numbers of what the library runs on."""
    return {"python": [*sys.version_info[:2]], "bcc": bcc.__version__.split(".")[:2]}


# What a run may change of a host, and all that packets meet there.


def state() -> dict[str, Any]:
    return {
        "balanced": {name: _balanced(name) for name in ("eth0", "eth1")},
        "pins": {str(path): _pinned(path) for path in sorted(Path("/sys/fs/bpf").glob("l4lb/*/*"))},
        "saved": {str(path): path.read_text() for path in sorted(Path("/etc/l4lb").glob("*"))},
        "there": [name for name in ("/sys/fs/bpf/l4lb", "/etc/l4lb") if Path(name).exists()],
        "next hops": sorted(map(str, neighbours.managed())),
        "forwarding": [
            Path(f"/proc/sys/net/ipv{version}/conf/lo/forwarding").read_text() for version in (4, 6)
        ],
    }


def _balanced(name: str) -> dict[str, Any]:
    live = Balancer(name).live(must_exist=False)
    attached, data_path, manifest = live.link.attached, live.data_path, live.manifest
    found: dict[str, Any] = {"attached": attached and dataclasses.astuple(attached)}
    if data_path:
        found["table"] = (data_path.service_table() or b"").hex()
        found["backends"] = data_path.backends.read().hex()
        found["slots"] = manifest and {
            service.name: array("H", flows.slots(data_path, service, manifest)).tobytes().hex()
            for service in manifest.config.services
        }
    return found


def _pinned(path: Path) -> int:
    pins = Pins(path.parent)
    thing: Program | Map | None = pins.program() if path.name == "program" else pins.map(path.name)
    assert thing
    return thing.id


# Parts of it.


def at_work(interface: str) -> tuple[DataPath, Manifest]:
    live = Balancer(interface).live()
    assert live.data_path and live.manifest
    return live.data_path, live.manifest


def states(interface: str) -> dict[str, str]:
    """State by service and server, with a * if held and the weight if it is not 1."""
    return {
        f"{service.name} {str(one.address)[-1]}": one.state
        + "*" * one.held
        + (f" {one.weight}" if one.weight != 1 else "")
        for service in Balancer(interface).live().config.services
        for one in service.backends
    }


def leftovers(interface: str) -> list[str]:
    """Records of backends that nobody has."""
    data_path, manifest = at_work(interface)
    records = data_path.backends.split(data_path.backends.read())
    return [
        f"backend {number}"
        for number, record in enumerate(records)
        if number not in manifest.backend_numbers and any(record)
    ]


def key_of_the_flows() -> list[Any]:
    """The id of its map, and itself."""
    secret = Pins.of("eth0", Paths()).map("flow_key")
    assert isinstance(secret, Array)
    return [secret.id, (secret.lookup(0) or b"").hex()]


def left_by_packets() -> dict[str, str]:
    """Digests of all that a packet could leave in the maps."""
    data_path, _manifest = at_work("eth0")
    names = ("drops", "answers", "limits", "flow_events", "backend_cpus", "flows")
    return {name: hashlib.sha256(data_path.counters(name).read()).hexdigest() for name in names}


def owner(slot: int) -> int:
    """Number of the backend that has a slot of the only service's lookup table."""
    data_path, manifest = at_work("eth0")
    (service,) = manifest.config.services
    return flows.slots(data_path, service, manifest)[slot]


def rates(seconds: float) -> dict[str, Any]:
    """Facts after a pause, as if it had taken so long."""
    _live, before = library.statistics("eth0")
    worker.pause()
    live, now = library.statistics("eth0")
    return facts(live.config, live.mode, now, before, seconds)


def unpacked() -> list[int]:
    """What decap.c has counted on eth0: packets that were unpacked, were of no balancer, were for
    no VIP."""
    attached = link.read_link("eth0").attached
    program = attached and Program.by_id(attached.program_id)
    assert program
    events = maps_of(program)["events"]
    assert isinstance(events, PerCpuArray)
    sums = Sums(events, 1)
    return [sums(number)[0] for number in range(events.shape.max_entries)]


def drawn(wanted: library.Options) -> tuple[int, list[str]]:
    """How often the records of backends are made in a run that looks again, and what that says."""
    with mock.patch.object(image, "backend_records", wraps=image.backend_records) as made:
        outcome = Balancer("eth0", library.sources()).apply(library.config_of(wanted), verify=True)
    return made.call_count, [*outcome.left]
