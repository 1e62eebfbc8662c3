# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The binary layout that the C headers in files/bpf and this library share.

Sizes are asserted in C, names and numbers by tests/unit/test_layout.py. Integers that the packet
carries are in network order; all others are the host's. `VERSION` goes up with every change of
meaning, so that a program never uses maps of another layout.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from .errors import L4lbError
from .model import Address, Network

VERSION = 5

SERVICE_BITS = 15
SERVICE_SLOTS = 1 << SERVICE_BITS
SERVICE_PROBES = 32
SERVICE_IDS = 8192
TABLE_SLOTS = 65537

SERVICE_ADDRESS_ONLY = 1
SERVICE_JHASH = 2
SERVICE_BY_SOURCE = 4
SERVICE_FLOW_TABLE = 8
SERVICE_SETTLED = 16
SERVICE_SECOND = 64

BACKEND_HAS_NEXTHOP = 1
BACKEND_IPV6 = 2
BACKEND_KEEPS_FLOWS = 4
BACKEND_TAKES_FLOWS = 8
BACKEND_ENCAPSULATIONS = {"ipip": 16, "gue": 32, "gre": 64, "l2": 128}


GOLDEN_64 = 0x9E3779B97F4A7C15
OUTER_TTL = 64
PROTOCOL_ANY = 1
OWN_MACS = 64
"""MAC addresses that frames to the balancer may have, at the most."""
VLANS = 4096
"""Numbers of VLANs, 0 (none) included."""
TABLE_DROPS_NO_SERVICE = 1
IPPROTO_UDP = 17
IPPROTO_GRE = 47

DROPS = {
    "malformed": "Header lengths contradict each other or the frame, or what would be answered has "
    "a wrong header checksum, options that cannot be read, a source route, or comes from a group's "
    "MAC address. Expected to be 0; look for a broken sender or a scan.",
    "fragment": "A fragment has no ports to balance by. Expected to be near 0; have clients use "
    "path MTU discovery.",
    "no_backend": "The service has no enabled backend with a weight. Enable one.",
    "no_route": "The host has no route to the backend. Add one, or give the backend a mac.",
    "no_neighbour": "The next hop does not answer ARP or neighbour discovery. A few at start are "
    "normal; else see whether it is up.",
    "forwarding_off": "net.ipv4.conf.lo.forwarding, or its IPv6 sister, is 0, so the kernel "
    "answers no route lookups. Expected to be 0; apply the configuration again.",
    "too_big": "Does not fit the path to the backend with its outer header, and the sender cannot "
    "be told: it may be fragmented, is an ICMP error, or would have to be shorter than 576 bytes, "
    "1280 of IPv6. Raise the MTU towards the backends.",
    "no_room": "The driver left no room before the frame for the outer header. Expected to be 0; "
    "use mode generic.",
    "bad_source": "The source address is one that no host may have: loopback, multicast, "
    "unspecified, broadcast, or the service's own. Somebody forges packets.",
    "ttl_expired": "The TTL or hop limit was used up on the way here. A few are traceroute's; many "
    "are a routing loop.",
    "no_service": "To a service's address, but to no service, and the host would have forwarded "
    "it, to come back again. A few are scans; else see whether a service is missing.",
    "limited": "Pings beyond echo_rate, or packets that do not fit beyond too_big_rate. Raise them "
    "if these are not an attack.",
    "no_egress": "The route to the backend leaves by an interface that takes no packets from here, "
    "or that was not there at the last run. Apply the configuration again; it says which.",
}
"""Why a packet to a service was not forwarded, and what an operator does about it."""

ANSWERS = {
    "echo_reply": "Pings of a service's address.",
    "packet_too_big": "Packets that do not fit the path to the backend with their outer header. "
    "The sender was told the MTU that it may use. Many of them: raise the MTU towards the "
    "backends, or lower the MSS that the servers announce.",
}
"""What the balancer answers itself."""

FLOW_EVENTS = {
    "hits": "Packets of remembered flows.",
    "misses": "Packets of flows that were not, or no longer, remembered: new ones.",
    "replacements": "Misses that took the place of another flow. Where evictions are few, those "
    "were single packets, as scans and floods send them.",
    "evictions": "Replacements of established flows, which are forgotten. Many of them: raise "
    "flow_table_size.",
}
"""What the flow table did."""

_MASK_64 = 2**64 - 1
_HEADER = struct.Struct("=4IQ2I16s16s512s64x16640s")  # the last two are _MACS and _RECEIVERS
_MACS = struct.Struct(f"={OWN_MACS * '6s2x'}")
_RECEIVERS = struct.Struct(f"={VLANS + OWN_MACS}I")
_SERVICE = struct.Struct("=16sHBBHHHH4x")
_BACKEND = struct.Struct("=16s16s4sH26s")  # the last is _ROUTE
_ROUTE = struct.Struct("=HHH6s6sHBB4x")
_HALVES = struct.Struct("=2H")
COUNTER = struct.Struct("=QQ")
BUCKET_SIZE = 16
BACKEND_CPU_SIZE = 56
_NEXT_HOP = struct.Struct("=28xH2xI20x")
_EGRESS_KEY = struct.Struct("=I6s2x")
_EGRESS = struct.Struct("=II8s")
_TAG = struct.Struct("!2H")
MOST_EGRESSES = 4096
MOST_TAGS = 2
EGRESS_KEY_SIZE = _EGRESS_KEY.size
EGRESS_SIZE = _EGRESS.size
FLOW_BLOCK_SIZE = 16384
FLOW_BLOCK_FLOWS = 1024
FLOW_BLOCK_SETS = 256
FLOW_KEY_SIZE = 8
FLOW_TAKEN = 0x4000
FLOW_CONFIRMED = 0x8000
FLOW_SECONDS_TO_CONFIRM = 5
SERVICE_TABLE_SIZE = _HEADER.size + SERVICE_SLOTS * _SERVICE.size
LOOKUP_TABLE_SIZE = 2 * TABLE_SLOTS
BACKEND_SIZE = _BACKEND.size
BACKEND_RECORDS_SIZE = 2 * BACKEND_SIZE


