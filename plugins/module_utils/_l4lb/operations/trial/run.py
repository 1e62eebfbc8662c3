# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program does with a packet, found out by one that nobody else notices.

A second copy of the program is loaded and run on the packet (BPF_PROG_TEST_RUN), on each CPU, as
each has a flow table of its own. The copy reads the live services, lookup tables and backends. Its
counters are its own, and so is its flow table, to which is copied what the live one holds where the
flow belongs. So the live counters and flows stay as they are, and no packet leaves the host.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from ...balancer.balancer import Balancer
from ...balancer.live import at_work
from ...datapath import build
from ...datapath.program import DataPath
from ...errors import L4lbError
from ...maps import backend_record, flow_table
from ...maps.manifest import Manifest
from ...maps.reasons import ANSWERS, DROPS
from ...model.config import Backend
from ...routing.path_mtu import Limit
from .flow import Flow, native
from .packet import Packet

_READ_ONLY = ("services", "lookup_tables", "backends", "egresses")
_KEY = "flow_key"
_XDP_PASS = 2
_PASSED, _DROPPED, _ANSWERED, _SENT = "passed", "dropped", "answered", "sent"


@dataclass(frozen=True)
class Verdict:
    """What the program does with a packet."""

    fate: str
    """passed (to the host), dropped, answered or sent."""
    reason: str | None = None
    """Of maps.reasons: DROPS or ANSWERS."""
    backend: Backend | None = None
    number: int = 0
    """The backend's, as maps and counters know it."""
    next_hop: str | None = None
    """MAC address that the packet is sent to."""
    interface: int = 0
    """Index of the one that it leaves by; 0: the one it came by."""
    limit: Limit | None = None
    """How long it may be, outer headers included."""
    frame: bytes = field(default=b"", repr=False, compare=False)
    """What it has become."""


class Tried(NamedTuple):
    """What became of a packet on a CPU, and whether the flow table there remembered its flow."""

    verdict: Verdict
    remembered: bool


