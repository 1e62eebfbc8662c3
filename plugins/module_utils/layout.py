# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The binary layout that the C headers in files/bpf and this library share.

Sizes are asserted in C, names and numbers by tests/unit/test_layout.py. Integers that the packet
carries are in network order; all others are the host's. `VERSION` goes up with every change of
meaning, so that a program never uses maps of another layout.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from .errors import L4lbError

VERSION = 1

SERVICE_BITS = 14
SERVICE_SLOTS = 1 << SERVICE_BITS
SERVICE_PROBES = 64
SERVICE_IDS = 8192
LOOKUP_TABLES = 8192
TABLE_SLOTS = 65537

SERVICE_ADDRESS_ONLY = 1
SERVICE_JHASH = 2
BACKEND_HAS_MAC = 1

GOLDEN_32 = 0x9E3779B1
OUTER_TTL = 64
IPPROTO_IPIP = 4

DROPS = {
    "malformed": "Header lengths contradict each other or the frame. Expected to be 0; look for a "
    "broken sender or a scan.",
    "fragment": "A fragment has no ports to balance by. Expected to be near 0; have clients use "
    "path MTU discovery.",
    "no_backend": "The service has no enabled backend with a weight. Enable one.",
    "no_route": "The host has no route to the backend. Add one, or give the backend a mac.",
    "no_neighbour": "The next hop does not answer ARP. A few at start are normal; else see whether "
    "it is up.",
    "forwarding_off": "net.ipv4.conf.lo.forwarding is 0, so the kernel answers no route lookups. "
    "Expected to be 0; apply the configuration again.",
    "no_headroom": "The driver left no room before the frame for the outer header. Expected to be "
    "0; use mode generic.",
}
"""Why a packet to a service was not forwarded, and what an operator does about it."""

_HEADER = struct.Struct("=4I")
_SERVICE = struct.Struct("=4s12xHBBHHII")
_BACKEND = struct.Struct("=4s12x4s12xII6s6s12x")
COUNTER = struct.Struct("=QQ")
BACKEND_CPU_SIZE = 40
SERVICE_TABLE_SIZE = _HEADER.size + SERVICE_SLOTS * _SERVICE.size
LOOKUP_TABLE_SIZE = 131088
BACKEND_SIZE = _BACKEND.size


@dataclass(frozen=True)
class ServiceHeader:
    """The head of a service table; `manifest` is the id of a map."""

    layout: int
    generation: int
    manifest: int

    @classmethod
    def unpack(cls, table: bytes) -> ServiceHeader:
        """Read the head of a packed service table."""
        return cls(*_HEADER.unpack_from(table)[:3])


@dataclass(frozen=True)
class ServiceEntry:
    """A service as the data plane finds it; port 0 is every port."""

    address: IPv4Address
    port: int
    protocol: int
    id: int = 0
    table: int = 0
    seed: int = 0
    flags: int = 0

    @property
    def slot(self) -> int:
        """Where its search begins in the service table."""
        word = int.from_bytes(self.address.packed, sys.byteorder)
        word ^= _network(self.port) | self.protocol << 16
        return (word * GOLDEN_32 & 0xFFFFFFFF) >> (32 - SERVICE_BITS)

    def pack(self) -> bytes:
        """As struct service."""
        return _SERVICE.pack(
            self.address.packed,
            _network(self.port),
            self.protocol,
            4,
            self.id,
            self.table,
            self.seed,
            self.flags,
        )


def pack_service_table(header: ServiceHeader, entries: Iterable[ServiceEntry]) -> bytes:
    """A struct service_table of `entries`: open addressing, linear probing.

    Raises L4lbError in the unlikely case that the keys crowd beyond SERVICE_PROBES slots.
    """
    slots: list[bytes | None] = [None] * SERVICE_SLOTS
    for entry in entries:
        for probe in range(SERVICE_PROBES):
            place = (entry.slot + probe) % SERVICE_SLOTS
            if slots[place] is None:
                slots[place] = entry.pack()
                break
        else:
            raise L4lbError(f"the service table is too crowded for {entry.address}:{entry.port}")
    empty = bytes(_SERVICE.size)
    head = _HEADER.pack(header.layout, header.generation, header.manifest, 0)
    return head + b"".join(slot or empty for slot in slots)


def pack_backend(
    address: IPv4Address, source: IPv4Address, mac: str | None, source_mac: str
) -> bytes:
    """A struct backend that is reached by IP in IP; without `mac` by the kernel's routing."""
    outer = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        0,
        0,
        0x4000,
        OUTER_TTL,
        IPPROTO_IPIP,
        0,
        source.packed,
        address.packed,
    )
    return _BACKEND.pack(
        address.packed,
        source.packed,
        sum(struct.unpack("=10H", outer)),
        BACKEND_HAS_MAC if mac else 0,
        pack_mac(mac) if mac else bytes(6),
        pack_mac(source_mac) if mac else bytes(6),
    )


def pack_mac(mac: str) -> bytes:
    """The six bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def _network(port: int) -> int:
    """A 16-bit number whose bytes in host order are `port` in network order."""
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
