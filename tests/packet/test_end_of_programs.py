# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bcc loads ends with the program, not with the process."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import CompileError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import compiler

LOADS = 100
PATIENCE = 60.0  # seconds
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


def descriptors() -> int:
    """Of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def await_end() -> None:
    """Until the kernel has no map of the programs, which it frees when no CPU may be using it."""
    deadline = time.monotonic() + PATIENCE
    while "name short_lived " in subprocess.check_output(["bpftool", "map"], text=True):
        assert time.monotonic() < deadline, "the kernel still has maps"
        time.sleep(0.1)


def test_what_is_loaded_ends() -> None:
    compiler.load(TEXT, [], "passes")
    before = descriptors()
    for _load in range(LOADS):
        assert compiler.load(TEXT, [], "passes").test_run(bytes(14))[0] == 2
    assert descriptors() == before
    await_end()


def test_what_is_refused_ends() -> None:
    before = descriptors()
    for _load in range(3):
        with pytest.raises(CompileError):
            compiler.load(REFUSED, [], "passes")
    assert descriptors() == before
    await_end()
