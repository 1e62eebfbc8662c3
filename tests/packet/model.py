# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the data plane must do with a frame, written from the RFCs and the documented behaviour.

This shares no code with the data plane: a mistake would have to be made twice to go unnoticed.
Two things are taken from the library, both tested on their own: the configuration's dataclasses
and the Maglev table. `Model.process` reads as the list of steps that a frame goes through.

References: RFC 791 (IPv4), RFC 768 (UDP), RFC 9293 (TCP), RFC 1071 (checksum), RFC 2003 (IP in IP),
RFC 6040 (ECN in tunnels), RFC 6864 (identification), Jenkins' lookup3 (jhash), SplitMix64.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Union

from ansible_collections.xdp.l4lb.plugins.module_utils.model import Backend, Config, Service
from ansible_collections.xdp.l4lb.plugins.module_utils.schedulers import Candidate, maglev

ETHERNET_HEADER = struct.Struct("!6s6sH")
IPV4_HEADER = struct.Struct("!BBHHHBBH4s4s")
PORTS = struct.Struct("!HH")

ETHERNET_IPV4 = 0x0800
PROTOCOL_NAMES = {6: "tcp", 17: "udp"}
SMALLEST_HEADER = {"tcp": 20, "udp": 8}
"""RFC 9293 section 3.1 and RFC 768: what fits into nothing less is not such a packet."""
PROTOCOL_IPIP = 4

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
FRAGMENT_OFFSET = 0x1FFF

TUNNEL_TTL = 64
JHASH_SLOTS = 512
MAGLEV_SLOTS = 65537
MASK32 = 2**32 - 1
MASK64 = 2**64 - 1


class Verdict(IntEnum):
    """What an XDP program returns (enum xdp_action in linux/bpf.h)."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


@dataclass(frozen=True)
class Outcome:
    """A verdict and the frame it is about; a dropped frame has no bytes to compare."""

    verdict: Verdict
    frame: bytes | None


@dataclass(frozen=True)
class Interface:
    """The interface that frames come in by."""

    mac: bytes
    address: IPv4Address


@dataclass(frozen=True)
class Hop:
    """The kernel's answer to where a backend is: the neighbour to send to, and from where."""

    neighbour_mac: bytes
    interface_mac: bytes
    same_interface: bool = False


Fib = Mapping[IPv4Address, Union[Hop, str]]
"""Routes and neighbours, as far as a test needs them: a backend's hop, or why it has none."""


@dataclass
class Tally:
    """Frames sent, and their bytes."""

    packets: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.packets += 1
        self.bytes += size


@dataclass
class Statistics:
    """What was counted. Only what is not zero has an entry, so that two of these compare."""

    services: dict[str, Tally] = field(default_factory=dict)
    backends: dict[tuple[str, IPv4Address], Tally] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Packet:
    """What the balancer needs to know of a frame."""

    source: IPv4Address
    destination: IPv4Address
    protocol: str
    tos: int
    total_length: int
    defect: str | None
    """Why it cannot be balanced; the ports are not known then."""
    source_port: int = 0
    destination_port: int = 0


class NotForUsError(Exception):
    """The frame is not addressed to a service."""


class DroppedError(Exception):
    """The frame is addressed to a service, and cannot be forwarded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Model:
    """A balancer with a configuration, an interface and the kernel's routes, and its counters."""

    def __init__(self, config: Config, interface: Interface, fib: Fib | None = None) -> None:
        self.config = config
        self.interface = interface
        self.fib = {} if fib is None else fib
        self.statistics = Statistics()
        self._services = {service.key: service for service in config.services}
        self._addresses = {(service.address, service.protocol) for service in config.services}
        self._tables = {
            service.name: lookup_table(service, config.hash_seed) for service in config.services
        }

    def process(self, frame: bytes) -> Outcome:
        """Take a frame through all steps."""
        try:
            packet = parse(frame)
            service = self.service_of(packet)
            backend = self.choose(service, packet)
            hop = self.next_hop(backend)
        except NotForUsError:
            return Outcome(Verdict.PASS, frame)
        except DroppedError as dropped:
            drops = self.statistics.drops
            drops[dropped.reason] = drops.get(dropped.reason, 0) + 1
            return Outcome(Verdict.DROP, None)
        sent = (
            ETHERNET_HEADER.pack(hop.neighbour_mac, hop.interface_mac, ETHERNET_IPV4)
            + self.outer_header(packet, backend)
            + frame[ETHERNET_HEADER.size :]
        )
        self.statistics.services.setdefault(service.name, Tally()).add(len(sent))
        self.statistics.backends.setdefault((service.name, backend.address), Tally()).add(len(sent))
        return Outcome(Verdict.TX if hop.same_interface else Verdict.REDIRECT, sent)

    def service_of(self, packet: Packet) -> Service:
        """The service a packet is addressed to; the exact port goes before every port."""
        if packet.defect:
            if (packet.destination, packet.protocol) in self._addresses:
                raise DroppedError(packet.defect)
            raise NotForUsError
        for port in (packet.destination_port, 0):
            service = self._services.get((packet.destination, port, packet.protocol))
            if service:
                return service
        raise NotForUsError

    def choose(self, service: Service, packet: Packet) -> Backend:
        """The backend of a flow, by the service's scheduler."""
        address_word = int.from_bytes(packet.source.packed, "little")
        ports_word = int.from_bytes(
            PORTS.pack(packet.source_port, packet.destination_port), "little"
        )
        if service.scheduler == "jhash":
            slot = jhash_2words(address_word, ports_word, JHASH_SLOTS) % JHASH_SLOTS
        else:
            seed = self.config.hash_seed * 0x9E3779B97F4A7C15 & MASK64
            mixed = mix64((ports_word << 32 | address_word) ^ seed)
            slot = (mixed >> 32) * MAGLEV_SLOTS >> 32
        backend = self._tables[service.name][slot]
        if backend is None:
            raise DroppedError("no_backend")
        return backend

    def next_hop(self, backend: Backend) -> Hop:
        """Where the frame goes: to the MAC address that was given, else as the kernel says."""
        given = backend.mac or self.config.gateway_mac
        if given:
            return Hop(
                bytes.fromhex(given.replace(":", "")), self.interface.mac, same_interface=True
            )
        found = self.fib.get(backend.address, "no_route")
        if isinstance(found, str):
            raise DroppedError(found)
        return found

    def outer_header(self, packet: Packet, backend: Backend) -> bytes:
        """The IPv4 header around the packet: RFC 2003 section 3.1, and what it leaves open.

        The type of service is the inner one as it is: that copies the DSCP, and it is what RFC 6040
        section 4.1 asks of the ECN field in normal mode. Identification 0 goes with DF by RFC 6864
        section 4.1: such a packet is atomic.
        """
        fields = (
            4 << 4 | IPV4_HEADER.size // 4,
            packet.tos,
            IPV4_HEADER.size + packet.total_length,
            0,
            DONT_FRAGMENT,
            TUNNEL_TTL,
            PROTOCOL_IPIP,
        )
        addresses = (
            (self.config.source_address or self.interface.address).packed,
            backend.address.packed,
        )
        unsummed = IPV4_HEADER.pack(*fields, 0, *addresses)
        return IPV4_HEADER.pack(*fields, ones_complement_sum(unsummed) ^ 0xFFFF, *addresses)


