# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The binary layout that the C headers in files/bpf and this library share.

Sizes are asserted in C, names and numbers by tests/unit/test_layout.py. Integers that the packet
carries are in network order; all others are the host's. `VERSION` goes up with every change of
meaning, so that a program never uses maps of another layout.
"""

from __future__ import annotations

import sys

from ..model.config import Address

VERSION = 6
SERVICE_IDS = 8192
TABLE_SLOTS = 65537
BUCKET_SIZE = 16
LOOKUP_TABLE_SIZE = 2 * TABLE_SLOTS


def pack_address(address: Address) -> bytes:
    """As struct address: 16 bytes, IPv4 in the first four."""
    return address.packed.ljust(16, b"\0")


def pack_mac(mac: str) -> bytes:
    """The six bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def big_endian(port: int) -> int:
    """A 16-bit number whose bytes in host order are `port` in network order."""
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
