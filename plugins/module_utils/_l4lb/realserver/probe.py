# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether packets in tunnels reach sockets: a probe for each VIP and way, as a balancer sends it.

It comes in by the interface, as from the wire: the kernel runs an XDP program on it, the one that
unpacks or else one that lets it pass, and goes on as with any other packet (BPF_PROG_TEST_RUN with
live frames, Linux 5.18). So routes back, rp_filter and firewalls have their say. What it has to
reach is a socket of this process, at the VIP. On an older kernel it comes in by the loopback
interface, for tunnel devices, and of an XDP program it is seen only what that unpacks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address

from ..errors import HostError, KernelError
from ..kernel import bpf
from ..kernel.bpf import Program, TestRunOptions
from ..model.config import Address
from ..network import link
from . import observe
from .desired import Desired, Entry

_LIVE_FRAMES = 1 << 1
_XDP_MD = struct.Struct("=6I")
_PASS = struct.pack("=2Bhi2Bhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
"""r0 = XDP_PASS; exit"""
_TYPES = {4: 0x0800, 6: 0x86DD}
_PROTOCOLS = {4: 4, 6: 41}
_UDP, _GRE = 17, 47
_PORT = 9  # discard; nothing is ever answered
_SENDER = b"\x02\0\0\0\0\1"
_UNKNOWN: dict[int, Address] = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8::1")}
"""Where no balancer of that family is known; any address that the routes know does."""
_PATIENCE, _TRY = 5.0, 0.2
"""Seconds. The kernel makes an address of IPv6 known in its own time, after it has been added."""


def failures(desired: Desired) -> Iterator[str]:
    """What does not arrive, in words. Raises HostError."""
    interfaces = observe.addresses()
    for entry in desired.tunnels:
        interface = desired.interface or interfaces.get(entry.backend, "lo")
        before = _unpacked()
        if not _arrives(entry, _sources(desired), interface):
            how = f"a probe for {entry.vip} by {entry.encapsulation} to {entry.backend}"
            if _unpacked() > before:
                yield (
                    f"{how} is unpacked and then reaches no socket: see whether a firewall drops "
                    "UDP to the VIP, or rp_filter what comes from balancers, or set verify to false"
                )
            else:
                yield (
                    f"{how} is not unpacked: see what a firewall says of such packets on "
                    f"{interface}, and l4lb real-server status what differs"
                )


def _unpacked() -> int:
    """Packets so far, of everybody."""
    counted = observe.counters()
    programs = (events["unpacked"] for events in counted["programs"].values())
    return sum((*programs, *counted["devices"].values()))


def _sources(desired: Desired) -> dict[int, Address]:
    """IP version -> where a balancer's packets come from."""
    found = dict(_UNKNOWN)
    for one in reversed(desired.balancers):
        if one.prefixlen:
            found[one.version] = one[min(1, one.num_addresses - 1)]
    return found


def _arrives(entry: Entry, sources: dict[int, Address], interface: str) -> bool:
    programs = observe.programs()
    program = programs[interface].program if interface in programs else None
    token = os.urandom(16)
    family = socket.AF_INET if entry.vip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as ear:
        try:
            ear.bind((str(entry.vip), 0))
        except OSError as e:
            raise HostError(f"listen at the VIP {entry.vip}: {e.strerror}") from e
        ear.settimeout(_TRY)
        inner = udp(sources[entry.vip.version], entry.vip, ear.getsockname()[1], token)
        packet = in_tunnel(entry, sources[entry.backend.version], inner)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if _send(packet, entry, interface, program) == inner or _hears(ear, token):
                return True
    return False


def _hears(ear: socket.socket, token: bytes) -> bool:
    with contextlib.suppress(OSError):
        while ear.recv(64) != token:
            pass
        return True
    return False


def _send(packet: bytes, entry: Entry, interface: str, program: Program | None) -> bytes:
    """Have the packet come in. Returns what the program makes of it, where the kernel cannot go on
    with that: there no more can be seen."""
    there = link.read_link(interface)
    link_header = bytes.fromhex(there.mac.replace(":", "")) + _SENDER
    frame = link_header + struct.pack("!H", _TYPES[entry.backend.version]) + packet
    try:
        if there.name != "lo":
            _inject(program or Program.load("l4lb_probe", _PASS), frame, there.index)
            return b""
    except (KernelError, HostError):
        if program:
            return program.test_run(frame, index=there.index)[1][len(link_header) + 2 :]
    _send_by_loopback(packet, entry.backend)
    return b""


def _inject(program: Program, frame: bytes, index: int) -> None:
    """Have the kernel receive a frame. Raises KernelError, or HostError without libbpf."""
    context = _XDP_MD.pack(0, len(frame), 0, index, 0, 0)
    options = TestRunOptions(
        sz=ctypes.sizeof(TestRunOptions),
        data_in=frame,
        data_size_in=len(frame),
        ctx_in=context,
        ctx_size_in=len(context),
        repeat=1,
        flags=_LIVE_FRAMES,
    )
    bpf.check(
        bpf.libbpf().bpf_prog_test_run_opts(program.fd, ctypes.byref(options)), "receive a probe"
    )


def _send_by_loopback(packet: bytes, to: Address) -> None:
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(packet, (str(to), 0))
    except OSError as e:
        raise HostError(f"send a probe: {e.strerror}") from e


# Packets


def in_tunnel(entry: Entry, source: Address, inner: bytes) -> bytes:
    """The packet that a balancer makes of `inner`."""
    protocol = _PROTOCOLS[entry.vip.version]
    if entry.encapsulation == "gue":
        inner = struct.pack("!4H", 0xC000 | _PORT, entry.gue_port, 8 + len(inner), 0) + inner
        protocol = _UDP
    elif entry.encapsulation == "gre":
        inner = struct.pack("!2H", 0, _TYPES[entry.vip.version]) + inner
        protocol = _GRE
    return ip(source, entry.backend, protocol, inner)


def udp(source: Address, to: Address, port: int, payload: bytes) -> bytes:
    """A packet of UDP."""
    length = 8 + len(payload)
    head = struct.pack("!3H", _PORT, port, length)
    pseudo = source.packed + to.packed + struct.pack("!2H", _UDP, length)
    sum_ = checksum(pseudo + head + payload) or 0xFFFF
    return ip(source, to, _UDP, head + struct.pack("!H", sum_) + payload)


def ip(source: Address, to: Address, protocol: int, payload: bytes) -> bytes:
    """A packet of the family of its addresses."""
    addresses = source.packed + to.packed
    if to.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload
    start = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol)
    sum_ = checksum(start + addresses)
    return start + struct.pack("!H", sum_) + addresses + payload


def checksum(content: bytes) -> int:
    """RFC 1071."""
    padded = content + bytes(len(content) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
