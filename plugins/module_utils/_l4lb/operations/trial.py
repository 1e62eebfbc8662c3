# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program does with a flow, found out by a packet that nobody else notices.

A second copy of the program is loaded and run on one packet of the flow (BPF_PROG_TEST_RUN), on
each CPU, as each has a flow table of its own. The copy reads the live services, lookup tables and
backends. Its counters are its own, and so is its flow table, to which is copied what the live one
holds where the flow belongs. So the live counters and flows stay as they are, and no packet leaves
the host.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..balancer.balancer import Balancer
from ..balancer.live import at_work
from ..datapath import build
from ..datapath.program import DataPath
from ..errors import ConfigError, L4lbError
from ..kernel import lock
from ..kernel.maps import PerCpuArray
from ..maps import backend_record, flow_table, layout
from ..maps.manifest import Manifest
from ..maps.reasons import ANSWERS, DROPS
from ..model.config import Address, Backend, Service
from ..model.options import PROTOCOLS
from ..network.link import Link
from ..routing.path_mtu import Limit
from ..schedulers import hashes
from ..schedulers.jhash import jhash_slot
from ..schedulers.maglev import maglev_slot

_READ_ONLY = ("services", "lookup_tables", "backends", "egresses")
_KEY = "flow_key"
_XDP_PASS = 2
_TCP_ACK = 0x10
_PASSED, _DROPPED, _ANSWERED, _SENT = "passed", "dropped", "answered", "sent"


@dataclass(frozen=True)
class Flow:
    """What packets of one connection, or one exchange of datagrams, have in common."""

    protocol: str
    source: Address
    source_port: int
    destination: Address
    destination_port: int

    def __post_init__(self) -> None:
        """Raises ConfigError if there can be no such flow."""
        if self.source.version != self.destination.version:
            raise ConfigError(
                "source", str(self.source), f"not of the IP version of {self.destination}"
            )

    def frame(self, mac: str) -> bytes:
        """An Ethernet frame of it, to this address: of TCP not the first one, for that would start
        anew."""
        ports = struct.pack("!HH", self.source_port, self.destination_port)
        if self.protocol == "tcp":
            l4 = ports + struct.pack("!IIBBHHH", 1, 1, 5 << 4, _TCP_ACK, 0xFFFF, 0, 0)
        else:
            l4 = ports + struct.pack("!HH", 8, 0)
        protocol, addresses = PROTOCOLS[self.protocol], self.source.packed + self.destination.packed
        macs = layout.pack_mac(mac) + bytes(6)
        if self.source.version == 4:
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(l4), 0, 0x4000, 64, protocol, 0)
            total = sum(struct.unpack("!10H", head + addresses))
            total = (total & 0xFFFF) + (total >> 16)
            total = ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
            head = head[:10] + total.to_bytes(2, "big")
            return macs + b"\x08\x00" + head + addresses + l4
        head = struct.pack("!IHBB", 6 << 28, len(l4), protocol, 64)
        return macs + b"\x86\xdd" + head + addresses + l4

    def fingerprint(self, key: int) -> int:
        """By what a flow table knows it: fingerprint() of files/bpf/choose/hash.h."""
        return hashes.fingerprint(
            _words(self.source),
            self._ports(),
            _words(self.destination),
            PROTOCOLS[self.protocol],
            key,
        )

    def slot(self, service: Service, seed: int) -> int:
        """Its slot in the lookup table of a service: slot_of() of files/bpf/choose/service.h."""
        by_source = service.affinity == "source"
        if service.scheduler == "maglev":
            ports = 0 if by_source else self._ports()
            return maglev_slot(hashes.flow_hash(_words(self.source), ports, seed))
        word = 0
        for at in range(0, len(self.source.packed), 4):
            word ^= _native(self.source.packed[at : at + 4])
        return jhash_slot(word, 0 if by_source else self._ports())

    def _ports(self) -> int:
        return _native(struct.pack("!HH", self.source_port, self.destination_port))


@dataclass(frozen=True)
class Verdict:
    """What the program does with a packet."""

    fate: str
    """passed (to the host), dropped, answered or sent."""
    reason: str | None = None
    """Of layout.DROPS or layout.ANSWERS."""
    backend: Backend | None = None
    number: int = 0
    """The backend's, as maps and counters know it."""
    next_hop: str | None = None
    """MAC address that the packet is sent to."""
    interface: int = 0
    """Index of the one that it leaves by; 0: the one it came by."""
    limit: Limit | None = None
    """How long it may be, outer headers included."""


@dataclass(frozen=True)
class Finding:
    """What becomes of a flow, and why."""

    service: Service | None
    new: Verdict
    """If no CPU remembers it, as the lookup table says."""
    slot: int | None = None
    """In the lookup table; None if there is none: new flows have one backend, or no service."""
    remembered: dict[int, Verdict] = field(default_factory=dict)
    """By CPU, where the flow table remembers it."""
    other_sources: bool = False
    """The live program was compiled from other sources than these, and may behave otherwise."""


