# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic of a client that knows what became of it."""

from __future__ import annotations

import socket

PATIENCE = 10.0  # seconds until what shall come must have come


def family(address: tuple[str, int]) -> socket.AddressFamily:
    """Of the socket that talks to an address and port."""
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
