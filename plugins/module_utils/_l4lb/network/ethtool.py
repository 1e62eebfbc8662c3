# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What drivers say of themselves (linux/ethtool.h)."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from collections.abc import Sequence

from .rtnetlink import LinkEntry

_SIOCETHTOOL = 0x8946
_NETLINK_GENERIC = 16
_ETHTOOL_GDRVINFO, _ETHTOOL_GFLAGS = 0x3, 0x25
_ETH_FLAG_RXVLAN = 1 << 8
_DRIVER_INFO = struct.Struct("=I32s160x")  # of struct ethtool_drvinfo: command, driver
_VALUE = struct.Struct("=II")  # struct ethtool_value: command, data


def strips_tags(name: str) -> bool:
    """Whether an interface takes VLAN tags off frames before a program sees them."""
    return bool(
        _VALUE.unpack(_ethtool(name, _VALUE.pack(_ETHTOOL_GFLAGS, 0)))[1] & _ETH_FLAG_RXVLAN
    )


def drivers(links: Sequence[LinkEntry]) -> dict[int, str]:
    """Of hardware, by index."""
    found = {}
    for one in links:
        if not one.kind:
            info = _ethtool(one.name, _DRIVER_INFO.pack(_ETHTOOL_GDRVINFO, b""))
            found[one.index] = _DRIVER_INFO.unpack(info)[1].rstrip(b"\0").decode(errors="replace")
    return found


def _ethtool(name: str, command: bytes) -> bytes:
    """What the driver of an interface answers; nothing but zeros if it does not know the question,
    or the interface has gone."""
    answer = array.array("B", command)
    request = struct.pack("16sP", os.fsencode(name), answer.buffer_info()[0])
    # of a family that a unit at boot may use; the kernel takes this by any socket
    family, kind, protocol = socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC
    with socket.socket(family, kind, protocol) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError:
            return bytes(len(command))
    return answer.tobytes()
