# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much work the verifier has with the program: the kernel refuses what takes too much."""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils import compiler
from ansible_collections.xdp.l4lb.plugins.module_utils.datapath import (
    PROGRAM,
    build_flags,
    join_sources,
)
from ansible_collections.xdp.l4lb.plugins.module_utils.image import Room
from ansible_collections.xdp.l4lb.plugins.module_utils.model import Config

from tests.packet.harness import EVERY_OPTION, EVERYTHING, SOURCES, VIPS, service

LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS: instructions that the kernel follows before it gives up."""
XDP = 6
LOG_STATISTICS = 4


class LoadOptions(ctypes.Structure):
    """The head of struct bpf_prog_load_opts (libbpf 1.x)."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


def one(version: int = 4, **options: Any) -> list[dict[str, Any]]:
    """A single service."""
    return [service(address=VIPS[version], **options)]


BUILDS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    **{
        f"IPv{version} {encapsulation} {scheduler}{' with flow table' if flows else ''}": (
            one(version, encapsulation=encapsulation, scheduler=scheduler, flow_table=flows),
            {},
        )
        for version in (4, 6)
        for encapsulation, scheduler, flows in (
            ("ipip", "jhash", False),
            ("ipip", "maglev", True),
            ("gue", "maglev", True),
            ("l2", "jhash", True),
        )
    },
    "IPv4, every port, by source": (one(4, port=0, affinity="source"), {}),
    "IPv6, every port, by source": (one(6, port=0, affinity="source", flow_table=True), {}),
    "both families": (
        [service("4"), service("6", address=VIPS[6], scheduler="maglev", flow_table=True)],
        {},
    ),
    "everything": (EVERYTHING, EVERY_OPTION),
}


def verify(flags: list[str]) -> dict[str, int]:
    """Have the kernel verify the program again, and tell what it took: its statistics line."""
    compiler.require_tools()
    sources = {path.name: path.read_text() for path in SOURCES.iterdir()}
    loaded = compiler.load(join_sources(sources), flags, PROGRAM)
    code: bytes = loaded._module.dump_func(PROGRAM.encode())
    log = ctypes.create_string_buffer(1 << 20)
    options = LoadOptions(
        sz=ctypes.sizeof(LoadOptions),
        log_level=LOG_STATISTICS,
        log_size=len(log),
        log_buf=ctypes.addressof(log),
    )
    library = ctypes.CDLL("libbpf.so.1")
    count = ctypes.c_size_t(len(code) // 8)
    fd = library.bpf_prog_load(XDP, PROGRAM.encode(), b"GPL", code, count, ctypes.byref(options))
    text = log.value.decode(errors="replace")
    assert fd >= 0, f"not loaded a second time: {text[-2000:]}"
    os.close(fd)
    found = re.search(r"processed (\d+) insns .*total_states (\d+) peak_states (\d+)", text)
    assert found, f"no statistics in the log: {text[-2000:]}"
    names = ("instructions", "total states", "peak states")
    return {"length": len(code) // 8, **dict(zip(names, map(int, found.groups())))}


@pytest.mark.parametrize(("services", "options"), BUILDS.values(), ids=BUILDS)
def test_the_verifier_s_work_is_below_half_of_its_limit(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    services: list[dict[str, Any]],
    options: dict[str, Any],
) -> None:
    request.getfixturevalue("namespace")  # skips where the kernel would refuse anything
    config = Config.parse({"interface": "lo", "services": services, **options})
    statistics = verify(build_flags(config, Room(4096, 64)))
    shown = ", ".join(f"{count} {name}" for name, count in statistics.items())
    with capsys.disabled():
        print(f"\nverifier: {request.node.callspec.id}: {shown}")
    assert statistics["instructions"] < LIMIT / 2
