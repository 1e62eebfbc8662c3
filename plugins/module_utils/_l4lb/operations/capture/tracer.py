# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that see packets before and after the one that balances.

The kernel calls them when that begins and ends (fentry, fexit). They are compiled in a process of
their own, and are attached for as long as this one has them open, however it ends. The program that
balances costs as much as ever while they are not there.
"""

from __future__ import annotations

import platform
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...datapath.program import DataPath
from ...errors import HostError, KernelError, L4lbError
from ...kernel import apart, bpf
from ...kernel.bpf import Object, Program
from ...kernel.maps import Map, PerCpuArray, RingReader, Sums
from ...kernel.sources import join_sources
from .packet import Record
from .wanted import Wanted

_MAIN = "capture.c"
_ENTRY, _EXIT = "capture_entry", "capture_exit"
_COUNTERS = ("drops", "answers")
"""Maps of the program that balances, which tell why."""
_NOTHING = struct.pack("=2Bhi2Bhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
"""r0 = 0; exit"""
_RING_PAGES = 2048
"""Of 4 KiB. A power of two."""


class Tracer:
    """Programs that are loaded, and the packets that they tell of."""

    def __init__(self, entry: Program, exit_: Program, ring: Map, losses: PerCpuArray) -> None:
        self._programs = (exit_, entry)  # the first knows a packet only from the second
        self._losses = losses
        self._ring = RingReader(ring)
        self._links: list[Object] = []
        self._since = time.time_ns() - time.monotonic_ns()

    @classmethod
    def load(cls, sources: Mapping[str, str], data_path: DataPath, wanted: Wanted) -> Tracer:
        """For the program of a data path. Nothing is attached yet.

        Raises HostError if the kernel takes no such programs, or there is nothing to compile with.
        """
        if _MAIN not in sources:
            raise L4lbError(f"the C sources lack {_MAIN}; is the collection installed completely?")
        try:  # compiling takes a second, which is for nothing then
            Program.load_tracing("capture_probe", _NOTHING, bpf.FENTRY, data_path.program)
        except KernelError as e:
            raise _refused(e) from e
        flags = [*wanted.flags(), f"-DRING_PAGES={_RING_PAGES}"]
        program, maps = data_path.program, {name: data_path.counters(name) for name in _COUNTERS}
        numbers = {name: one.fd for name, one in maps.items()}
        arguments = [join_sources(sources, _MAIN), flags, program.fd, numbers]
        fds = [program.fd, *numbers.values()]
        entry, exit_, ring, losses = apart.descriptors(
            __name__, arguments, "compile what captures packets", fds
        )
        return cls(Program(entry), Program(exit_), Map(ring), PerCpuArray(losses))

    def attach(self) -> None:
        """From now on. Raises HostError if the kernel does not let it."""
        try:
            for program in self._programs:
                self._links.append(program.trace())
        except KernelError as e:
            raise _refused(e) from e

    def take(self) -> list[Record]:
        """The packets since the last time; does not wait. Raises KernelError."""
        return [Record.unpack(raw, self._since) for raw in self._ring.take()]

    @property
    def lost(self) -> int:
        """Packets that found no room, as they came faster than they were taken."""
        return Sums(self._losses, 1)(0)[0]

    def detach(self) -> None:
        """Packets are seen no more; what was seen can still be taken."""
        self._links.clear()

    def close(self) -> None:
        """The end of it."""
        self.detach()
        self._ring.close()


def serve(order: dict[str, Any]) -> None:
    """In the process that compiles: sends the programs, the ring and the counter of losses."""
    apart.give(order, _loaded)


@contextmanager
def _loaded(text: str, flags: list[str], target: int, maps: dict[str, int]) -> Iterator[list[int]]:
    from ...kernel import compiler  # not before it is needed: this is read without it, too

    traced = Program(target)
    with compiler.instructions(text, flags, _MAIN, maps) as (code, descriptor):
        programs = [
            Program.load_tracing(name, code(name), kind, traced)
            for name, kind in ((_ENTRY, bpf.FENTRY), (_EXIT, bpf.FEXIT))
        ]
        yield [*(one.fd for one in programs), descriptor("ring"), descriptor("losses")]


def _refused(error: KernelError) -> HostError:
    return HostError(
        f"Linux {platform.release()} lets no program be traced ({error}); that takes a kernel with "
        "CONFIG_DEBUG_INFO_BTF that forbids no tracing. Try xdpdump of the package xdp-tools, "
        "capture on a backend, or ask l4lb explain"
    )
