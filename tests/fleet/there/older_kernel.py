# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Neighbours, on a kernel that lacks the flag for those that it keeps resolved."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import neighbours


def managed_twice(addresses: list[str]) -> list[list[str]]:
    """Which are not resolved, each time."""
    neighbours._NTF_EXT_MANAGED = 0
    wanted = {(socket.if_nametoindex("eth0"), ip_address(text)) for text in addresses}
    found = []
    for _time in range(2):
        neighbours.manage(wanted)
        found.append([str(address) for address in neighbours.unresolved(wanted, 5)])
    neighbours.manage((), wanted)
    return found
