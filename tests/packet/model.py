# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the data plane must do with a frame, written from the RFCs and the documented behaviour.

This shares no code with the data plane: a mistake would have to be made twice to go unnoticed.
Three things are taken from the library, each tested on its own: the dataclasses of configuration
and verdicts, the Maglev table, and what it becomes for want of healthy backends. `Model.process`
reads as the list of steps that a frame goes through.

References: those of wire.py, RFC 1812 (routers), RFC 2003 (IP in IP), RFC 2473 (tunnels in IPv6),
RFC 4213 (IPv6 in IPv4), RFC 2784 (GRE), draft-ietf-intarea-gue (GUE, variant 1), RFC 6040 (ECN in
tunnels), RFC 6864 (identification), RFC 6935 (UDP checksum 0), RFC 1191 and RFC 8201 (path MTU).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Union

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Backend,
    Config,
    Service,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdicts

from tests.packet.flows import Flow, FlowTable, Remembered, jhash_slot, maglev_slot
from tests.packet.hashing import MASK32, ones_complement_sum, updated_checksum
from tests.packet.health import NO_VERDICTS, Stands, found_by_packets
from tests.packet.limits import Clock, Limiter, is_sound
from tests.packet.wire import (
    ACK,
    ECHO_REPLY,
    ECHO_REQUEST,
    ERRORS,
    ETHER_TYPE,
    ETHER_TYPES,
    EXTENSIONS,
    ICMP,
    ICMP_HEADER,
    IPV4_HEADER,
    IPV6_HEADER,
    MAC,
    MAC_PAIR,
    NEIGHBOUR_DISCOVERY,
    PROTOCOL_NAMES,
    RST,
    SYN,
    TOO_BIG,
    UDP,
    Address,
    Packet,
    ipv4_header,
    ipv6_header,
    is_bad_source,
    parse,
    pseudo_header,
    quoted,
)

TTL = 64
"""Of every header that is written."""
IN_IP = {4: 4, 6: 41}
GRE = 47
GRE_PROTOCOL = struct.Struct("!HH")
UDP_HEADER = struct.Struct("!HHHH")
PROTOCOL_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}
TAG = struct.Struct("!HH")
ENCAPSULATION_BYTES = {"ipip": 0, "gue": UDP_HEADER.size, "gre": GRE_PROTOCOL.size}
"""What goes between the outer IP header and the packet."""
OUTER_BYTES = {4: IPV4_HEADER.size, 6: IPV6_HEADER.size}
FIRST_DYNAMIC_PORT = 0xC000

LEAST_MTU = {4: 576, 6: 1280}
"""What a host must be able to receive (RFC 791), or a link to carry (RFC 8200 section 5)."""
QUOTED_BYTES = 256
"""How much of a packet that is too big its sender gets back."""


class Verdict(IntEnum):
    """What an XDP program returns (enum xdp_action in linux/bpf.h)."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


@dataclass(frozen=True)
class Outcome:
    """A verdict and the frame it is about; a dropped frame has no bytes to compare.

    asks_for: the packet may also leave as a ping from this address to the host, which makes the
    kernel resolve the address: the first in a second does.
    """

    verdict: Verdict
    frame: bytes | None
    asks_for: Address | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Interface:
    """The interface that frames come in by."""

    mac: bytes
    address: IPv4Address | None
    address6: IPv6Address | None = None
    mtu: int = 1500

    def own(self, version: int) -> Address | None:
        """Its address."""
        return self.address if version == 4 else self.address6


@dataclass(frozen=True)
class Host:
    """The host besides that interface.

    macs: MAC addresses of what stands on the interface.
    forwards: what comes in by which MAC address of a macvlan, or else in which VLAN (0: in none).
    forwarded: addresses that it would forward packets to.
    vlans: those whose frames it receives.
    """

    macs: frozenset[bytes] = frozenset()
    forwards: Mapping[bytes | int, bool] = field(default_factory=dict)
    forwarded: Container[Address] = frozenset()
    vlans: Container[int] = range(4096)


@dataclass(frozen=True)
class Hop:
    """The kernel's answer to where a backend is: the neighbour to send to, and from where."""

    neighbour_mac: bytes
    interface_mac: bytes
    same_interface: bool = False
    mtu: int = 1500
    """Of the interface."""
    route_mtu: int = 0
    """0: the route says nothing of it."""
    on_link: bool = True
    """The neighbour is the backend itself."""
    tags: Sequence[tuple[int, int]] | None = ()
    """What the frame gets, each an EtherType and what follows it; None: those that it came with."""


