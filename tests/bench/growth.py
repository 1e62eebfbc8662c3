# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What compiling, loading, changing and remembering take, and how that grows with what is
configured. Times are of the library, in ms; memory is the kernel's, in KiB, as it accounts for
maps itself (memlock in /proc/PID/fdinfo, exact from Linux 6.4 on)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import build
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import possible_cpus
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import Map
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import backend_record
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

from tests.bench.cases import BACKEND6, VIP6, services, stateless
from tests.bench.control import INTERFACE, UnexpectedError, options
from tests.bench.subjects import sources

SIZES = [
    (1, 1),
    (1, 10),
    (1, 100),
    (1, 1000),
    (1, 10000),
    (10, 1),
    (10, 10),
    (10, 100),
    (10, 1000),
    (64, 512),
    (100, 1),
    (100, 10),
    (100, 100),
    (1000, 1),
    (1000, 10),
]
"""Services, and backends of each. The services share their servers, as ports of a site do."""

FLOW_TABLES = [0, 1024, 65536, 262144, 1048576]


@dataclass(frozen=True)
class Build:
    """Making a program."""

    name: str
    compile_ms: float
    """Clang, and making its maps."""
    load_ms: float
    """The verifier and the kernel's compiler."""
    instructions: int


@dataclass(frozen=True)
class Size:
    """A balancer of this size, with the default flow table."""

    name: str
    services: int
    backends: int
    first_ms: float
    """Until packets are balanced, compiling and loading included."""
    replace_ms: float
    """Replacing one backend of one service."""
    unchanged_ms: float
    """Finding that nothing is to be done."""
    remove_ms: float
    services_kib: float
    """The service table, whatever is in it."""
    lookup_tables_kib: float
    backends_kib: float
    """Their records and counters, on all CPUs."""
    flow_table_kib: float
    """On all CPUs."""
    other_kib: float


@dataclass(frozen=True)
class FlowTable:
    """A flow table of this many flows for each CPU."""

    name: str
    flows: int
    cpus: int
    kib: float
    """On all CPUs."""


def builds() -> Iterator[tuple[str, Callable[[int], Build]]]:
    """Programs from the smallest to one with every feature, and how to make them so many times."""
    everything = [
        {**one, "name": f"{encapsulation} {scheduler} {one['address']}"}
        for number, encapsulation in enumerate(backend_record.BACKEND_ENCAPSULATIONS)
        for scheduler in [("maglev", "jhash")[number % 2]]
        for one in (
            *services(1, 1, port=number, encapsulation=encapsulation, scheduler=scheduler),
            *services(1, 1, VIP6, BACKEND6, port=number, encapsulation=encapsulation),
        )
    ]
    everything[0]["affinity"] = "source"
    spread = {"source_address": "192.0.2.0/24", "source_address6": "2001:db8::/64"}
    for name, given, more in (
        ("one stateless service, IPv4 in IPv4", stateless(), {}),
        ("one service, IPv4 in IPv4", services(), {}),
        ("every feature at once", everything, spread),
    ):
        yield f"build: {name}", functools.partial(_build, name, {**options(given), **more})


def sizes() -> Iterator[tuple[str, Callable[[int], Size]]]:
    """Balancers of all sizes."""
    for count, backends in SIZES:
        name = f"size: {count} x {backends} backends"
        yield name, functools.partial(_grow, name, count, backends)


def flow_tables() -> Iterator[tuple[str, Callable[[int], FlowTable]]]:
    """Flow tables of all sizes."""
    for flows in FLOW_TABLES:
        name = f"flow table: {flows}"
        yield name, functools.partial(_remember, name, flows)


def _build(name: str, given: Mapping[str, Any], times: int) -> Build:
    from bcc import BPF

    config = parse_config(given)
    load_func = BPF.load_func
    compiling, loading = [], []

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        function = load_func(*arguments)
        loading.append(_since(start))
        return function

    with mock.patch.object(BPF, "load_func", timed):
        for _turn in range(times):
            start = time.perf_counter()
            data_path = build.load(sources(), config)
            compiling.append(_since(start) - loading[-1])
    return Build(name, median(compiling), median(loading), data_path.program.instructions)


def _grow(name: str, count: int, backends: int, times: int) -> Size:
    given = services(count, backends)
    config = parse_config(options(given))
    spare = {"address": "10.255.255.1"}
    given[0]["backends"] = [*given[0]["backends"][:-1], spare]
    either = [config, parse_config(options(given))]
    balancer = Balancer(INTERFACE, sources())

    def taken(desired: Config | None, *, changes: bool = True, loads: bool = False) -> float:
        start = time.perf_counter()
        outcome = balancer.apply(desired)
        time_taken = _since(start)
        if outcome.plan.changed is not changes or outcome.plan.load is not loads:
            raise UnexpectedError(f"{name}: did {outcome.plan.steps}")
        return time_taken

    try:
        first = taken(config, loads=True)
        memory = _memory(balancer)
        replaced = [taken(either[turn % 2]) for turn in range(1, times + 1)]
        unchanged = [taken(either[times % 2], changes=False) for _turn in range(times)]
        removed = taken(None)
    except BaseException:
        balancer.apply(None)
        raise
    return Size(
        name, count, backends, first, median(replaced), median(unchanged), removed, **memory
    )


def _memory(balancer: Balancer) -> dict[str, float]:
    live = balancer.live()
    if live.data_path is None:
        raise UnexpectedError("the balancer is not there")
    maps = dict(live.data_path.maps)
    if live.data_path.manifest_map:
        maps["manifest"] = live.data_path.manifest_map
    parts: dict[str, Iterable[Map | None]] = {
        "services_kib": [maps.pop("services"), live.data_path.services.inner(0)],
        "lookup_tables_kib": [maps.pop("lookup_tables")],
        "backends_kib": [maps.pop("backends"), maps.pop("backend_cpus")],
        "flow_table_kib": [maps.pop("flows")],
        "other_kib": maps.values(),
    }
    return {name: _kib(found) for name, found in parts.items()}


def _remember(name: str, flows: int, times: int) -> FlowTable:
    del times
    given = {**options(services(1, 1)), "flow_table_size": flows}
    maps = build.load(sources(), parse_config(given)).maps
    return FlowTable(name, flows, possible_cpus(), _kib([maps.get("flows")]))


def _kib(maps: Iterable[Map | None]) -> float:
    """What the kernel says that maps take, in KiB."""
    total = 0
    for map_ in maps:
        if map_:
            text = Path(f"/proc/self/fdinfo/{map_.fd}").read_text(encoding="ascii")
            lines = dict(line.split(":", 1) for line in text.splitlines())
            total += int(lines["memlock"])
    return total / 1024


def _since(start: float) -> float:
    """In ms."""
    return (time.perf_counter() - start) * 1000
