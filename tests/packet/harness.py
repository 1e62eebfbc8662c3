# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled program and the model side by side: every frame goes through both.

Only this file knows how the library is called.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import build, counters
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.build import (
    build_flags,
    machine,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.program import DataPath
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import Array
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.pins import Pins
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import image
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.egress_record import (
    Egress,
    EgressKey,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.sizes import Room, room_for
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import (
    Ingress,
    Receivers,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdicts
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.judge import Judged

from tests import maps
from tests.packet.flows import FlowTable
from tests.packet.hashing import ones_complement_sum
from tests.packet.model import (
    Fib,
    Hop,
    Host,
    Interface,
    Model,
    Outcome,
    Statistics,
    Tally,
    Verdict,
)
from tests.packet.packets import BALANCER_MAC, mac
from tests.packet.wire import ECHO_REQUEST, ICMP, Address, parse, pseudo_header

T = TypeVar("T")

SOURCES = Path(__file__).parents[2] / "files" / "bpf"
CLONE_NEWNET = 0x40000000

VIP = "192.0.2.10"
VIP6 = "2001:db8::10"
VIPS = {4: VIP, 6: VIP6}
BALANCER_ADDRESS = "192.0.2.2"
BALANCER_ADDRESS6 = "2001:db8::2"
GATEWAY_MAC = "52:54:00:00:00:fe"
LARGE_MTU = 9000
"""Of the interface, unless a test is about it."""

CAPACITIES = (4096, 65536)
TABLES = (64, 8192)
"""How many backends programs are compiled for: twice those of a configuration, for a program that
is used again needs room for those before and those after."""

FLOW_KEY = bytes.fromhex("c3a5c85c97cb3127")
"""Known, so that which flows share a set of the flow table is the same in every run."""

MOST_PROGRAMS = 16
"""How many programs a balancer keeps: each holds a dozen files open."""

NO_LIMIT = 2**32 - 1
"""The greatest rate there is: of answers, unless a test is about their limits."""

LONG_SECONDS = ["-UTICKS_PER_SECOND", "-DTICKS_PER_SECOND=0x100000"]
"""More than an hour each: what a second brings does not come while a test lasts."""

IN_EVERY_VLAN = dict.fromkeys(range(4096), 0x7FFFFFFF)
"""As if there was a device for each; it is none that routing knows."""

LONGEST_FRAME = 3520
"""What fits a test run: a page, less the headroom of 256 bytes and the kernel's 320 at the end."""


def service(name: str = "web", **options: Any) -> dict[str, Any]:
    """The options of a service; by default TCP port 443 of the VIP, under jhash and stateless."""
    defaults = {
        "address": VIP,
        "port": 443,
        "protocol": "tcp",
        "scheduler": "jhash",
        "flow_table": False,
        "backends": backends(1),
    }
    return {"name": name, **defaults, **options}


FIRST_BACKEND = {4: "10.0.0.1", 6: "2001:db8:b::1"}


def backends(count: int, *, version: int = 4, **options: Any) -> list[dict[str, Any]]:
    """The options of backends 10.0.0.1, 10.0.0.2 (or 2001:db8:b::1, 2001:db8:b::2) and so on."""
    first = ip_address(FIRST_BACKEND[version])
    return [{"address": str(first + index), **options} for index in range(count)]


EVERYTHING: list[dict[str, Any]] = [
    service(
        f"{version} {encapsulation} {scheduler}",
        address=VIPS[version],
        port=port,
        scheduler=scheduler,
        encapsulation=encapsulation,
        affinity="source",
        flow_table=True,
        backends=[],
    )
    for version in (4, 6)
    for port, encapsulation in enumerate(("ipip", "gue", "gre", "l2"))
    for scheduler in [("jhash", "maglev")[port % 2]]
]
EVERY_OPTION = {"source_address": "203.0.113.0/24", "source_address6": "2001:db8:5::/64"}
"""What uses every feature there is."""


class Namespace:
    """A network namespace of its own, and the one thread that lives in it.

    A test run looks up routes in the namespace of the thread that asks for it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.call(_leave_network)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in here."""
        return self._thread.submit(function, *arguments).result()

    def ip(self, command: str) -> None:
        """Run a command of ip(8)."""
        self.call(_run, ["ip", *command.split()])

    def output(self, command: str) -> str:
        """What a command prints."""
        return self.call(_output, command.split())

    def write(self, setting: str, value: str) -> None:
        """Set a sysctl, called by its path below /proc/sys."""
        self.call((Path("/proc/sys") / setting).write_text, value)

    @contextlib.contextmanager
    def on(self, cpu: int | None) -> Iterator[None]:
        """Have what is called run on another CPU; None: on the same."""
        before = self.call(os.sched_getaffinity, 0)
        self.call(os.sched_setaffinity, 0, before if cpu is None else {cpu})
        yield
        self.call(os.sched_setaffinity, 0, before)

    def close(self) -> None:
        """End the thread, and with it the namespace."""
        self._thread.shutdown()


def _leave_network() -> None:
    # Flows and routes are remembered per CPU.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class NoPins(Pins):
    """Of maps that go with this process."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))

    def set(self, name: str, thing: object) -> None:
        pass

    def drop_others(self, names: object) -> None:
        pass


class Balancer:
    """The program and the model, configured alike. A program is compiled once for each set of
    features.

    flags: more -D flags for the program.
    every_feature: compile for more than what is configured, once for all configurations.
    own: the interface's addresses.
    host: the rest of it, for the model; receivers: the same for the program.
    egresses: how frames leave by the interfaces of the namespace.
    standstill: let time stand still for program and model, so that limits of answers are exact.
    """

    def __init__(
        self,
        namespace: Namespace,
        mac_address: str = BALANCER_MAC,
        fib: Fib | None = None,
        *,
        flags: Sequence[str] = (),
        every_feature: bool = False,
        own: tuple[str | None, str | None] = (BALANCER_ADDRESS, BALANCER_ADDRESS6),
        host: Host | None = None,
        receivers: Receivers | None = None,
        egresses: Mapping[EgressKey, Egress] | None = None,
        standstill: bool = False,
    ) -> None:
        self.namespace = namespace
        self.flags = [*flags, *(LONG_SECONDS if standstill else [])]
        self._clock = (lambda: 0.0) if standstill else time.monotonic
        self._mac_address = mac_address
        self.fib = fib
        self.egresses = egresses or {}
        self._every_feature = every_feature
        self._address = IPv4Address(own[0]) if own[0] else None
        self._address6 = IPv6Address(own[1]) if own[1] else None
        self._host = host
        self._receivers = receivers or Receivers(by_vlan=IN_EVERY_VLAN)
        self._compiled: dict[tuple[str, ...], DataPath] = {}
        self._written: tuple[Any, ...] | None = None
        self._judged: Judged
        self._before = Statistics()
        self._handled = 0

    def configure(self, *services: Mapping[str, Any], **options: Any) -> None:
        """Make program and model do what a user wants, without remembered flows, and count from
        zero.

        options: those of the configuration, and the mtu of the interface. Without routes, a
        gateway's MAC address is among them.
        """
        self._configure(services, options)
        self._forget_flows()

    def reconfigure(self, *services: Mapping[str, Any], **options: Any) -> None:
        """Make program and model do something else, flows remembered, and count from zero."""
        datapath, flows = self.datapath, self.model.flows
        self._configure(services, options)
        assert self.datapath is datapath, "other features take another program, without the flows"
        self.model.flows = flows

    def hear(self, verdicts: Mapping[str, Verdicts]) -> None:
        """Have both follow verdicts, all that there are of the services named."""
        self.namespace.call(self._judged.follow, verdicts, NoPins())
        self._manifest = self._judged.manifest
        self.model.hear(self._manifest.verdicts)

    def differences(self) -> list[str]:
        """Where the maps do not hold what is configured and has been heard."""
        return maps.differences(self.datapath, self._manifest, self._judged.ingress)

    def choices(self) -> dict[str, list[str | None]]:
        """The backend of each slot, by the name of the service; a settled one has a single one."""
        found = {}
        for service in self._manifest.config.services:
            numbers = self._manifest.numbers[service.name].items()
            by_number = {number: str(address) for address, number in numbers}
            table = self._manifest.tables.get(service.name)
            slots = (
                array("H", self.datapath.lookup_tables.lookup(table.index) or b"")
                if table
                else [image.only_number(service, self._manifest)]
            )
            found[service.name] = [by_number.get(number) for number in slots]
        return found

    def send(self, frame: bytes) -> Outcome:
        """Send one frame through both; fail where they differ."""
        return self.send_all([frame])[0]

    def send_all(self, frames: Iterable[bytes], cpu: int | None = None) -> list[Outcome]:
        """Send frames through both; fail where they differ.

        cpu: where the program runs, if not on the one where all of a namespace do.
        """
        frames = list(frames)
        with self.namespace.on(cpu):
            got = self.namespace.call(self._run_all, frames)
        expected = [self.model.process(frame) for frame in frames]
        if got != expected:
            different = [
                number
                for number in range(len(frames))
                if got[number] != expected[number]
                and not self._asks(frames[number], got[number], expected[number].asks_for)
            ]
            shown = "\n".join(
                f"frame {number}: {frames[number].hex()}\n  expected: {_show(expected[number])}\n"
                f"       got: {_show(got[number])}"
                for number in sorted(different, key=lambda number: len(frames[number]))[:5]
            )
            assert not different, (
                f"{len(different)} of {len(frames)} frames fared otherwise\n{shown}"
            )
        self._handled += sum(outcome.verdict is not Verdict.PASS for outcome in expected)
        return got

    def check(self) -> Statistics:
        """What was counted: as the model has it, and every packet to a service exactly once."""
        counted = self.counted()
        assert counted == self.model.statistics
        assert counted.handled == self._handled
        return counted

    def counted(self) -> Statistics:
        """What the program has counted since it was configured."""
        now = self._counted()
        return Statistics(
            services=_grown(self._before.services, now.services),
            backends=_grown(self._before.backends, now.backends),
            drops=_more(self._before.drops, now.drops),
            answers=_more(self._before.answers, now.answers),
            flows=_more(self._before.flows, now.flows),
        )

    def names(self) -> dict[str, set[str]]:
        """All names under which drops, answers and events of the flow table are counted."""
        now = counters.statistics(self.datapath, self._manifest)
        return {"drops": set(now.drops), "answers": set(now.answers), "flows": set(now.flows)}

    def close(self) -> None:
        """Unload all programs."""
        self._compiled.clear()

    def _configure(self, services: Iterable[Mapping[str, Any]], options: dict[str, Any]) -> None:
        options = {"echo_rate": NO_LIMIT, "too_big_rate": NO_LIMIT, **options}
        if self.fib is None:
            options = {"gateway_mac": GATEWAY_MAC, **options}
        mtu = options.pop("mtu", LARGE_MTU)
        config = parse_config({"interface": "lo", "services": services, **options})
        hops = {address: hop for address, hop in (self.fib or {}).items() if isinstance(hop, Hop)}
        source = Ingress(
            address=self._address,
            address6=self._address6,
            mac=self._mac_address,
            mtu=mtu,
            receivers=self._receivers,
        )
        mtus = {address: hop.route_mtu for address, hop in hops.items() if hop.route_mtu}
        written = config, source, dict(self.egresses), mtus
        if written != self._written:
            self.namespace.call(self._write, *written)
            self._written = written
        self._empty("limits")
        self.model = Model(
            config,
            Interface(mac(self._mac_address), self._address, self._address6, mtu),
            self.fib,
            FlowTable(config.flow_table_size, self.datapath.flow_key or 0),
            host=self._host,
            clock=self._clock,
        )
        self.model.hear(self._manifest.verdicts)  # those of services that stay
        self._before = self._counted()
        self._handled = 0

    def _write(
        self,
        config: Config,
        source: Ingress,
        exits: dict[EgressKey, Egress],
        mtus: dict[Address, int],
    ) -> None:
        total = sum(len(service.backends) for service in config.services)
        backends = next(size for size in CAPACITIES if total < size / 2 or size == CAPACITIES[-1])
        tables = room_for(None, config).tables
        room = Room(backends, next(size for size in TABLES if tables <= size / 2))
        fitting = config
        if self._every_feature:
            fitting = parse_config(
                {
                    "interface": "lo",
                    "services": EVERYTHING,
                    "flow_table_size": config.flow_table_size,
                    **EVERY_OPTION,
                }
            )
        kind = tuple(build_flags(fitting, room, machine()))
        if kind in self._compiled:
            self._compiled[kind] = self._compiled.pop(kind)
        else:
            if len(self._compiled) == MOST_PROGRAMS:
                self._compiled.pop(next(iter(self._compiled)))
            sources = read_sources(SOURCES)
            self._compiled[kind] = build.load(sources, fitting, room, flags=self.flags)
        self.datapath = self._compiled[kind]
        flow_key = self.datapath.maps.get("flow_key")
        if isinstance(flow_key, Array):
            flow_key.update(0, FLOW_KEY)
        self._manifest = maps.write(self.datapath, config, source, exits, mtus)
        self._judged = Judged.found(self.datapath, self._manifest, source)

    def _forget_flows(self) -> None:
        if "flows" in self.datapath.maps:
            self._empty("flows")

    def _empty(self, name: str) -> None:
        array = self.datapath.counters(name)
        array.update_many((number, array.empty) for number in range(array.shape.max_entries))

    def _run_all(self, frames: Iterable[bytes]) -> list[Outcome]:
        run = self.datapath.run
        outcomes = []
        for frame in frames:
            verdict, after = run(frame)
            outcomes.append(Outcome(Verdict(verdict), None if verdict == Verdict.DROP else after))
        return outcomes

    def _asks(self, sent: bytes, got: Outcome, backend: Address | None) -> bool:
        """Whether a packet left as a ping from the backend to the source of its tunnel."""
        if backend is None or got.verdict is not Verdict.PASS or got.frame is None:
            return False
        own = self.model.asking_source(backend.version)
        packet = parse(got.frame)
        if packet is None or own is None or got.frame[:6] != sent[:6]:
            return False
        message = got.frame[packet.transport : packet.end]
        sums = [message]
        if packet.version == 4:
            sums.append(got.frame[packet.start : packet.transport])
        else:
            sums = [pseudo_header(backend, own, ICMP[6], len(message)) + message]
        return (
            (packet.source, packet.destination, packet.protocol, message[0])
            == (backend, own, ICMP[packet.version], ECHO_REQUEST[packet.version])
            and self.model.is_icmp(packet)
            and all(ones_complement_sum(data) == 0xFFFF for data in sums)
        )

    def _counted(self) -> Statistics:
        statistics = counters.statistics(self.datapath, self._manifest)
        return Statistics(
            {
                name: Tally(tally.packets, tally.bytes)
                for name, tally in statistics.services.items()
            },
            {key: Tally(tally.packets, tally.bytes) for key, tally in statistics.backends.items()},
            dict(statistics.drops),
            dict(statistics.answers),
            dict(statistics.flows),
        )


K = TypeVar("K")


def _grown(before: Mapping[K, Tally], now: Mapping[K, Tally]) -> dict[K, Tally]:
    grown = {}
    for key, tally in now.items():
        old = before.get(key, Tally())
        if tally != old:
            grown[key] = Tally(tally.packets - old.packets, tally.bytes - old.bytes)
    return grown


def _more(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    return {
        name: count - before.get(name, 0)
        for name, count in now.items()
        if count != before.get(name, 0)
    }


def _show(outcome: Outcome) -> str:
    return f"{outcome.verdict.name:8} {(outcome.frame or b'').hex()}"
