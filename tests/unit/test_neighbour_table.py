# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of the kernel's neighbour tables: read, set for good, put back."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import neighbour_table
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.neighbour_table import (
    Limits,
    Settings,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.routing import crowd

SOFT, HARD = (neighbour_table.name(4, limit) for limit in ("soft", "hard"))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A host with the kernel's own limits for IPv4, which does not have IPv6."""
    there = tmp_path / "proc/net/ipv4/neigh/default"
    there.mkdir(parents=True)
    for number, value in enumerate((128, 512, 1024), 1):
        (there / f"gc_thresh{number}").write_text(f"{value}\n")
    return Paths(sysctl=tmp_path / "proc", sysctl_d=tmp_path / "sysctl.d")


def test_limits_are_read_where_they_show(paths: Paths) -> None:
    assert neighbour_table.limits(paths, 4) == Limits(128, 512, 1024)
    assert neighbour_table.limits(paths, 6) is None
    assert SOFT == "net.ipv4.neigh.default.gc_thresh2"


def test_limits_are_set_now_and_at_boot(paths: Paths) -> None:
    """Those that were set before stay: they are another balancer's."""
    neighbour_table.set_limits(paths, {SOFT: 2048})
    neighbour_table.set_limits(paths, {HARD: 4096})
    assert neighbour_table.limits(paths, 4) == Limits(128, 2048, 4096)
    comment, *lines = (neighbour_table.content(paths) or "").splitlines()
    assert comment.startswith("# ")
    assert lines == [f"{SOFT} = 2048", f"{HARD} = 4096"]
    assert [path.name for path in paths.sysctl_d.iterdir()] == ["60-l4lb.conf"]
    neighbour_table.forget_limits(paths)
    assert [*paths.sysctl_d.iterdir()] == []
    assert neighbour_table.limits(paths, 4) == Limits(128, 2048, 4096)


@pytest.mark.parametrize("before", [{}, {SOFT: 600}], ids=["no file", "a file"])
def test_settings_are_put_back(paths: Paths, before: dict[str, int]) -> None:
    if before:
        neighbour_table.set_limits(paths, before)
    then = neighbour_table.limits(paths, 4), neighbour_table.content(paths)
    settings = Settings(paths, {SOFT: 0, HARD: 0})
    neighbour_table.set_limits(paths, {SOFT: 2048, HARD: 4096})
    settings.put_back()
    assert (neighbour_table.limits(paths, 4), neighbour_table.content(paths)) == then


def test_what_cannot_be_set_is_told(paths: Paths) -> None:
    paths.sysctl_d.write_text("in its place")
    with pytest.raises(HostError, match=r"write .*60-l4lb.conf: "):
        neighbour_table.set_limits(paths, {SOFT: 2048})
    assert neighbour_table.limits(paths, 4) == Limits(128, 512, 1024)


@pytest.mark.parametrize("count", [385, 896, 897, 65535])
def test_what_is_enough_is_enough(count: int) -> None:
    found = crowd.judge({4: count}, {4: crowd.enough(count)}, managed=False)
    assert found == crowd.Crowd()
