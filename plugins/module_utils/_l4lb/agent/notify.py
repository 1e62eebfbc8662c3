# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd is told: sd_notify(3), the protocol of which is a datagram of lines."""

from __future__ import annotations

import contextlib
import os
import socket

_MICROSECONDS = 1e6


def notify(*lines: str) -> None:
    """Tell the service manager, if there is one. Whether it listens makes no difference."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(path)
        sender.send("\n".join(lines).encode())


def watchdog_interval() -> float | None:
    """Seconds after which the manager takes the process for dead; None: it never does."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / _MICROSECONDS
    except (KeyError, ValueError):
        return None
