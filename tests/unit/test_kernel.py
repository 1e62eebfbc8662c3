# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kernel must have: asked for by function, not by version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf, requirements

OTHERS = ("capture.c", "decap.c", "probe.c")
"""Programs of their own, which need not be there for packets to be balanced."""
SOURCES = [path for path in Path("files/bpf").rglob("*.[ch]") if path.name not in OTHERS]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """What the kernel has not, to add to; its version says nothing."""
    lacks: set[int] = set()
    monkeypatch.setattr("platform.release", lambda: "5.14.0-427.el9.x86_64")
    monkeypatch.setattr(bpf, "is_there", lambda: True)
    monkeypatch.setattr(bpf, "takes_xdp_programs", lambda: 0 not in lacks)
    monkeypatch.setattr(bpf, "has_helper", lambda number: number not in lacks)
    return lacks


def test_all_that_the_program_calls_is_asked_for() -> None:
    called = set()
    for path in SOURCES:
        called |= set(re.findall(r"\b(bpf_\w+)\(", path.read_text()))
    assert called == {*requirements.HELPERS, *requirements.OPTIONAL_HELPERS}


@pytest.mark.usefixtures("running")
def test_an_old_kernel_that_has_all_of_it() -> None:
    assert requirements.lacks() is None


def test_a_kernel_without_what_is_optional(running: set[int]) -> None:
    running.update(requirements.OPTIONAL_HELPERS.values())
    assert requirements.lacks() is None


def test_a_kernel_that_lacks_functions(running: set[int]) -> None:
    running.update({118, 163})
    assert requirements.lacks() == (
        "Linux 5.14.0-427.el9.x86_64 lacks bpf_jiffies64, bpf_check_mtu for XDP programs; boot one "
        "from 5.15 on, or one that your distribution has given these"
    )


def test_a_kernel_without_xdp(running: set[int]) -> None:
    running.add(0)
    assert "takes no XDP programs; boot a kernel" in (requirements.lacks() or "")


def test_a_host_without_libbpf_is_not_asked(
    running: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    running.add(0)
    monkeypatch.setattr(bpf, "is_there", lambda: False)
    assert requirements.lacks() is None


def test_memory_and_cpus_of_this_machine() -> None:
    found = requirements.memory()
    assert (found.available or 0) > 1 << 20 and found.cpus >= 1
