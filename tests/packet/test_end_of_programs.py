# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bcc loads ends with the program, not with the process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils import compiler
from ansible_collections.xdp.l4lb.plugins.module_utils.errors import CompileError

LOADS = 100
TEXT = """
BPF_TABLE("array", __u32, __u64, short_lived, 1);

int passes(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *value = short_lived.lookup(&zero);

	return value && *value ? XDP_DROP : XDP_PASS;
}
"""
REFUSED = TEXT.replace("value && *value", "*(__u8 *)(long)ctx->data")


def held() -> tuple[int, int]:
    """Descriptors of this process; maps of that name in the kernel."""
    maps = subprocess.run(["bpftool", "map"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return len(list(Path("/proc/self/fd").iterdir())), maps.count(" name short_lived ")


def test_what_is_loaded_ends() -> None:
    compiler.load(TEXT, [], "passes")
    before = held()
    for _load in range(LOADS):
        assert compiler.load(TEXT, [], "passes").test_run(bytes(14))[0] == 2
    assert held() == before == (before[0], 0)


def test_what_is_refused_ends() -> None:
    before = held()
    for _load in range(3):
        with pytest.raises(CompileError):
            compiler.load(REFUSED, [], "passes")
    assert held() == before
