# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that were captured, and what became of them."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ...maps.reasons import ANSWERS, DROPS
from ...model.config import Address, Config, Service
from . import frame

FATES = ("passed", "dropped", "answered", "sent")
"""In the order of enum fate of files/bpf/capture.c."""
REASONS = ("", *DROPS, *ANSWERS)
"""In the order of `reason` of struct record there."""
HEADER = struct.Struct("=Q3I2H")
"""Of struct record."""


@dataclass(frozen=True)
class Record:
    """What the kernel tells of a packet.

    time: in ns since 1970. verdict: XDP's (enum xdp_action).
    before, after: the beginnings of frames; after: empty unless it was sent or answered.
    length, length_after: of the whole frames.
    """

    time: int
    verdict: int
    fate: str
    reason: str
    before: bytes
    length: int
    after: bytes = b""
    length_after: int = 0

    @classmethod
    def unpack(cls, raw: bytes, since: int) -> Record:
        """since: what to add to the time."""
        at, length, after, verdict, fate, reason = HEADER.unpack_from(raw)
        frames = raw[HEADER.size :]
        snaplen = len(frames) // 2
        return cls(
            time=at + since,
            verdict=verdict,
            fate=FATES[fate],
            reason=REASONS[reason],
            before=frames[: min(length, snaplen)],
            length=length,
            after=frames[snaplen : snaplen + min(after, snaplen)],
            length_after=after,
        )


@dataclass(frozen=True)
class Captured:
    """A packet, and what is known of it.

    services: that it is to; several, if it has no port and they have one address.
    """

    record: Record
    packet: frame.Packet | None
    services: tuple[str, ...] = ()
    backend: Address | None = None

    @property
    def comment(self) -> str:
        """What became of it, in words."""
        words = self.record.fate
        if self.backend:
            words += f" to {self.backend}"
        if self.record.reason:
            words += f": {self.record.reason}"
        if self.services:
            label = "service" if len(self.services) == 1 else "services"
            words += f", {label} {', '.join(self.services)}"
        return words

    @property
    def line(self) -> str:
        """The same with when and what, for people."""
        seconds, rest = divmod(self.record.time, 10**9)
        clock = time.strftime("%H:%M:%S", time.localtime(seconds))
        what = str(self.packet) if self.packet else "not IP"
        size = f"{self.record.length} bytes"
        if self.record.length_after and self.record.length_after != self.record.length:
            size += f", {self.record.length_after} after"
        return f"{clock}.{rest // 1000:06} {what}, {size}: {self.comment}"


class Reader:
    """Finds out which service a packet is to, and which backend it was sent to."""

    def __init__(self, config: Config, macs: Iterable[tuple[Address, str]] = ()) -> None:
        """macs: of backends that get frames without an outer header."""
        self._by_key = {service.key: service for service in config.services}
        self._by_address: dict[Address, list[Service]] = {}
        for service in config.services:
            self._by_address.setdefault(service.address, []).append(service)
        self._by_mac: dict[str, set[Address]] = {}
        for address, mac in macs:
            self._by_mac.setdefault(mac, set()).add(address)

    def read(self, record: Record) -> Captured:
        """What is known of it."""
        packet = frame.packet_in(record.before)
        services = self._services(packet) if packet else []
        backend = None
        if record.fate == "sent" and services:
            backend = self._backend(record.after, services[0])
        return Captured(record, packet, tuple(one.name for one in services), backend)

    def _services(self, packet: frame.Packet) -> list[Service]:
        address, protocol, port = packet.destination, packet.protocol, None
        if packet.quoted:  # an answer of the service
            address, protocol = packet.quoted.source, packet.quoted.protocol
            port = packet.quoted.ports[0] if packet.quoted.ports else None
        elif packet.ports:
            port = packet.ports[1]
        there = self._by_address.get(address, [])
        if port is None:
            return there
        name = {frame.TCP: "tcp", frame.UDP: "udp"}.get(protocol, "")
        keys = (address, port, name), (address, 0, name)
        return [self._by_key[key] for key in keys if key in self._by_key][:1]

    def _backend(self, after: bytes, service: Service) -> Address | None:
        if service.encapsulation == "l2":
            known = self._by_mac.get(frame.mac_of(after), set())
            mine = [one.address for one in service.backends if one.address in known]
            return mine[0] if len(mine) == 1 else None
        outer = frame.packet_in(after)
        return outer.destination if outer else None
