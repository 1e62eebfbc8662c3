# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of interfaces, which are bytes to the kernel, as names of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.pins import (
    decode,
    encode,
    pinned_interfaces,
)


@pytest.mark.parametrize(
    ("interface", "file"),
    [
        (b"eth0", "eth0"),
        (b"veth.100", "veth%2e100"),
        (b"a%b", "a%25b"),
        ("é".encode(), "%c3%a9"),
        (b"\xff", "%ff"),
    ],
)
def test_names(interface: bytes, file: str) -> None:
    name = os.fsdecode(interface)
    assert encode(name) == file
    assert decode(file) == name


def test_what_is_no_name_of_ours(tmp_path: Path) -> None:
    for name in ("a%", "a%zz", "\udcff", "eth0"):
        directory = tmp_path / "l4lb" / name
        directory.mkdir(parents=True)
        (directory / "program").touch()
    os.chmod(tmp_path / "l4lb", 0o700)  # noqa: PTH101
    found = pinned_interfaces(Paths(bpffs=tmp_path))
    assert "eth0" in found
    assert len(found) == 4
