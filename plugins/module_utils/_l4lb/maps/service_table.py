# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service table: what packets are for."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import L4lbError
from ..model.config import Address
from .layout import big_endian, pack_address, pack_mac

SERVICE_BITS = 15
SERVICE_SLOTS = 1 << SERVICE_BITS
SERVICE_PROBES = 32
SERVICE_ADDRESS_ONLY = 1
SERVICE_JHASH = 2
SERVICE_BY_SOURCE = 4
SERVICE_FLOW_TABLE = 8
SERVICE_SETTLED = 16
SERVICE_SECOND = 64
GOLDEN_64 = 0x9E3779B97F4A7C15
PROTOCOL_ANY = 1
OWN_MACS = 64
"""MAC addresses that frames to the balancer may have, at the most."""
VLANS = 4096
"""Numbers of VLANs, 0 (none) included."""
TABLE_DROPS_NO_SERVICE = 1
_MASK_64 = 2**64 - 1
_HEADER = struct.Struct("=4IQ2I512sI28x16640s")  # with _MACS and, last, _RECEIVERS
_HEALTH = struct.Struct("=544xI")
_MACS = struct.Struct(f"={OWN_MACS * '6s2x'}")
_RECEIVERS = struct.Struct(f"={VLANS + OWN_MACS}I")
_SERVICE = struct.Struct("=16sHBBHHHH4x")
SERVICE_TABLE_SIZE = _HEADER.size + SERVICE_SLOTS * _SERVICE.size


@dataclass(frozen=True)
class ServiceHeader:
    """The head of a service table: all that holds for every packet.

    manifest: id of a map. health: likewise; 0: there is none.
    flags: TABLE_*.
    seed: of the hash that picks backends.
    echo_rate, too_big_rate: answers a second and CPU.
    own_macs: the interface's first.
    receivers: indices of interfaces, see struct service_table: by VLAN, and VLANS further on by the
        place of a MAC address in own_macs.
    """

    layout: int
    generation: int
    manifest: int
    flags: int = 0
    seed: int = 0
    echo_rate: int = 0
    too_big_rate: int = 0
    own_macs: tuple[str, ...] = ()
    receivers: Mapping[int, int] = field(default_factory=dict)
    health: int = 0

    def pack(self) -> bytes:
        """As the head of struct service_table."""
        return _HEADER.pack(
            self.layout,
            self.generation,
            self.manifest,
            self.flags,
            self.seed,
            self.echo_rate,
            self.too_big_rate,
            b"".join(pack_mac(mac) + bytes(2) for mac in self.own_macs),
            self.health,
            _packed_receivers(self.receivers),
        )


def _packed_receivers(receivers: Mapping[int, int]) -> bytes:
    numbers = [0] * (VLANS + OWN_MACS)
    for place, index in receivers.items():
        numbers[place] = index
    return _RECEIVERS.pack(*numbers)


def unpack_receivers(table: bytes) -> tuple[tuple[str, ...], dict[int, int]]:
    """`own_macs` and `receivers` of the header, from a struct service_table."""
    *_others, macs, _health, receivers = _HEADER.unpack_from(table)
    own_macs = (mac.hex(":") for mac in _MACS.unpack(macs) if any(mac))
    numbers = _RECEIVERS.unpack(receivers)
    return tuple(own_macs), {place: index for place, index in enumerate(numbers) if index}


def unpack_layout(table: bytes) -> tuple[int, int, int]:
    """The version of the layout, and the ids of manifest and health, of a struct service_table."""
    version, _generation, manifest = struct.unpack_from("=3I", table)
    return version, manifest, _HEALTH.unpack_from(table)[0]


@dataclass(frozen=True)
class ServiceEntry:
    """A service as the data plane finds it; port 0 is every port."""

    address: Address
    port: int
    protocol: int
    id: int = 0
    choice: int = 0
    flags: int = 0
    udp_timeout: int = 0

    @property
    def slot(self) -> int:
        """Where its search begins in the service table."""
        if self.address.version == 4:
            key = int.from_bytes(self.address.packed, sys.byteorder)
        else:
            upper, lower = struct.unpack("=2Q", self.address.packed)
            key = (upper + lower * 3) & _MASK_64
        endpoint = self.port.to_bytes(2, "big") + bytes([self.protocol, self.address.version])
        key ^= int.from_bytes(endpoint, sys.byteorder)
        return (key * GOLDEN_64 & _MASK_64) >> (64 - SERVICE_BITS)

    def pack(self) -> bytes:
        """As struct service."""
        return _SERVICE.pack(
            pack_address(self.address),
            big_endian(self.port),
            self.protocol,
            self.address.version,
            self.id,
            self.choice,
            self.flags,
            self.udp_timeout,
        )


def pack_service_table(header: ServiceHeader, entries: Iterable[ServiceEntry]) -> bytes:
    """A struct service_table of `entries`: open addressing, linear probing.

    Raises L4lbError in the unlikely case that the keys crowd beyond SERVICE_PROBES slots.
    """
    table = bytearray(SERVICE_TABLE_SIZE)
    table[: _HEADER.size] = header.pack()
    taken = set()
    for entry in entries:
        first = entry.slot
        for probe in range(SERVICE_PROBES):
            place = (first + probe) % SERVICE_SLOTS
            if place not in taken:
                break
        else:
            raise L4lbError(f"the service table is too crowded for {entry.address}:{entry.port}")
        taken.add(place)
        at = _HEADER.size + place * _SERVICE.size
        table[at : at + _SERVICE.size] = entry.pack()
    return bytes(table)
