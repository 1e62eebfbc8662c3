# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clocks that programs have."""

from __future__ import annotations

import time

from .bpf import TICKS, Program


def ticks() -> int:
    """The lower 32 bits of the kernel's tick counter, in which programs tell the time.

    User space cannot read it, so a program that returns it is run.
    """
    return Program.load("l4lb_ticks", TICKS).test_run(bytes(14))[0]


_CLOCK_MONOTONIC_COARSE = 6


def ticks_per_second() -> int:
    """HZ of the running kernel: the coarse clocks advance once per tick."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
