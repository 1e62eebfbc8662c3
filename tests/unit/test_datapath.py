# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new program takes over from the one before, and what it is compiled for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.build import (
    build_flags,
    machine,
    reusable_maps,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import maps as maps_module
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import (
    ARRAY,
    PERCPU_ARRAY,
    Shape,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import flow_table, layout
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.sizes import Room
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

ROOM = Room(1024, 16)
SERVICE = {
    "name": "web",
    "address": "192.0.2.10",
    "port": 80,
    "protocol": "tcp",
    "backends": [{"address": "10.0.0.1"}],
}


def config(**options: Any) -> Config:
    return parse_config({"interface": "eth0", "services": [SERVICE], **options})


def maps(*without: str, blocks: int = 64) -> dict[str, Any]:
    shapes = {
        "flows": Shape(PERCPU_ARRAY, flow_table.FLOW_BLOCK_SIZE, blocks),
        "flow_key": Shape(ARRAY, 8, 1),
        "lookup_tables": Shape(ARRAY, layout.LOOKUP_TABLE_SIZE, ROOM.tables),
    }
    return {
        name: SimpleNamespace(shape=shape) for name, shape in shapes.items() if name not in without
    }


@pytest.mark.parametrize(
    ("there", "kept"),
    [
        (maps(), {"flows", "flow_key", "lookup_tables"}),
        (maps(blocks=128), {"lookup_tables"}),
        (maps("flow_key"), {"lookup_tables"}),
        (maps("flows"), {"lookup_tables"}),
        (maps("flows", "flow_key"), {"lookup_tables"}),
    ],
    ids=["the same", "of another size", "no key", "no flows", "neither"],
)
def test_flows_and_their_key_stay_together(there: dict[str, Any], kept: set[str]) -> None:
    assert reusable_maps(there, config(), ROOM).keys() == kept


@pytest.mark.parametrize(
    ("lets", "possible", "remembers", "expected"),
    [
        (True, 4, True, ["-DCPUS=4"]),
        (True, 1024, True, ["-DCPUS=128"]),
        (False, 4, True, []),
        (True, 4, False, []),
    ],
)
def test_how_many_cpus_are_asked_for_a_flow(
    monkeypatch: pytest.MonkeyPatch,
    lets: bool,
    possible: int,
    remembers: bool,
    expected: list[str],
) -> None:
    monkeypatch.setattr(bpf, "has_helper", lambda number: lets and number == 195)
    monkeypatch.setattr(bpf, "possible_cpus", lambda: possible)
    flags = build_flags(config(flow_table_size=65536 if remembers else 0), ROOM, machine())
    assert [flag for flag in flags if "CPUS" in flag] == expected


@pytest.mark.parametrize(
    ("text", "numbers", "asked"),
    [
        ("0\n", [0], 1),
        ("0-3\n", [0, 1, 2, 3], 4),
        ("0-3,8-11\n", [0, 1, 2, 3, 8, 9, 10, 11], 4),
        ("0,2", [0, 2], 1),
    ],
)
def test_cpus_may_have_gaps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, numbers: list[int], asked: int
) -> None:
    """Which value is whose; and no CPU is asked that cannot be."""
    possible = tmp_path / "possible"
    possible.write_text(text)
    monkeypatch.setattr(bpf, "_POSSIBLE", possible)
    monkeypatch.setattr(bpf, "has_helper", lambda _number: True)
    monkeypatch.setattr(bpf, "possible_cpus", lambda: len(numbers))
    monkeypatch.setattr(maps_module, "possible_cpus", lambda: len(numbers))
    bpf.cpu_numbers.cache_clear()
    try:
        assert machine().cpus == asked
        array = maps_module.PerCpuArray.__new__(maps_module.PerCpuArray)
        array.fd, array.shape = -1, maps_module.Shape(maps_module.PERCPU_ARRAY, 8, 1)
        element = b"".join(number.to_bytes(8, "little") for number in numbers)
        assert len(element) == array.element_size
        found = {
            cpu: int.from_bytes(value, "little") for cpu, value in array.by_cpu(element).items()
        }
        assert found == {number: number for number in numbers}
    finally:
        bpf.cpu_numbers.cache_clear()


def test_a_host_without_libbpf_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in check mode before anything is installed."""

    def missing() -> None:
        raise HostError("libbpf 1.x is missing")

    monkeypatch.setattr(bpf, "libbpf", missing)
    assert not bpf.has_helper.__wrapped__(bpf.MAP_LOOKUP_PERCPU_ELEM)
