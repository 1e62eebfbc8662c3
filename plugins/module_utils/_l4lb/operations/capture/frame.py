# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames, read as far as they say whose they are."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from ...model.config import Address

_MACS, _TAG = 12, 4
_TAGS = (0x8100, 0x88A8)
_IPV4, _IPV6 = 0x0800, 0x86DD
_EXTENSIONS = (0, 43, 60, 135)
"""Headers of IPv6 between its own and the transport's, of which the first two bytes are the next
protocol and the length (RFC 8200)."""
_FRAGMENT = 44
_MOST_EXTENSIONS = 8
TCP, UDP = 6, 17
_ICMP, _ICMPV6 = 1, 58
_ERRORS = {_ICMP: (3, 11, 12), _ICMPV6: (1, 2, 3, 4)}
"""Types of ICMP that quote the packet they are about (RFC 792, RFC 4443)."""
_NAMES = {_ICMP: "icmp", TCP: "tcp", UDP: "udp", _ICMPV6: "icmp6", 4: "ipip", 41: "ip6", 47: "gre"}
_FLAGS = {0x02: "SYN", 0x10: "ACK", 0x01: "FIN", 0x04: "RST", 0x08: "PSH", 0x20: "URG"}


@dataclass(frozen=True)
class Packet:
    """An IP packet, as far as it can be read.

    ports: source and destination; None: it has none, as ICMP and most fragments, or they were cut
        off.
    flags: of TCP. quoted: what an ICMP error is about.
    """

    protocol: int
    source: Address
    destination: Address
    ports: tuple[int, int] | None = None
    flags: int = 0
    quoted: Packet | None = None

    def __str__(self) -> str:
        source, destination = str(self.source), str(self.destination)
        if self.ports:
            form = "[{}]:{}" if self.source.version == 6 else "{}:{}"
            source = form.format(source, self.ports[0])
            destination = form.format(destination, self.ports[1])
        words = [_NAMES.get(self.protocol, f"protocol {self.protocol}"), source, ">", destination]
        words += [name for bit, name in _FLAGS.items() if self.flags & bit]
        return " ".join(words) + (f" about {self.quoted}" if self.quoted else "")


def mac_of(frame: bytes) -> str:
    """The address that a frame is sent to."""
    return frame[:6].hex(":")


def packet_in(frame: bytes) -> Packet | None:
    """What an Ethernet frame, or its beginning, carries; None: nothing that can be read."""
    at = _MACS
    while int.from_bytes(frame[at : at + 2], "big") in _TAGS:
        at += _TAG
    try:
        return _read(int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 :])
    except (struct.error, IndexError):
        return None


def _read(ethertype: int, packet: bytes, may_quote: bool = True) -> Packet | None:
    """Raises struct.error or IndexError if it is too short."""
    if ethertype == _IPV4:
        at, protocol = (packet[0] & 0xF) * 4, packet[9]
        is_later = bool(struct.unpack_from("!H", packet, 6)[0] & 0x1FFF)
        ends = struct.unpack_from("!4s4s", packet, 12)
    elif ethertype == _IPV6:
        protocol, at, is_later = _skipped(packet)
        ends = struct.unpack_from("!16s16s", packet, 8)
    else:
        return None
    source, destination = map(ip_address, ends)
    rest = b"" if is_later else packet[at:]
    ports, flags, quoted = None, 0, None
    if protocol in (TCP, UDP) and len(rest) >= 4:
        ports = struct.unpack_from("!HH", rest)
        flags = rest[13] if protocol == TCP and len(rest) > 13 else 0
    elif may_quote and rest and rest[0] in _ERRORS.get(protocol, ()) and len(rest) > 8:
        quoted = _quoted(ethertype, rest[8:])
    return Packet(protocol, source, destination, ports, flags, quoted)


def _quoted(ethertype: int, packet: bytes) -> Packet | None:
    try:
        return _read(ethertype, packet, may_quote=False)
    except (struct.error, IndexError):
        return None


def _skipped(packet: bytes) -> tuple[int, int, bool]:
    """Protocol and place of the transport's header of an IPv6 packet, and whether it is a fragment
    that has none."""
    protocol, at = packet[6], 40
    for _turn in range(_MOST_EXTENSIONS):
        if protocol in _EXTENSIONS:
            protocol, at = packet[at], at + 8 + packet[at + 1] * 8
        elif protocol == _FRAGMENT:
            if struct.unpack_from("!H", packet, at + 2)[0] & 0xFFF8:
                return packet[at], at + 8, True
            protocol, at = packet[at], at + 8
        else:
            break
    return protocol, at, False
