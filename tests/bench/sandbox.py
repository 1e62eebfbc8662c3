# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place where the benchmark is alone: networks, mounts, pins and state of its own, which go
with the process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

MOUNTS = """
mount --make-rprivate /
mount -t sysfs sysfs /sys
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
mkdir /run/etc /run/etc-work /run/usr /run/usr-work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc-work overlay /etc
mount -t overlay -o lowerdir=/usr,upperdir=/run/usr,workdir=/run/usr-work overlay /usr
rm -rf /etc/l4lb /usr/lib/l4lb /usr/sbin/l4lb
"""


def enter() -> None:
    """Leave the host's network and mounts; the process must have one thread. Takes root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")
    for command in MOUNTS.strip().splitlines():
        subprocess.run(command.split(), check=True)
    ip("link set lo up")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run before whatever else wants the CPU, so that it neither takes time nor empties caches."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def ip(command: str) -> None:
    """Run a command of ip(8)."""
    subprocess.run(["ip", *command.split()], check=True)


def await_carrier(interface: str) -> None:
    """Wait until the kernel has taken notice that the other end is up, a second at worst."""
    state = Path(f"/sys/class/net/{interface}/operstate")
    while state.read_text() != "up\n":
        time.sleep(0.01)