class Trial:
    """A copy of the program that is at work on an interface, to try packets of a flow on.

    Whoever makes one holds the lock of the interface, which keeps the live maps as they are.
    """

    def __init__(self, balancer: Balancer, flow: Flow) -> None:
        """Needs the sources, and all that it takes to compile them. Raises L4lbError, as if nothing
        balances."""
        self.live, self.data_path, self.manifest = at_work(balancer.places)
        self.flow = flow
        self.service = flow.service(self.manifest)
        self.cpus = sorted(os.sched_getaffinity(0))
        self._copy = _copy(balancer, self.data_path, self.manifest)
        digest = hashlib.sha256(build.program_text(balancer.sources).encode()).hexdigest()
        self.other_sources = self.manifest.build.get("sources") != digest
        self.numbers: dict[int, Backend] = {}
        self._second = False
        if self.service:
            self._second = self.service.name in self.manifest.second
            known = self.manifest.numbers[self.service.name]
            self.numbers = {known[one.address]: one for one in self.service.backends}

    @property
    def slot(self) -> int | None:
        """The flow's in the lookup table; None if there is none: new flows have one backend, or no
        service."""
        if self.service is None or self.manifest.standings[self.service.name].is_settled:
            return None
        return self.flow.slot(self.service, self.manifest.config.hash_seed)

    @property
    def fingerprint(self) -> int:
        """By what the live flow table knows the flow."""
        return self.flow.fingerprint(self.data_path.flow_key or 0)

    def remembered(self) -> bytes:
        """Of the live flow table, on all CPUs, the part that the flow belongs to."""
        table = self.data_path.flows
        if not table:
            return b""
        return table.lookup(flow_table.flow_block(self.fingerprint, table.shape.max_entries)) or b""

    def run_anew(self, packet: Packet) -> Verdict:
        """What becomes of it where its flow is not remembered."""
        ((_cpu, tried),) = self._run(packet, self.cpus[:1])
        return tried.verdict

    def run(self, packet: Packet) -> dict[int, Tried]:
        """What becomes of it on each CPU, by what that remembers."""
        copy, content = self._copy.flows, self.remembered()
        if copy and content:
            copy.update(flow_table.flow_block(self.fingerprint, copy.shape.max_entries), content)
        return dict(self._run(packet, self.cpus))

    def _run(self, packet: Packet, cpus: Iterable[int]) -> Iterator[tuple[int, Tried]]:
        frame, index = packet.frame(self.live.link.mac), self.live.link.index
        before = self._counts()
        results = {}
        for cpu in cpus:
            with _on(cpu):
                results[cpu] = self._copy.run(frame, index)
        news = self._counts() - before
        for cpu, (code, after) in results.items():
            counted = {kind: what for kind, what, where in news if where == cpu}
            yield cpu, Tried(self._verdict(code, after, counted, cpu), "flow_events" in counted)

    def _verdict(self, code: int, frame: bytes, counted: dict[str, int], cpu: int) -> Verdict:
        if "backend_cpus" in counted:
            number = counted["backend_cpus"]
            interface, limit = self._hop(number, cpu)
            mac = ":".join(f"{byte:02x}" for byte in frame[:6])
            return Verdict(_SENT, None, self.numbers[number], number, mac, interface, limit, frame)
        if "drops" in counted:
            return Verdict(_DROPPED, list(DROPS)[counted["drops"] - 1], frame=frame)
        if "answers" in counted:
            return Verdict(_ANSWERED, list(ANSWERS)[counted["answers"]], frame=frame)
        if code != _XDP_PASS:
            raise L4lbError(f"the program answered {code} and counted nothing")
        return Verdict(_PASSED)

    def _hop(self, number: int, cpu: int) -> tuple[int, Limit]:
        """By which interface packets to a backend leave, 0: the one they come by; and their
        limit."""
        records = backend_record.both_records(self._copy.backends.lookup(number) or b"")
        written = backend_record.mtu_of(records[self._second])
        cpus = self._copy.backend_cpus
        record = cpus.by_cpu(cpus.lookup(number) or cpus.empty)[cpu]
        interface, mtu = backend_record.next_hop(record)
        option = self.numbers[number].mtu
        if not interface:  # the next hop is given
            return 0, Limit(written, "option" if written == option else "interface")
        origins = {written: "route", option: "option"}
        return interface, Limit(mtu, origins.get(mtu, "interface"))

    def _counts(self) -> Counter[tuple[str, int, int]]:
        """(map, index, CPU) -> how often; of flow_events the hits."""
        wanted = {
            "backend_cpus": list(self.numbers),
            "drops": range(1, len(DROPS) + 1),
            "answers": range(len(ANSWERS)),
            "flow_events": [0],
        }
        found: Counter[tuple[str, int, int]] = Counter()
        for name, indices in wanted.items():
            if name not in self._copy.maps:  # as a program without a flow table
                continue
            for index in indices:
                counters = self._copy.counters(name)
                values = counters.by_cpu(counters.lookup(index) or counters.empty)
                for cpu, value in values.items():
                    found[name, index, cpu] = native(value[:8])
        return found


def _copy(balancer: Balancer, data_path: DataPath, manifest: Manifest) -> DataPath:
    """Another program like the live one, with its services and backends."""
    reusable = build.reusable_maps(data_path.maps, manifest.config, data_path.room)
    reusable["services"] = data_path.maps["services"]
    if not reusable.keys() >= set(_READ_ONLY):
        raise L4lbError(
            f"the maps of {balancer.interface} do not fit this version of the collection; "
            "apply the configuration again"
        )
    staging = balancer.places.staging
    staging.remove()
    staging.create()
    try:
        for name in (*_READ_ONLY, _KEY):
            if name in reusable:  # as there may be no flow table
                staging.set(name, reusable[name])
        pin_dir = f'-DPIN_DIR="{staging.directory}"'
        return build.load(balancer.sources, manifest.config, data_path.room, [pin_dir])
    finally:
        staging.remove()


@contextmanager
def _on(cpu: int) -> Iterator[None]:
    """Run on this CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