def parse(frame: bytes) -> Packet:
    """Read Ethernet, IPv4 and the ports.

    Raises NotForUsError if it is none of IPv4 with TCP or UDP.
    """
    if len(frame) < ETHERNET_HEADER.size + IPV4_HEADER.size:
        raise NotForUsError
    _, _, ether_type = ETHERNET_HEADER.unpack_from(frame)
    if ether_type != ETHERNET_IPV4:
        raise NotForUsError
    first, tos, total_length, _, flags, _, number, _, source, destination = IPV4_HEADER.unpack_from(
        frame, ETHERNET_HEADER.size
    )
    protocol = PROTOCOL_NAMES.get(number)
    if protocol is None:
        raise NotForUsError
    version, header_length = first >> 4, (first & 0x0F) * 4
    available = len(frame) - ETHERNET_HEADER.size

    def packet(defect: str | None, ports: tuple[int, int] = (0, 0)) -> Packet:
        return Packet(
            IPv4Address(source),
            IPv4Address(destination),
            protocol,
            tos,
            total_length,
            defect,
            *ports,
        )

    if (
        version != 4
        or header_length < IPV4_HEADER.size
        or max(header_length, total_length) > available
    ):
        return packet("malformed")
    if flags & (MORE_FRAGMENTS | FRAGMENT_OFFSET):
        return packet("fragment")
    if total_length < header_length + SMALLEST_HEADER[protocol]:
        return packet("malformed")
    return packet(None, PORTS.unpack_from(frame, ETHERNET_HEADER.size + header_length))


def lookup_table(service: Service, seed: int) -> Sequence[Backend | None]:
    """The backend of every slot."""
    if service.scheduler == "jhash":
        return jhash_table(service.backends)
    weights = [backend.weight if usable(backend) else 0 for backend in service.backends]
    candidates = [
        Candidate(str(backend.address), weight)
        for backend, weight in zip(service.backends, weights)
    ]
    numbered = [None, *service.backends]
    return [numbered[number] for number in maglev(candidates, seed)]


def jhash_table(backends: Sequence[Backend]) -> Sequence[Backend | None]:
    """Deal the slots to the backends as listed; those that take no new flows pass theirs on."""
    if not any(map(usable, backends)):
        return [None] * JHASH_SLOTS
    first = backends[0]
    if not usable(first):
        first = next(filter(usable, backends))
    dealt = (backends[slot % len(backends)] for slot in range(JHASH_SLOTS))
    return [backend if usable(backend) else first for backend in dealt]


def usable(backend: Backend) -> bool:
    """Whether a backend takes new flows."""
    return backend.state == "enabled" and backend.weight > 0


def ones_complement_sum(data: bytes) -> int:
    """Add up 16-bit words with end-around carry (RFC 1071 section 1), an odd byte padded with 0."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def jhash_2words(first: int, second: int, initial: int) -> int:
    """Hash two words as the kernel does: hashword() of Jenkins' lookup3 (2006), for two words."""
    a = b = c = (0xDEADBEEF + (2 << 2) + initial) & MASK32
    a = (a + first) & MASK32
    b = (b + second) & MASK32
    _, _, c = lookup3_final(a, b, c)
    return c


def lookup3_final(a: int, b: int, c: int) -> tuple[int, int, int]:
    """The last step of lookup3, which mixes three words into c (and, less well, into b)."""
    c = ((c ^ b) - rotate(b, 14)) & MASK32
    a = ((a ^ c) - rotate(c, 11)) & MASK32
    b = ((b ^ a) - rotate(a, 25)) & MASK32
    c = ((c ^ b) - rotate(b, 16)) & MASK32
    a = ((a ^ c) - rotate(c, 4)) & MASK32
    b = ((b ^ a) - rotate(a, 14)) & MASK32
    c = ((c ^ b) - rotate(b, 24)) & MASK32
    return a, b, c


def rotate(word: int, bits: int) -> int:
    """Rotate a 32-bit word to the left."""
    return (word << bits | word >> (32 - bits)) & MASK32


def mix64(word: int) -> int:
    """The finaliser of SplitMix64: mixes 64 bits so that each depends on all."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK64
    return word ^ word >> 31
