# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program is built from, and what it can take over."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import L4lbError
from ..kernel import bpf
from ..kernel.clock import ticks_per_second
from ..kernel.maps import ARRAY, HASH, PERCPU_ARRAY, Array, ArrayOfMaps, Map, Shape, maps_of
from ..kernel.sources import join_sources
from ..maps import backend_record, egress_record, flow_table, layout, sizes
from ..maps.flow_table import FLOW_KEY_SIZE
from ..maps.reasons import ANSWERS, DROPS, FLOW_EVENTS
from ..maps.sizes import Room
from ..model.config import Config, remembers
from .program import PROGRAM, DataPath


def features(config: Config) -> list[str]:
    """The -D flags for what some service uses."""
    found = {"WITH_IPV4", "WITH_MAGLEV", "WITH_IPIP"} if not config.services else set()
    for service in config.services:
        found.add(f"WITH_IPV{service.address.version}")
        found.add(f"WITH_{service.scheduler.upper()}")
        found.add(f"WITH_{service.encapsulation.upper()}")
        if service.port == 0:
            found.add("WITH_ANY_PORT")
        if service.affinity == "source":
            found.add("WITH_BY_SOURCE")
        if remembers(service, config):
            found.add("WITH_FLOW_TABLE")
    for given in (config.source_address, config.source_address6):
        if given is not None and given.prefixlen < given.max_prefixlen:
            found.add("WITH_SPREAD")
    return [f"-D{name}" for name in sorted(found)]


_MOST_CPUS = 128
"""That are asked for a flow; the verifier follows the program through each of them."""
_FIXED_SHAPES = {
    "drops": Shape(PERCPU_ARRAY, 8, len(DROPS) + 1),
    "answers": Shape(PERCPU_ARRAY, 8, len(ANSWERS)),
    "limits": Shape(PERCPU_ARRAY, layout.BUCKET_SIZE, len(ANSWERS)),
    "flow_events": Shape(PERCPU_ARRAY, 8 * len(FLOW_EVENTS), 1),
    "egresses": Shape(
        HASH,
        egress_record.EGRESS_SIZE,
        egress_record.MOST_EGRESSES,
        egress_record.EGRESS_KEY_SIZE,
    ),
}
_PER_BACKEND = {
    "backends": (ARRAY, backend_record.BACKEND_RECORDS_SIZE),
    "backend_cpus": (PERCPU_ARRAY, backend_record.BACKEND_CPU_SIZE),
}
SHARED = frozenset({*_FIXED_SHAPES, *_PER_BACKEND, "lookup_tables"})
"""Maps that hold the state of a program; all, if the program stays."""


def program_text(sources: Mapping[str, str]) -> str:
    """The program's text from the files of files/bpf."""
    if "l4lb.c" not in sources:
        raise L4lbError("the C sources lack l4lb.c; is the collection installed completely?")
    return join_sources(sources, "l4lb.c")


@dataclass(frozen=True)
class Machine:
    """What a program is built for.

    ticks_per_second: of the kernel. cpus: how many a flow is looked for at; 0: at its own alone.
    """

    ticks_per_second: int = 250
    cpus: int = 0


def machine() -> Machine:
    """The running kernel."""
    asks_others = bpf.has_helper(bpf.MAP_LOOKUP_PERCPU_ELEM)
    if not asks_others:
        return Machine(ticks_per_second())
    gap = bpf.first_gap()  # there the kernel would read whatever is in that place
    cpus = bpf.possible_cpus() if gap is None else gap
    return Machine(ticks_per_second(), min(cpus, _MOST_CPUS))


def build_flags(config: Config, room: Room, target: Machine) -> list[str]:
    """The -D flags for a program that serves `config`."""
    flags = [
        f"-DTICKS_PER_SECOND={target.ticks_per_second}",
        f"-DBACKENDS={room.backends}",
        f"-DLOOKUP_TABLES={room.tables}",
        f"-DFLOW_BLOCKS={sizes.flow_blocks(config)}",
        *features(config),
    ]
    if "-DWITH_FLOW_TABLE" in flags and target.cpus:
        flags.append(f"-DCPUS={target.cpus}")
    return flags


def load(
    sources: Mapping[str, str],
    config: Config,
    room: Room | None = None,
    flags: Sequence[str] = (),
) -> DataPath:
    """Compile and load a program that serves `config`. It is not attached, its maps are empty.

    flags: more -D flags; -DPIN_DIR="..." pins its maps there, and uses those that are there.

    Raises HostError or CompileError.
    """
    from ..kernel import compiler  # seldom, as it takes time

    room = room or sizes.room_for(None, config)
    program = compiler.load(
        program_text(sources), [*build_flags(config, room, machine()), *flags], PROGRAM
    )
    made = DataPath(program, maps_of(program))
    if made.flow_key == 0:
        made.of_kind("flow_key", Array).update(0, os.urandom(FLOW_KEY_SIZE))
    if made.flows and "all_flows" in made.maps:
        made.of_kind("all_flows", ArrayOfMaps).set_inner(0, made.flows)
    return made


def reusable_maps(maps: Mapping[str, Map], config: Config, room: Room) -> dict[str, Map]:
    """Those maps of another program that one of this layout and size can use.

    Not the service table: each program has its own, so that a new program brings its new state
    with it and both take effect at once when it is attached.
    """
    shapes = {name: Shape(*shape, room.backends) for name, shape in _PER_BACKEND.items()}
    shapes["lookup_tables"] = Shape(ARRAY, layout.LOOKUP_TABLE_SIZE, room.tables)
    shapes.update(_FIXED_SHAPES)
    shapes["flows"] = Shape(PERCPU_ARRAY, flow_table.FLOW_BLOCK_SIZE, sizes.flow_blocks(config))
    shapes["flow_key"] = Shape(ARRAY, flow_table.FLOW_KEY_SIZE, 1)
    fitting = {
        name: maps[name] for name in shapes if name in maps and maps[name].shape == shapes[name]
    }
    if not {"flows", "flow_key"} <= fitting.keys():  # either is of no use without the other
        fitting.pop("flows", None)
        fitting.pop("flow_key", None)
    return fitting
