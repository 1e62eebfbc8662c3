# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much work the verifier has with the program: the kernel refuses what takes too much."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.build import (
    build_flags,
    machine,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.program import PROGRAM
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.sizes import Room
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

from tests.packet.harness import EVERY_OPTION, EVERYTHING, VIPS, service
from tests.packet.verifier import Build

LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS: instructions that the kernel follows before it gives up."""


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


def test_a_kernel_in_which_no_cpu_reads_what_others_have(namespace: object) -> None:
    """As before Linux 5.19."""
    del namespace
    config = parse_config({"interface": "lo", "services": EVERYTHING, **EVERY_OPTION})
    with mock.patch.object(bpf, "has_helper", return_value=False):
        flags = build_flags(config, Room(4096, 64), machine())
    build = Build.compile(PROGRAM, flags)
    assert "flows" in build.maps and "all_flows" not in build.maps
    assert build.verify()["instructions"] < LIMIT / 2


@pytest.mark.parametrize(("services", "options"), BUILDS.values(), ids=BUILDS)
def test_the_verifier_s_work_is_below_half_of_its_limit(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    services: list[dict[str, Any]],
    options: dict[str, Any],
) -> None:
    request.getfixturevalue("namespace")  # skips where the kernel would refuse anything
    config = parse_config({"interface": "lo", "services": services, **options})
    with mock.patch.object(bpf, "possible_cpus", return_value=4096):
        flags = build_flags(config, Room(4096, 64), machine())
    statistics = Build.compile(PROGRAM, flags).verify()
    shown = ", ".join(f"{count} {name}" for name, count in statistics.items())
    with capsys.disabled():
        print(f"\nverifier: {request.node.callspec.id}: {shown}")
    assert statistics["instructions"] < LIMIT / 2
