# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program by which health checks get into the tunnel, and its maps."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import L4lbError
from ..kernel import apart
from ..kernel.bpf import Program
from ..kernel.maps import Array, maps_of
from ..kernel.sources import join_sources
from ..maps.probe_record import COUNT_SIZE, NO_PROBE, PROBE_SIZE, Count, unpack_count

_MAIN, _FUNCTION, _KIND = "probe.c", "probe", "SCHED_CLS"
_FLAGS = ("-DWITH_SPREAD", "-DWITH_GUE", "-DWITH_GRE")
_LEAST = 1024
MOST = 1 << 16
"""Records, for sockets name one in 16 bits."""


class ProbeProgram:
    """A loaded program. It lives as long as this object, or as it is attached."""

    def __init__(self, program: Program) -> None:
        self.program = program
        maps = maps_of(program)
        self._probes = _array(maps, "probes", PROBE_SIZE)
        self._counts = _array(maps, "probe_counts", COUNT_SIZE)

    @classmethod
    def load(cls, sources: Mapping[str, str], count: int) -> ProbeProgram:
        """Compile one with room for so many records, in a process of its own.

        sources: the files of files/bpf.

        Raises HostError or CompileError.
        """
        if _MAIN not in sources:
            raise L4lbError(f"the C sources lack {_MAIN}; is the collection installed completely?")
        room = max(_LEAST, min(MOST, 1 << (count - 1).bit_length()))
        flags = [*_FLAGS, f"-DPROBES={room}"]
        return cls(apart.load(join_sources(sources, _MAIN), flags, _FUNCTION, _KIND))

    @property
    def room(self) -> int:
        """How many records fit."""
        return self._probes.shape.max_entries

    def write(self, records: Mapping[int, bytes]) -> None:
        """Have these, as of pack_probe, by index."""
        self._probes.update_many(records.items())

    def erase(self, index: int) -> None:
        """Have no record there."""
        self._probes.update(index, NO_PROBE)

    def count(self, index: int) -> Count:
        """What became of the packets of a record so far."""
        return unpack_count(self._counts.lookup(index) or bytes(COUNT_SIZE))


def _array(maps: Mapping[str, object], name: str, size: int) -> Array:
    found = maps.get(name)
    if not isinstance(found, Array) or found.element_size != size:
        raise L4lbError(f"the program has no map {name} as this version of the collection makes it")
    return found