Fib = Mapping[Address, Union[Hop, str]]
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
    backends: dict[tuple[str, Address], Tally] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    flows: dict[str, int] = field(default_factory=dict)

    @property
    def handled(self) -> int:
        """How many packets were to a service."""
        sent = sum(tally.packets for tally in self.services.values())
        return sent + sum(self.drops.values()) + sum(self.answers.values())


class NotForUsError(Exception):
    """The frame is not addressed to a service."""


class DroppedError(Exception):
    """The frame is addressed to a service, and cannot be forwarded."""

    def __init__(self, reason: str, asks_for: Address | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.asks_for = asks_for


class Model:
    """A balancer with a configuration, an interface and the kernel's routes, and its counters.

    flows: those that are remembered from an earlier configuration.
    clock: by which answers are limited.
    """

    def __init__(
        self,
        config: Config,
        interface: Interface,
        fib: Fib | None = None,
        flows: FlowTable | None = None,
        host: Host | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.config = config
        self.interface = interface
        self.host = host or Host()
        given = {bytes.fromhex(mac.replace(":", "")) for mac in config.own_macs}
        self._own_macs = {interface.mac, *self.host.macs, *given}
        self.fib = {} if fib is None else fib
        self.flows = flows or FlowTable(config.flow_table_size)
        self.limiters = {
            "echo_reply": Limiter(config.echo_rate, clock),
            "packet_too_big": Limiter(config.too_big_rate, clock),
        }
        self.statistics = Statistics()
        self._last_hops: dict[tuple[str, Address], Hop] = {}
        self._services = {service.key: service for service in config.services}
        self._protocols = {(service.address, service.protocol) for service in config.services}
        self._addresses = {service.address for service in config.services}
        self._verdicts: Mapping[str, Verdicts] = {}
        self._stands: dict[str, Stands] = {}

    def hear(self, verdicts: Mapping[str, Verdicts]) -> None:
        """Have packets find the backends as these say, by the name of the service."""
        self._verdicts = verdicts

    def stands(self, service: Service) -> Stands:
        """How packets find its backends; found out when the first comes."""
        verdicts = self._verdicts.get(service.name, NO_VERDICTS)
        known = self._stands.get(service.name)
        if known is None or known.verdicts is not verdicts:
            known = found_by_packets(service, self.config.hash_seed, verdicts)
            self._stands[service.name] = known
        return known

    def process(self, frame: bytes) -> Outcome:
        """Take a frame through all steps."""
        packet = parse(frame)
        if packet is None or packet.destination not in self._addresses:
            return Outcome(Verdict.PASS, frame)
        if frame[:MAC] not in self._own_macs:
            return Outcome(Verdict.PASS, frame)
        try:
            return self.balance(frame, packet)
        except NotForUsError:
            if not self.comes_back(frame, packet):
                return Outcome(Verdict.PASS, frame)
            count(self.statistics.drops, "no_service")
            return Outcome(Verdict.DROP, None)
        except DroppedError as dropped:
            count(self.statistics.drops, dropped.reason)
            return Outcome(Verdict.DROP, None, dropped.asks_for)

    def balance(self, frame: bytes, packet: Packet) -> Outcome:
        """Take a packet to an address that has services to the one it is for."""
        if self.is_icmp(packet):
            return self.process_icmp(frame, packet)
        service = self.service_of(packet)
        if is_bad_source(packet.source, packet.destination):
            raise DroppedError("bad_source")
        flow = Flow(packet.source, packet.source_port, packet.destination_port)
        backend = self.choose(service, flow, packet.tcp_flags)
        return self.forward(frame, packet, service, flow, backend)

    def comes_back(self, frame: bytes, packet: Packet) -> bool:
        """Whether the host would forward what is for no service, and is to have it dropped.

        What hosts of a link tell each other (RFC 4861) is never dropped.
        """
        discovery = packet.version == 6 and self.is_icmp(packet)
        if discovery and frame[packet.transport] in NEIGHBOUR_DISCOVERY:
            return False
        by_vlan = self.host.forwards.get(vlan_of(frame, packet), False)
        return (
            self.config.no_service == "drop"
            and self.host.forwards.get(frame[:MAC], by_vlan)
            and packet.destination in self.host.forwarded
            and not stays_on_link(packet.source)
        )

    def is_icmp(self, packet: Packet) -> bool:
        """Whether this is a message of ICMP that can be read."""
        return (
            packet.protocol == ICMP[packet.version]
            and not packet.malformed
            and not packet.fragment
            and packet.end - packet.transport >= ICMP_HEADER
        )

    def process_icmp(self, frame: bytes, packet: Packet) -> Outcome:
        """Answer pings, and take errors to the backend whose packet they are about."""
        kind = frame[packet.transport]
        forged = is_bad_source(packet.source, packet.destination)
        if kind == ECHO_REQUEST[packet.version]:
            if forged:
                raise DroppedError("bad_source")
            self.check_answer("echo_reply", frame, packet)
            count(self.statistics.answers, "echo_reply")
            return Outcome(Verdict.TX, echo_reply(frame, packet))
        if kind not in ERRORS[packet.version]:
            raise NotForUsError
        quote = quoted(frame, packet)
        if quote is None or quote.source != packet.destination:
            raise NotForUsError
        service = self.lookup(quote.source, quote.source_port, quote.protocol)
        if forged or is_bad_source(quote.destination, quote.source):
            raise DroppedError("bad_source")
        flow = Flow(quote.destination, quote.destination_port, quote.source_port)
        backend = self.choose(service, flow)
        return self.forward(frame, packet, service, flow, backend)

    def check_answer(self, kind: str, frame: bytes, packet: Packet) -> None:
        """Whether a packet is answered: that is for what one can believe, and limited."""
        sound = packet.version == 6 or is_sound(frame[packet.header])
        if packet.routed or not sound or is_group(frame[MAC:MAC_PAIR]):
            raise DroppedError("malformed")
        if not self.limiters[kind].admits():
            raise DroppedError("limited")

    def service_of(self, packet: Packet) -> Service:
        """The service that a packet is addressed to."""
        if not packet.malformed and not packet.fragment:
            return self.lookup(packet.destination, packet.destination_port, packet.protocol)
        protocol = PROTOCOL_NAMES.get(packet.protocol)
        if packet.version == 6 and packet.protocol in EXTENSIONS:
            ours = packet.destination in self._addresses
        else:
            ours = (packet.destination, protocol) in self._protocols
        if not ours:
            raise NotForUsError
        if packet.malformed:
            raise DroppedError("malformed")
        service = self._services.get((packet.destination, 0, protocol or ""))
        if service is None or service.affinity != "source":
            raise DroppedError("fragment")
        return service

    def lookup(self, address: Address, port: int, protocol: int) -> Service:
        """The service with this address; the exact port goes before every port."""
        name = PROTOCOL_NAMES.get(protocol, "")
        service = self._services.get((address, port, name)) or self._services.get(
            (address, 0, name)
        )
        if service is None:
            raise NotForUsError
        return service

    def choose(self, service: Service, flow: Flow, tcp_flags: int | None = None) -> Backend:
        """The backend of a flow: the one remembered, else by the service's scheduler.

        tcp_flags: of a packet of the flow, 0 if it is of UDP; None: it is an ICMP error about one,
            which is to leave no trace.
        """
        opens = tcp_flags is not None and tcp_flags & (SYN | ACK) == SYN
        remembers = service.flow_table and self.config.flow_table_size > 0
        if not remembers:
            return self.scheduled(service, flow)
        protocol = PROTOCOL_NUMBERS[service.protocol]
        key = (service.key, flow.fingerprint(service.address, protocol, self.flows.secret))
        now = time.monotonic()
        known = self.flows.find(key)
        if known and service.protocol == "udp" and now - known.seen > self.config.udp_timeout:
            known = None
        if known:
            if tcp_flags is not None:
                known.touch(now, confirms=not tcp_flags & (SYN | RST))
            backend = self.stands(service).backends.get(known.backend)
            states = ("enabled",) if opens else ("enabled", "drained")
            if backend and backend.state in states and (backend.weight or not opens):
                count(self.statistics.flows, "hits")
                return backend
        count(self.statistics.flows, "misses")
        backend = self.scheduled(service, flow)
        if tcp_flags is not None:
            confirmed = bool(known and known.confirmed and not opens)
            forgotten = self.flows.insert(Remembered(key, backend.address, now, confirmed))
            if forgotten:
                count(self.statistics.flows, "replacements")
                if forgotten.confirmed:
                    count(self.statistics.flows, "evictions")
        return backend

    def scheduled(self, service: Service, flow: Flow) -> Backend:
        """The backend of a new flow."""
        if service.affinity == "source":
            flow = Flow(flow.source, 0, 0)
        if service.scheduler == "jhash":
            slot = jhash_slot(flow.source.packed, flow.ports)
        else:
            slot = maglev_slot(flow.hash(self.config.hash_seed))
        backend = self.stands(service).table[slot]
        if backend is None:
            raise DroppedError("no_backend")
        return backend

    def forward(
        self, frame: bytes, packet: Packet, service: Service, flow: Flow, backend: Backend
    ) -> Outcome:
        """Send a packet to its backend, if it fits; its sender is told if it does not. As at any
        router it has a hop less to go, and ends where it has none (RFC 1812 section 5.3.1)."""
        hop = self.next_hop(service, backend, vlan_of(frame, packet))
        if packet.ttl <= 1:
            raise DroppedError("ttl_expired")
        limits = (hop.mtu, hop.route_mtu, backend.mtu)
        most = min(filter(None, limits)) - overhead(service, backend)
        if packet.length > most:
            if not packet.dont_fragment or self.is_icmp(packet) or most < LEAST_MTU[packet.version]:
                raise DroppedError("too_big")
            self.check_answer("packet_too_big", frame, packet)
            count(self.statistics.answers, "packet_too_big")
            return Outcome(Verdict.TX, too_big(frame, packet, most))
        tags = frame[MAC_PAIR : packet.start - ETHER_TYPE.size]
        if hop.tags is not None:
            tags = b"".join(TAG.pack(*tag) for tag in hop.tags)
        version = packet.version if service.encapsulation == "l2" else backend.address.version
        sent = (
            hop.neighbour_mac
            + hop.interface_mac
            + tags
            + ETHER_TYPE.pack(ETHER_TYPES[version])
            + self.outer_headers(packet, service, flow, backend)
            + a_hop_on(frame, packet)
        )
        self.statistics.services.setdefault(service.name, Tally()).add(len(sent))
        self.statistics.backends.setdefault((service.name, backend.address), Tally()).add(len(sent))
        return Outcome(Verdict.TX if hop.same_interface else Verdict.REDIRECT, sent)

    def next_hop(self, service: Service, backend: Backend, vlan: int) -> Hop:
        """Where the frame goes: to the MAC address that was given, else as the kernel says, if the
        host takes part in the VLAN that it came in."""
        given = backend.mac or self.config.gateway_mac
        if given:
            return Hop(
                bytes.fromhex(given.replace(":", "")),
                self.interface.mac,
                same_interface=True,
                mtu=self.interface.mtu,
                tags=None,
            )
        if vlan and vlan not in self.host.vlans:
            raise NotForUsError
        found = self.fib.get(backend.address, "no_route")
        if found == "forwarding_off":  # not a word about the way, so the last one holds
            found = self._last_hops.get((service.name, backend.address), found)
        if isinstance(found, str):
            self._last_hops.pop((service.name, backend.address), None)
        if found == "no_neighbour" and self.asking_source(backend.address.version):
            raise DroppedError(found, asks_for=backend.address)
        if isinstance(found, str):
            raise DroppedError(found)
        if service.encapsulation == "l2" and not found.on_link:
            raise DroppedError("no_route")
        self._last_hops[service.name, backend.address] = found
        return found

    def outer_headers(
        self, packet: Packet, service: Service, flow: Flow, backend: Backend
    ) -> bytes:
        """The headers around the packet.

        The type of service is the inner one as it is: that copies the DSCP, and it is what RFC 6040
        section 4.1 asks of the ECN field in normal mode.
        """
        if service.encapsulation == "l2":
            return b""
        hashed = flow.hash(self.config.hash_seed)
        if service.encapsulation == "gue":
            protocol = UDP
            between = UDP_HEADER.pack(
                FIRST_DYNAMIC_PORT | hashed >> 16 & 0x3FFF,
                self.config.gue_port,
                UDP_HEADER.size + packet.length,
                0,
            )
        elif service.encapsulation == "gre":
            protocol = GRE
            between = GRE_PROTOCOL.pack(0, ETHER_TYPES[packet.version])
        else:
            protocol = IN_IP[packet.version]
            between = b""
        length = len(between) + packet.length
        source = self.tunnel_source(backend.address.version, hashed)
        if backend.address.version == 4:
            outer = ipv4_header(
                tos=packet.tos,
                length=IPV4_HEADER.size + length,
                ttl=TTL,
                protocol=protocol,
                source=source,
                destination=backend.address,
            )
        else:
            outer = ipv6_header(
                traffic_class=packet.tos,
                flow_label=hashed & 0xFFFFF,
                payload_length=length,
                next_header=protocol,
                hop_limit=TTL,
                source=source,
                destination=backend.address,
            )
        return outer + between

    def asking_source(self, version: int) -> Address | None:
        """The outer source that routing is asked with, and neighbours for; of a prefix the first;
        None: the host has no address, which not everything needs."""
        given = self.config.source_address if version == 4 else self.config.source_address6
        return given.network_address if given else self.interface.own(version)

    def tunnel_source(self, version: int, hashed: int) -> Address:
        """The outer source: given, the interface's own, or any of a prefix by the flow."""
        given: IPv4Network | IPv6Network | None = (
            self.config.source_address if version == 4 else self.config.source_address6
        )
        if given is None:
            own = self.interface.own(version)
            assert own is not None, "the test gives the interface no such address"
            return own
        varying = int.from_bytes((hashed & MASK32).to_bytes(4, "little"), "big")
        host = varying & int(given.hostmask) & MASK32
        return type(given.network_address)(int(given.network_address) | host)


def is_group(mac: bytes) -> bool:
    """Whether it is an address of many, from which no frame comes (IEEE 802.3)."""
    return bool(mac[0] & 1)


def vlan_of(frame: bytes, packet: Packet) -> int:
    """The number in the outer tag; 0 if there is none."""
    if packet.start == MAC_PAIR + ETHER_TYPE.size:
        return 0
    (tag,) = struct.unpack_from("!H", frame, MAC_PAIR + ETHER_TYPE.size)
    return int(tag & 0xFFF)


def overhead(service: Service, backend: Backend) -> int:
    """How much longer packets get on their way to a backend."""
    if service.encapsulation == "l2":
        return 0
    return OUTER_BYTES[backend.address.version] + ENCAPSULATION_BYTES[service.encapsulation]


def a_hop_on(frame: bytes, packet: Packet) -> bytes:
    """The packet as it is sent on, and what is behind it in the frame."""
    made = bytearray(frame)
    if packet.version == 4:
        at, checksum = packet.start + 8, packet.start + 10
        replace(made, at, packet.ttl - 1, checksum=checksum, covered=packet.header)
    else:
        made[packet.start + 7] = packet.ttl - 1
    return bytes(made[packet.start :])


def echo_reply(frame: bytes, packet: Packet) -> bytes:
    """The answer to a ping: all as it came but for type, direction and time to live."""
    made = bytearray(frame)
    made[0:6], made[6:12] = frame[6:12], frame[0:6]
    pseudo = b""
    if packet.version == 4:
        swap(made, packet.start + 12, 4)
        replace(made, packet.start + 8, TTL, checksum=packet.start + 10, covered=packet.header)
    else:
        swap(made, packet.start + 8, 16)
        made[packet.start + 7] = TTL
        length = packet.end - packet.transport
        pseudo = pseudo_header(packet.source, packet.destination, ICMP[6], length)
    replace(
        made,
        packet.transport,
        ECHO_REPLY[packet.version],
        checksum=packet.transport + 2,
        covered=slice(packet.transport, packet.end),
        pseudo=pseudo,
        zero=0xFFFF,
    )
    return bytes(made)


def swap(made: bytearray, start: int, size: int) -> None:
    """Exchange two neighbouring fields."""
    middle, end = start + size, start + 2 * size
    made[start:middle], made[middle:end] = made[middle:end], made[start:middle]


def replace(
    made: bytearray,
    at: int,
    byte: int,
    *,
    checksum: int,
    covered: slice,
    pseudo: bytes = b"",
    zero: int = 0,
) -> None:
    """Replace the first byte of a 16-bit word that a checksum covers.

    The checksum is computed anew if it was right. A wrong one changes by as much, so that it stays
    wrong (RFC 1624, equation 3). Where it is zero, `zero` is written, which may be the other zero.
    """
    was_right = ones_complement_sum(pseudo + made[covered]) == 0xFFFF
    (before,) = struct.unpack_from("!H", made, at)
    made[at] = byte
    (after,) = struct.unpack_from("!H", made, at)
    (old,) = struct.unpack_from("!H", made, checksum)
    new = updated_checksum(old, before, after)
    if was_right:
        struct.pack_into("!H", made, checksum, 0)
        new = ones_complement_sum(pseudo + made[covered]) ^ 0xFFFF
    struct.pack_into("!H", made, checksum, new or zero)


def too_big(frame: bytes, packet: Packet, mtu: int) -> bytes:
    """Tell the sender of a packet how long the next may be."""
    kind, code = TOO_BIG[packet.version]
    rest = struct.pack("!HH", 0, mtu) if packet.version == 4 else struct.pack("!I", mtu)
    quote = frame[packet.start : packet.start + QUOTED_BYTES]

    def message(checksum: int) -> bytes:
        return struct.pack("!BBH", kind, code, checksum) + rest + quote

    length = len(message(0))
    if packet.version == 4:
        covered = message(0)
        header = ipv4_header(
            tos=0,
            length=IPV4_HEADER.size + length,
            ttl=TTL,
            protocol=ICMP[4],
            source=packet.destination,
            destination=packet.source,
        )
    else:
        covered = pseudo_header(packet.destination, packet.source, ICMP[6], length) + message(0)
        header = ipv6_header(
            traffic_class=0,
            flow_label=0,
            payload_length=length,
            next_header=ICMP[6],
            hop_limit=TTL,
            source=packet.destination,
            destination=packet.source,
        )
    checksum = ones_complement_sum(covered) ^ 0xFFFF
    ethernet = frame[6:12] + frame[0:6] + frame[MAC_PAIR : packet.start]
    return ethernet + header + message(checksum)


def count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def stays_on_link(source: Address) -> bool:
    """Whether routers send nothing on that comes from an address (RFC 4291 section 2)."""
    return source.version == 6 and (
        source.is_loopback or source.is_multicast or source.is_link_local
    )
