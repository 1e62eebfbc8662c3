# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel must have for the data plane.

Its version does not tell: distributions take features into older kernels. So it is asked, as
"bpftool feature probe" does.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import HostError
from . import bpf
from .headers import Headers, find_headers


def bcc_version() -> str | None:
    """The version of the bcc that this Python would import, without importing it; None if none.

    The module of this name on PyPI is another project; it has no `table.py`.
    """
    spec = find_spec("bcc")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    if not (folder / "table.py").exists():
        return None
    with contextlib.suppress(OSError):
        found = re.search(r"['\"]([^'\"]+)['\"]", (folder / "version.py").read_text())
        if found:
            return found[1]
    return "unknown"


def require_tools() -> Headers:
    """The headers to compile with. Raises HostError if they or bcc are missing."""
    if bcc_version() is None:
        raise HostError(
            f"bcc is not installed for {sys.executable}; install python3-bpfcc (Debian, Ubuntu) "
            "or python3-bcc (Fedora, RHEL). The package bcc of PyPI is something else"
        )
    headers = find_headers()
    if headers is None:
        raise HostError(
            f"no kernel headers in /lib/modules/*/build; install linux-headers-{platform.release()}"
            " or, as XDP uses the stable API only, those of any other kernel"
        )
    return headers


@dataclass(frozen=True)
class Memory:
    """What a table of every CPU has to fit."""

    available: int | None = None
    """Bytes that new maps can have without others being swapped out; None if that is not known."""
    cpus: int = 1
    """That the kernel makes room for."""


def memory() -> Memory:
    """Of the running kernel."""
    available = None
    with contextlib.suppress(OSError):
        found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
        available = int(found[1]) << 10 if found else None
    return Memory(available, bpf.possible_cpus() if bpf.is_there() else os.cpu_count() or 1)


HELPERS = {
    "bpf_map_lookup_elem": 1,
    "bpf_redirect": 23,
    "bpf_csum_diff": 28,
    "bpf_xdp_adjust_head": 44,
    "bpf_xdp_adjust_tail": 65,
    "bpf_fib_lookup": 69,
    "bpf_jiffies64": 118,
    "bpf_check_mtu": 163,
}
"""Functions of the kernel that the program calls (enum bpf_func_id of linux/bpf.h)."""
OPTIONAL_HELPERS = {"bpf_map_lookup_percpu_elem": bpf.MAP_LOOKUP_PERCPU_ELEM}
"""The same, where the program does without."""


def lacks() -> str | None:
    """Why the running kernel will not take the program, and what to do; None: it will.

    A host without libbpf is not asked; that it is missing is told when something changes.
    """
    if not bpf.is_there():
        return None
    if not bpf.takes_xdp_programs():
        return (
            f"Linux {platform.release()} takes no XDP programs; boot a kernel that is built with "
            "CONFIG_BPF_SYSCALL"
        )
    missing = [name for name, number in HELPERS.items() if not bpf.has_helper(number)]
    if not missing:
        return None
    return (
        f"Linux {platform.release()} lacks {', '.join(missing)} for XDP programs; boot one from "
        "5.15 on, or one that your distribution has given these"
    )
