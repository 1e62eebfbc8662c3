# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of checks `via: tunnel`: to a service's address, but to one backend for certain.

A program at the egress of the interfaces by which routes to services lead encapsulates what a
socket's priority names a record for (files/bpf/probe.c). A packet that passed there by mistake
would reach any backend and tell lies about another; so what became of each probe is counted by its
record, and no answer counts without.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from ...datapath.probes import MOST, ProbeProgram
from ...errors import KernelError, L4lbError
from ...maps.backend_record import overhead
from ...maps.probe_record import REFUSALS, Count, pack_probe
from ...model.config import Address
from ...network import egress_filter, rtnetlink
from ...network.egress_filter import Attachment
from ...network.routes import RouteEntry, routes
from ...printable import listed

Key = TypeVar("Key", bound=Hashable)
_NAME = "l4lb_probe"
_UNICAST = 1  # RTN_UNICAST
_HEADERS = {4: 40, 6: 60}
"""Of TCP over IP, without options."""


class Tunnel:
    """The program, its records, and where it is attached."""

    def __init__(self, program: ProbeProgram, tcx: bool = True) -> None:
        """tcx: where the kernel has it."""
        self._program, self._tcx = program, tcx
        self._indices: dict[Hashable, int] = {}
        self._records: dict[int, bytes] = {}
        self._next = 0
        self._seen: dict[int, Count] = {}
        self._attached: dict[int, Attachment] = {}
        self._put_back: set[int] = set()
        self.problems: dict[Address, str] = {}
        """Services' addresses that cannot be asked by this way, and why, as `keep` found last."""

    @classmethod
    def load(cls, sources: Mapping[str, str], count: int) -> Tunnel:
        """With room for so many backends of services; it takes a second or more.

        sources: the files of files/bpf.

        Raises HostError or CompileError.
        """
        return cls(ProbeProgram.load(sources, count))

    @property
    def room(self) -> int:
        """How many backends of services fit."""
        return self._program.room

    # Records

    def place(self, wanted: Mapping[Key, tuple[bytes, int]]) -> dict[Key, int]:
        """Have records of these, and no others; the index of each.

        wanted: anything that names a backend of a service -> its struct backend, and the index of
        the balanced interface. Who had an index keeps it; it is long before another one gets it.
        """
        if len(wanted) > min(self.room, MOST):
            raise L4lbError(f"the tunnel has room for {self.room} backends, not {len(wanted)}")
        for key in self._indices.keys() - wanted.keys():
            index = self._indices.pop(key)
            del self._records[index]
            self._seen.pop(index, None)
            self._program.erase(index)
        changed = {}
        for key, (backend, interface) in wanted.items():
            index = self._indices[key] if key in self._indices else self._free()
            self._indices[key] = index
            record = pack_probe(backend, interface)
            if self._records.get(index) != record:
                self._records[index] = changed[index] = record
        self._program.write(changed)
        return {key: self._indices[key] for key in wanted}

    def _free(self) -> int:
        """The next index that nobody has."""
        while self._next in self._records:
            self._next = (self._next + 1) % self.room
        found, self._next = self._next, (self._next + 1) % self.room
        return found

    # What became of probes

    def expect(self, index: int) -> None:
        """A probe by this record begins."""
        if index not in self._seen:
            self._seen[index] = self._program.count(index)

    def refusal(self, index: int) -> str | None:
        """Why nothing of that probe was sent; None if something was."""
        before = self._seen.get(index)
        if before is None:
            return "the backend has gone"
        now = self._seen[index] = self._program.count(index)
        if now.sent != before.sent:
            return None
        if now.refused != before.refused:
            return REFUSALS[now.refusal]
        return "no packet came to the tunnel"

    # Where it is attached

    def keep(self, services: Iterable[Address]) -> list[str]:
        """Be attached where routes to these lead, and nowhere else; what was amiss, in words.

        To be called every few seconds. A program that somebody removed is put back once. Raises
        KernelError if the kernel does not answer.
        """
        addresses = sorted({*services}, key=int)
        ways = dict(zip(addresses, routes(addresses)))
        self.problems = {}
        said: list[str] = []
        leading: dict[int, list[Address]] = {}
        for address, way in ways.items():
            problem = _problem(address, way)
            if problem:
                self.problems[address] = problem
            for hop in way.hops if way and not problem else ():
                leading.setdefault(hop.interface, []).append(address)
        for interface in self._attached.keys() - leading.keys():
            self._attached.pop(interface).detach()
        for interface, there in leading.items():
            problem = self._keep_at(interface, said)
            self.problems.update(dict.fromkeys(there, problem) if problem else {})
        return said

    def _keep_at(self, interface: int, said: list[str]) -> str | None:
        """Why it is not attached there; None if it is."""
        before = self._attached.get(interface)
        if before and before.holds:
            return None
        name = egress_filter.called(interface)
        if before and interface in self._put_back:
            return f"somebody removed its program from {name} again"
        try:
            program = self._program.program
            self._attached[interface] = Attachment(interface, program, _NAME, self._tcx)
        except KernelError as e:
            return str(e)
        if before:
            self._put_back.add(interface)
            said.append(f"somebody removed the program of the tunnel from {name}; it is put back")
        return None

    def close(self) -> None:
        """Be attached nowhere. Raises KernelError."""
        for interface in [*self._attached]:
            self._attached.pop(interface).detach()


def remove_leftovers() -> list[str]:
    """Detach what a process that was killed has left; the names of the interfaces. It does nothing
    to packets that no probe sends. Raises KernelError."""
    names = []
    for link in rtnetlink.links():
        if any(one.name == _NAME for one in egress_filter.attached(link.index)):
            egress_filter.remove_filter(link.index)
            names.append(link.name)
    return names


def _problem(address: Address, way: RouteEntry | None) -> str | None:
    """Why packets to a service's address do not leave this host."""
    if way is None or (way.type == _UNICAST and not way.hops):
        return f"this host has no route to {address}"
    if way.type != _UNICAST:
        return f"{address} is this host's own; use via: address"
    return None


def segment_size(mtu: int, encapsulation: str, service: int, backend: int) -> int:
    """Bytes of the longest TCP segment that need not be fragmented.

    mtu: of the way to the backend. service, backend: IP versions of their addresses.
    """
    return mtu - overhead(encapsulation, backend) - _HEADERS[service]


def told(problems: Mapping[Address, str]) -> list[str]:
    """Problems in words, each once, with the addresses that have it."""
    having: dict[str, list[Address]] = {}
    for address, problem in problems.items():
        having.setdefault(problem, []).append(address)
    return [f"{problem} ({listed(addresses)})" for problem, addresses in having.items()]
