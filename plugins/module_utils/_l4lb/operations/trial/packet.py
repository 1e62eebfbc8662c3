# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets to try: of a flow, or an ICMP error about an answer to it."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from ...errors import ConfigError
from ...maps import layout
from ...model.config import Address
from ...model.options import PROTOCOLS
from ...realserver.probe import checksum, ip
from .flow import Flow

TCP_FLAGS = {"fin": 0x01, "syn": 0x02, "rst": 0x04, "psh": 0x08, "ack": 0x10, "urg": 0x20}
ERRORS = {
    "too-big": {4: (3, 4), 6: (2, 0)},
    "unreachable": {4: (3, 1), 6: (1, 3)},
    "time-exceeded": {4: (11, 0), 6: (3, 0)},
}
"""Kind -> type and code, by IP version (RFC 792, RFC 4443)."""
_TOLD_MTU = 1280
"""What a "too big" claims to be the most; nobody here believes it."""
_ICMP, _ICMPV6 = 1, 58
_ETHERNET = 14
_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_HEADERS = {4: 20, 6: 40}
_ROOM = os.sysconf("SC_PAGE_SIZE") - 256 - 320 - _ETHERNET
"""Bytes for a packet in a frame that is tried: a page, without what the kernel keeps free before it
and behind it (XDP_PACKET_HEADROOM, struct skb_shared_info)."""


@dataclass(frozen=True)
class Packet:
    """What comes in by the interface.

    size: bytes of the IP packet; 0: the least.
    flags: of TCP; by default not the first packet, for that would start anew.
    error: of ERRORS, if it is an ICMP error about an answer to the flow; nothing else counts then.
    reporter: who sends that; None: the client.
    """

    flow: Flow
    size: int = 0
    flags: int = TCP_FLAGS["ack"]
    error: str | None = None
    reporter: Address | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError if there can be no such packet."""
        if self.size and not self.least <= self.size <= _ROOM:
            raise ConfigError(
                "--size",
                self.size,
                f"give the bytes of the IP packet, {self.least} to {_ROOM}, which is what the "
                "kernel lets one try",
            )
        if self.reporter and self.reporter.version != self.flow.source.version:
            raise ConfigError(
                "--from", str(self.reporter), f"not of the IP version of {self.flow.source}"
            )

    @property
    def least(self) -> int:
        """Bytes of the shortest packet of the flow."""
        return _HEADERS[self.flow.source.version] + len(self._header())

    @property
    def length(self) -> int:
        """Bytes of the IP packet."""
        return len(self._packet())

    def frame(self, mac: str) -> bytes:
        """An Ethernet frame of it, to this address."""
        ethertype = _TYPES[self.flow.source.version]
        return layout.pack_mac(mac) + bytes(6) + ethertype + self._packet()

    def _packet(self) -> bytes:
        flow = self.flow
        if self.error:
            return self._report(self.error)
        payload = bytes(max(0, self.size - self.least))
        protocol = PROTOCOLS[flow.protocol]
        return ip(flow.source, flow.destination, protocol, self._header(len(payload)) + payload)

    def _header(self, payload: int = 0) -> bytes:
        ports = struct.pack("!HH", self.flow.source_port, self.flow.destination_port)
        if self.flow.protocol == "tcp":
            return ports + struct.pack("!IIBBHHH", 1, 1, 5 << 4, self.flags, 0xFFFF, 0, 0)
        return ports + struct.pack("!HH", 8 + payload, 0)

    def _report(self, error: str) -> bytes:
        """What quotes an answer of the service."""
        flow, version = self.flow, self.flow.source.version
        answer = Flow(
            flow.protocol,
            flow.destination,
            flow.destination_port,
            flow.source,
            flow.source_port,
        )
        quoted = Packet(answer)._packet()
        sender = self.reporter or flow.source
        kind, code = ERRORS[error][version]
        start, rest = bytes([kind, code]), struct.pack("!I", _TOLD_MTU if error == "too-big" else 0)
        protocol = _ICMP if version == 4 else _ICMPV6
        length = len(start) + 2 + len(rest) + len(quoted)
        pseudo = b""
        if version == 6:
            ends = sender.packed + flow.destination.packed
            pseudo = ends + struct.pack("!II", length, protocol)
        total = checksum(pseudo + start + bytes(2) + rest + quoted)
        return ip(
            sender, flow.destination, protocol, start + struct.pack("!H", total) + rest + quoted
        )
