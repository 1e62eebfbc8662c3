# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XDP program that unpacks (files/bpf/decap.c), and what it is told.

Its name has a digest of its source, so that a program in the kernel tells which it is; the
interface that it is attached to keeps it, and it keeps its maps.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import HostError, KernelError
from ..kernel import bpf, compiler
from ..kernel.bpf import Program
from ..kernel.maps import HashTable, Map, PerCpuArray, Sums, maps_of
from ..model.config import Address, Network
from ..network import link, rtnetlink, xdp
from .state import Unpacker

SOURCE = "decap.c"
_PREFIX = "l4lb_d_"
_EVENTS = ("unpacked", "not_a_balancer", "not_a_vip")
_AT = struct.Struct("=I16s")  # struct address_at: index of the interface, address
_PREFIX_AT = struct.Struct("=I")  # of struct prefix_at: its length; an address_at follows
_MAPPED = bytes(10) + b"\xff\xff"
_INTERFACE_BITS, _MAPPED_BITS = 32, 96


def name_of(sources: Mapping[str, str]) -> str:
    """What a program of these sources is called, in 15 characters."""
    return _PREFIX + hashlib.sha256(sources.get(SOURCE, "").encode()).hexdigest()[:8]


def load(sources: Mapping[str, str]) -> Program:
    """Compile and load it. Raises HostError or CompileError."""
    if SOURCE not in sources:
        raise HostError(f"the source of the XDP program, {SOURCE}, is missing")
    name = name_of(sources)
    return compiler.load(sources[SOURCE], [f"-Ddecap={name}"], name)


class Attached(NamedTuple):
    """A program of ours, on an interface."""

    number: int
    """Of the interface."""
    program: Program

    def told(self) -> Unpacker:
        """What it does."""
        maps = _tables(self.program)
        ends = {
            (address, int.from_bytes(port, "big"))
            for key, port in maps["tunnel_ends"].items().items()
            for index, address in [_read_address(key)]
            if index == self.number
        }
        sets = {
            name: frozenset(
                prefix
                for key in maps[name].items()
                for index, prefix in [_read_prefix(key)]
                if index == self.number
            )
            for name in ("balancers", "vips")
        }
        vips = frozenset(one.network_address for one in sets["vips"])
        return Unpacker(self.program.name, frozenset(ends), sets["balancers"], vips)

    def counters(self) -> dict[str, int]:
        """What became of packets in tunnels to this host, by the name of the event."""
        events = maps_of(self.program)["events"]
        if not isinstance(events, PerCpuArray):
            raise KernelError("events is no array of each CPU")
        sums = Sums(events, 1)
        return {name: sums(number)[0] for number, name in enumerate(_EVENTS)}


def attached() -> dict[str, Attached]:
    """Ours, by interface."""
    found = {}
    for entry in rtnetlink.links():
        program = Program.by_id(entry.xdp_program) if entry.xdp_program else None
        if program and program.name.startswith(_PREFIX):
            found[entry.name] = Attached(entry.index, program)
    return found


def foreign() -> list[str]:
    """The interfaces that have a program of somebody else."""
    carriers = [entry.name for entry in rtnetlink.links() if entry.xdp_program]
    ours = attached() if carriers and bpf.is_there() else {}
    return [name for name in carriers if name not in ours]


def attach(interface: str, program: Program, wanted: Unpacker) -> None:
    """Have this program on an interface, in place of ours if there is one, and have it unpack at
    once. Raises KernelError or ConfigError."""
    there = link.read_link(interface)
    now = attached().get(interface)
    tell(Attached(there.index, program), wanted)
    xdp.attach(there, program.fd, "auto", now.program.fd if now else None)


def tell(on: Attached, wanted: Unpacker) -> None:
    """Have it unpack what is wanted. What it is to learn comes first: what is wanted before and
    after is unpacked meanwhile. Raises KernelError."""
    now = on.told()
    maps = _tables(on.program)
    ends = {
        _address_at(on.number, address): struct.pack("!H", port) for address, port in wanted.ends
    }
    for key, port in ends.items():
        maps["tunnel_ends"].update(key, port)
    prefixes = {"balancers": wanted.balancers, "vips": map(ipaddress.ip_network, wanted.vips)}
    keys = {name: {_prefix_at(on.number, one) for one in prefixes[name]} for name in prefixes}
    for name, each in keys.items():
        for key in each:
            maps[name].update(key, b"\1")
    for address, _port in now.ends:
        if _address_at(on.number, address) not in ends:
            maps["tunnel_ends"].delete(_address_at(on.number, address))
    old = {"balancers": now.balancers, "vips": map(ipaddress.ip_network, now.vips)}
    for name, networks in old.items():
        for key in {_prefix_at(on.number, one) for one in networks} - keys[name]:
            maps[name].delete(key)


def detach(interface: str) -> None:
    """Remove ours; none is fine. Raises KernelError or ConfigError."""
    now = attached().get(interface)
    if now:
        xdp.detach(link.read_link(interface), now.program.fd)


def _tables(program: Program) -> dict[str, HashTable]:
    found: dict[str, Map] = maps_of(program)
    return {name: map_ for name, map_ in found.items() if isinstance(map_, HashTable)}


def _address_at(index: int, address: Address) -> bytes:
    packed = address.packed if address.version == 6 else _MAPPED + address.packed
    return _AT.pack(index, packed)


def _prefix_at(index: int, prefix: Network) -> bytes:
    length = _INTERFACE_BITS + prefix.prefixlen + 128 - prefix.max_prefixlen
    return _PREFIX_AT.pack(length) + _address_at(index, prefix.network_address)


def _read_address(key: bytes) -> tuple[int, Address]:
    index, packed = _AT.unpack(key)
    return index, ipaddress.ip_address(packed[12:] if packed.startswith(_MAPPED) else packed)


def _read_prefix(key: bytes) -> tuple[int, Network]:
    (length,) = _PREFIX_AT.unpack_from(key)
    index, packed = _AT.unpack_from(key, _PREFIX_AT.size)
    length -= _INTERFACE_BITS
    if packed.startswith(_MAPPED) and length >= _MAPPED_BITS:
        return index, ipaddress.ip_network((packed[12:], length - _MAPPED_BITS))
    return index, ipaddress.ip_network((packed, length))
