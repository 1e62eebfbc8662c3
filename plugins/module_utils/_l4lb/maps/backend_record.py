# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of backends: how packets travel to them, and how many did."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ..model.config import Address, Network
from .layout import big_endian, pack_address, pack_mac

BACKEND_HAS_NEXTHOP = 1
BACKEND_IPV6 = 2
BACKEND_KEEPS_FLOWS = 4
BACKEND_TAKES_FLOWS = 8
BACKEND_ENCAPSULATIONS = {"ipip": 16, "gue": 32, "gre": 64, "l2": 128}
OUTER_TTL = 64
IPPROTO_UDP = 17
IPPROTO_GRE = 47
_BACKEND = struct.Struct("=16s16s4sH26s")  # the last is _ROUTE
_ROUTE = struct.Struct("=HHH6s6sHBB4x")
_HALVES = struct.Struct("=2H")
_FLAGS = struct.Struct("=H")
COUNTER = struct.Struct("=QQ")
BACKEND_CPU_SIZE = 56
_NEXT_HOP = struct.Struct("=28xH2xI20x")
BACKEND_SIZE = _BACKEND.size
BACKEND_RECORDS_SIZE = 2 * BACKEND_SIZE


@dataclass(frozen=True)
class BackendRecord:
    """How packets travel to a backend of a service.

    source: outer source address, or the prefix that flows are spread over; of the backend's family.
    inner_version: IP version of the service.
    keeps_flows, takes_flows: whether it gets packets of flows that it has, and new flows.
    mac, source_mac: next hop, if it is given, else routing finds it.
    mtu: the longest packet on the way, outer headers included; 0 if the interface alone says that.
    """

    address: Address
    source: Network
    encapsulation: str
    service: int
    inner_version: int
    keeps_flows: bool = True
    takes_flows: bool = True
    gue_port: int = 0
    mac: str | None = None
    source_mac: str = "00:00:00:00:00:00"
    mtu: int = 0

    def pack(self) -> bytes:
        """As struct backend."""
        return self.packer()(self.address)

    def packer(self) -> Callable[[Address], bytes]:
        """Packs records that differ from this one in the address only, of the same family."""
        flags = BACKEND_ENCAPSULATIONS[self.encapsulation]
        flags |= BACKEND_HAS_NEXTHOP if self.mac else 0
        flags |= BACKEND_IPV6 if self.address.version == 6 else 0
        flags |= BACKEND_KEEPS_FLOWS if self.keeps_flows else 0
        flags |= BACKEND_TAKES_FLOWS if self.takes_flows else 0
        inner = 4 if self.inner_version == 4 else 41
        protocol = {"gue": IPPROTO_UDP, "gre": IPPROTO_GRE}.get(self.encapsulation, inner)
        source = self.source.network_address
        spread = self.source.hostmask.packed[-4:]
        packed_source = pack_address(source)
        route = _ROUTE.pack(
            flags,
            self.service,
            big_endian(self.gue_port) if self.encapsulation == "gue" else 0,
            pack_mac(self.mac) if self.mac else bytes(6),
            pack_mac(self.source_mac) if self.mac else bytes(6),
            min(self.mtu, 65535),
            protocol,
            self.overhead,
        )
        if self.address.version == 6:
            return lambda address: _BACKEND.pack(address.packed, packed_source, spread, 0, route)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0x4000, OUTER_TTL, protocol, 0)
        same = sum(struct.unpack("=8H", header + source.packed))

        def pack(address: Address) -> bytes:
            packed = address.packed  # the rest of its room is filled with zeros
            sum_ = _folded(same + sum(_HALVES.unpack(packed)))
            return _BACKEND.pack(packed, packed_source, spread, sum_, route)

        return pack

    @property
    def overhead(self) -> int:
        """Bytes of outer headers, without Ethernet."""
        return overhead(self.encapsulation, self.address.version)


def overhead(encapsulation: str, version: int) -> int:
    """Bytes of outer headers, without Ethernet, on the way to a backend of this IP version."""
    if encapsulation == "l2":
        return 0
    outer = 20 if version == 4 else 40
    return outer + {"gue": 8, "gre": 4}.get(encapsulation, 0)


def both_records(element: bytes) -> tuple[bytes, bytes]:
    """Those of a backend, from its element in the map of backends."""
    return element[:BACKEND_SIZE], element[BACKEND_SIZE:]


def with_flows(record: bytes, keeps: bool, takes: bool) -> bytes:
    """A struct backend that differs only in whether it gets packets of flows that it has, and new
    flows."""
    if not any(record):
        return record  # of nobody
    flags = _ROUTE.unpack(_BACKEND.unpack_from(record)[4])[0]
    flags &= ~(BACKEND_KEEPS_FLOWS | BACKEND_TAKES_FLOWS)
    flags |= (BACKEND_KEEPS_FLOWS if keeps else 0) | (BACKEND_TAKES_FLOWS if takes else 0)
    at = BACKEND_SIZE - _ROUTE.size
    return record[:at] + _FLAGS.pack(flags) + record[at + _FLAGS.size :]


def service_of(record: bytes) -> int:
    """The id of the service that a struct backend belongs to."""
    service: int = _ROUTE.unpack(_BACKEND.unpack_from(record)[4])[1]
    return service


def mtu_of(record: bytes) -> int:
    """The MTU in a struct backend."""
    mtu: int = _ROUTE.unpack(_BACKEND.unpack_from(record)[4])[5]
    return mtu


def _folded(total: int) -> int:
    """The one's complement sum of 16-bit words, 0..65535, from their sum; of an outer IPv4 header
    it is the one without type of service and length."""
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def next_hop(record: bytes) -> tuple[int, int]:
    """Of the next hop of a backend as routing last found it, the interface and the MTU, from a
    struct backend_cpu; 0 if it was not asked."""
    mtu, interface = _NEXT_HOP.unpack_from(record)
    return interface, mtu
