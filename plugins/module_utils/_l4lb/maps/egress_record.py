# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How frames leave by an interface, as the data plane is told."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .layout import pack_mac

_EGRESS_KEY = struct.Struct("=I6s2x")
_EGRESS = struct.Struct("=II8s")
_TAG = struct.Struct("!2H")
MOST_EGRESSES = 4096
MOST_TAGS = 2
EGRESS_KEY_SIZE = _EGRESS_KEY.size
EGRESS_SIZE = _EGRESS.size
Tag = tuple  # (protocol, 0x8100 or 0x88a8, and number, 1 to 4094, of a VLAN)


@dataclass(frozen=True)
class Egress:
    """How frames leave by an interface that a route names.

    target: index of the one that sends them; 0: the balanced one.
    tags: what they get, the outer one first.
    """

    target: int = 0
    tags: tuple[Tag, ...] = ()


EgressKey = tuple  # (index of the interface, MAC address of the next hop; or "", of any other)


def pack_egress(key: EgressKey, egress: Egress) -> tuple[bytes, bytes]:
    """As struct egress_key and struct egress."""
    index, mac = key
    tags = b"".join(_TAG.pack(*tag) for tag in egress.tags)
    return (
        _EGRESS_KEY.pack(index, pack_mac(mac) if mac else bytes(6)),
        _EGRESS.pack(egress.target, len(tags), tags),
    )


def unpack_egress(key: bytes, value: bytes) -> tuple[EgressKey, Egress]:
    """The inverse of `pack_egress`."""
    index, mac = _EGRESS_KEY.unpack(key)
    target, length, tags = _EGRESS.unpack(value)
    found = Egress(target, tuple(_TAG.iter_unpack(tags[:length])))
    return (index, mac.hex(":") if any(mac) else ""), found