def find_out(balancer: Balancer, flow: Flow) -> Finding:
    """What the balancer does with packets of `flow`.

    Needs the sources, and all that it takes to compile them. Waits while another run changes the
    balancer. Raises L4lbError, as if nothing balances.
    """
    with lock.of_interface(balancer.interface, balancer.places.paths):
        live, data_path, manifest = at_work(balancer.places)
        copy = _copy(balancer, data_path, manifest)
        service = _service_of(flow, manifest)
        digest = hashlib.sha256(build.program_text(balancer.sources).encode()).hexdigest()
        seed = manifest.config.hash_seed
        trial = _Trial(copy, manifest, service, flow, live.link)
        cpus = sorted(os.sched_getaffinity(0))
        (new,) = (verdict for _cpu, verdict, _hit in trial.run(cpus[:1]))
        if data_path.flows and copy.flows:
            _copy_flows(data_path.flows, copy.flows, flow.fingerprint(data_path.flow_key or 0))
        return Finding(
            service=service,
            new=new,
            slot=(
                None
                if service is None or manifest.standings[service.name].is_settled
                else flow.slot(service, seed)
            ),
            remembered={cpu: verdict for cpu, verdict, hit in trial.run(cpus) if hit},
            other_sources=manifest.build.get("sources") != digest,
        )


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


def _copy_flows(live: PerCpuArray, copy: PerCpuArray, fingerprint: int) -> None:
    """What the live flow table remembers, of that part of it that the flow belongs to."""
    block = flow_table.flow_block(fingerprint, copy.shape.max_entries)
    content = live.lookup(block)
    if content is not None:
        copy.update(block, content)


def _service_of(flow: Flow, manifest: Manifest) -> Service | None:
    by_key = {service.key: service for service in manifest.config.services}
    ports = (flow.destination_port, 0)
    keys = ((flow.destination, port, flow.protocol) for port in ports)
    return next((by_key[key] for key in keys if key in by_key), None)


class _Trial:
    """Runs a copy of the program on a packet, and reads from its counters what it did."""

    def __init__(
        self,
        copy: DataPath,
        manifest: Manifest,
        service: Service | None,
        flow: Flow,
        link: Link,
    ) -> None:
        """link: the interface that the packet comes in by."""
        self._copy = copy
        self._frame = flow.frame(link.mac)
        self._index = link.index
        self._numbers = {}
        self._second = False
        if service:
            self._second = service.name in manifest.second
            known = manifest.numbers[service.name]
            self._numbers = {known[backend.address]: backend for backend in service.backends}

    def run(self, cpus: list[int]) -> Iterator[tuple[int, Verdict, bool]]:
        """For each CPU its number, the verdict, and whether its flow table remembered the flow."""
        before = self._counts()
        results = {}
        for cpu in cpus:
            with _on(cpu):
                results[cpu] = self._copy.run(self._frame, self._index)
        news = self._counts() - before
        for cpu, (code, frame) in results.items():
            counted = {kind: what for kind, what, where in news if where == cpu}
            yield cpu, self._verdict(code, frame, counted, cpu), "flow_events" in counted

    def _verdict(self, code: int, frame: bytes, counted: dict[str, int], cpu: int) -> Verdict:
        if "backend_cpus" in counted:
            number = counted["backend_cpus"]
            interface, limit = self._hop(number, cpu)
            mac = ":".join(f"{byte:02x}" for byte in frame[:6])
            return Verdict(_SENT, None, self._numbers[number], number, mac, interface, limit)
        if "drops" in counted:
            return Verdict(_DROPPED, list(DROPS)[counted["drops"] - 1])
        if "answers" in counted:
            return Verdict(_ANSWERED, list(ANSWERS)[counted["answers"]])
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
        option = self._numbers[number].mtu
        if not interface:  # the next hop is given
            return 0, Limit(written, "option" if written == option else "interface")
        origins = {written: "route", option: "option"}
        return interface, Limit(mtu, origins.get(mtu, "interface"))

    def _counts(self) -> Counter[tuple[str, int, int]]:
        """(map, index, CPU) -> how often; of flow_events the hits."""
        wanted = {
            "backend_cpus": list(self._numbers),
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
                    found[name, index, cpu] = _native(value[:8])
        return found


@contextmanager
def _on(cpu: int) -> Iterator[None]:
    """Run on this CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _words(address: Address) -> list[int]:
    """As the program reads an address: one word of IPv4, two of IPv6."""
    size = 4 if address.version == 4 else 8
    packed = address.packed
    return [_native(packed[at : at + size]) for at in range(0, len(packed), size)]


def _native(packed: bytes) -> int:
    return int.from_bytes(packed, sys.byteorder)