@dataclass(frozen=True)
class ServiceHeader:
    """The head of a service table: all that holds for every packet.

    manifest: id of a map.
    flags: TABLE_*.
    seed: of the hash that picks backends.
    echo_rate, too_big_rate: answers a second and CPU.
    address, address6: the host's own, if it has any.
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
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    own_macs: tuple[str, ...] = ()
    receivers: Mapping[int, int] = field(default_factory=dict)

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
            pack_address(self.address) if self.address else bytes(16),
            pack_address(self.address6) if self.address6 else bytes(16),
            b"".join(pack_mac(mac) + bytes(2) for mac in self.own_macs),
            _packed_receivers(self.receivers),
        )


def _packed_receivers(receivers: Mapping[int, int]) -> bytes:
    numbers = [0] * (VLANS + OWN_MACS)
    for place, index in receivers.items():
        numbers[place] = index
    return _RECEIVERS.pack(*numbers)


def unpack_receivers(table: bytes) -> tuple[tuple[str, ...], dict[int, int]]:
    """`own_macs` and `receivers` of the header, from a struct service_table."""
    *_others, macs, receivers = _HEADER.unpack_from(table)
    own_macs = (mac.hex(":") for mac in _MACS.unpack(macs) if any(mac))
    numbers = _RECEIVERS.unpack(receivers)
    return tuple(own_macs), {place: index for place, index in enumerate(numbers) if index}


def unpack_layout(table: bytes) -> tuple[int, int]:
    """The version of the layout, and the id of the manifest, from a struct service_table."""
    version, _generation, manifest = struct.unpack_from("=3I", table)
    return version, manifest


@dataclass(frozen=True)
class ServiceEntry:
    """A service as the data plane finds it; port 0 is every port."""

    address: Address
    port: int
    protocol: int
    id: int = 0
    table: int = 0
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
            self.table,
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


def flow_block(fingerprint: int, blocks: int) -> int:
    """In which of the blocks of a flow table a flow is; `blocks` is a power of two."""
    return fingerprint * blocks >> 64


FlowOwner = tuple  # (number of a backend, id of its service)


class RememberedFlow(NamedTuple):
    """A place of a flow table that is taken.

    tick: of the last packet. confirmed: more than a single packet was seen.
    """

    owner: FlowOwner
    fingerprint: int
    tick: int
    confirmed: bool


def flows_of(owners: Collection[FlowOwner], blocks: bytes) -> Iterator[RememberedFlow]:
    """The flows of these owners in some struct flow_block."""
    by_word = {
        int.from_bytes(struct.pack("=2H", number, service | state), sys.byteorder): (owner, state)
        for owner in owners
        for number, service in (owner,)
        for state in (FLOW_TAKEN, FLOW_TAKEN | FLOW_CONFIRMED)
    }
    words = memoryview(blocks).cast("I")
    found = words[3::4].tolist()
    if by_word.keys().isdisjoint(found):
        return
    flows = zip(found, memoryview(blocks).cast("Q")[0::2], words[2::4])
    for word, fingerprint, tick in itertools.compress(flows, map(by_word.__contains__, found)):
        owner, state = by_word[word]
        yield RememberedFlow(owner, fingerprint, tick, bool(state & FLOW_CONFIRMED))


def confirmed_owner(word: int) -> FlowOwner | None:
    """Whose flow it is that has this word at its end (number and service); None if it is none, or
    tentative."""
    number, service = struct.unpack("=2H", word.to_bytes(4, sys.byteorder))
    if not service & FLOW_CONFIRMED:
        return None
    return number, service & ~(FLOW_TAKEN | FLOW_CONFIRMED)


def next_hop(records: bytes, cpu: int) -> tuple[int, int]:
    """Of the next hop of a backend as routing last found it, the interface and the MTU, from its
    struct backend_cpu of each CPU; 0 if it was not asked."""
    mtu, interface = _NEXT_HOP.unpack_from(records, cpu * BACKEND_CPU_SIZE)
    return interface, mtu


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


def pack_address(address: Address) -> bytes:
    """As struct address: 16 bytes, IPv4 in the first four."""
    return address.packed.ljust(16, b"\0")


def pack_mac(mac: str) -> bytes:
    """The six bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def big_endian(port: int) -> int:
    """A 16-bit number whose bytes in host order are `port` in network order."""
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
