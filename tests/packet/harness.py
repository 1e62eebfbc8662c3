# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled program and the model side by side: every frame goes through both.

Only this file knows how the library is called.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.xdp.l4lb.plugins.module_utils.datapath import DataPath
from ansible_collections.xdp.l4lb.plugins.module_utils.image import Source, features
from ansible_collections.xdp.l4lb.plugins.module_utils.model import Config

from tests.packet.model import Fib, Interface, Model, Outcome, Statistics, Tally, Verdict
from tests.packet.packets import BALANCER_MAC, mac

T = TypeVar("T")

SOURCES = Path(__file__).parents[2] / "files" / "bpf"
CLONE_NEWNET = 0x40000000

VIP = "192.0.2.10"
BALANCER_ADDRESS = "192.0.2.2"
GATEWAY_MAC = "52:54:00:00:00:fe"

CAPACITIES = (4096, 65536)
"""How many backends programs are compiled for: twice those of a configuration, for a program that
is used again needs room for those before and those after."""

LONGEST_FRAME = 3520
"""What fits a test run: a page, less the headroom of 256 bytes and the kernel's 320 at the end."""


def service(name: str = "web", **options: Any) -> dict[str, Any]:
    """The options of a service; by default TCP port 443 of the VIP, under jhash."""
    defaults = {
        "address": VIP,
        "port": 443,
        "protocol": "tcp",
        "scheduler": "jhash",
        "backends": backends(1),
    }
    return {"name": name, **defaults, **options}


def backends(count: int, **options: Any) -> list[dict[str, Any]]:
    """The options of backends 10.0.0.1, 10.0.0.2 and so on."""
    first = int(IPv4Address("10.0.0.1"))
    return [{"address": str(IPv4Address(first + index)), **options} for index in range(count)]


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

    def write(self, setting: str, value: str) -> None:
        """Set a sysctl, called by its path below /proc/sys."""
        self.call((Path("/proc/sys") / setting).write_text, value)

    def close(self) -> None:
        """End the thread, and with it the namespace."""
        self._thread.shutdown()


def _leave_network() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)


class Balancer:
    """The program and the model, configured alike. A program is compiled once for each set of
    features."""

    def __init__(
        self, namespace: Namespace, mac_address: str = BALANCER_MAC, fib: Fib | None = None
    ) -> None:
        self._namespace = namespace
        self._source = Source(IPv4Address(BALANCER_ADDRESS), mac_address)
        self._fib = fib
        self._compiled: dict[tuple[object, ...], DataPath] = {}
        self._config: Config | None = None
        self._before = Statistics()

    def configure(self, *services: Mapping[str, Any], **options: Any) -> None:
        """Make program and model do what a user wants, and count from zero.

        options: those of the configuration. Without routes, a gateway's MAC address is among them.
        """
        if self._fib is None:
            options = {"gateway_mac": GATEWAY_MAC, **options}
        config = Config.parse({"interface": "lo", "services": services, **options})
        self.model = Model(
            config, Interface(mac(self._source.mac), self._source.address), self._fib
        )
        if config != self._config:
            self._namespace.call(self._write, config)
            self._config = config
        self._before = self._counted()

    def send(self, frame: bytes) -> Outcome:
        """Send one frame through both; fail where they differ."""
        return self.send_all([frame])[0]

    def send_all(self, frames: Iterable[bytes]) -> list[Outcome]:
        """Send frames through both; fail where they differ."""
        frames = list(frames)
        got = self._namespace.call(self._run_all, frames)
        expected = [self.model.process(frame) for frame in frames]
        if got != expected:
            different = [number for number in range(len(frames)) if got[number] != expected[number]]
            shown = "\n".join(
                f"frame {number}: {frames[number].hex()}\n  expected: {_show(expected[number])}\n"
                f"       got: {_show(got[number])}"
                for number in different[:5]
            )
            raise AssertionError(
                f"{len(different)} of {len(frames)} frames fared otherwise\n{shown}"
            )
        return got

    def send_behind_metadata(self, frame: bytes) -> Outcome:
        """Send one frame through both, with metadata of ones before it.

        What the program makes room for is not blank then, so that a field that it leaves out shows.
        """
        got = self._namespace.call(_run_behind_metadata, self._datapath.program.fd, frame)
        expected = self.model.process(frame)
        assert got == expected, f"expected: {_show(expected)}\n     got: {_show(got)}"
        return got

    def counted(self) -> Statistics:
        """What the program has counted since it was configured."""
        now = self._counted()
        return Statistics(
            services=_grown(self._before.services, now.services),
            backends=_grown(self._before.backends, now.backends),
            drops={
                reason: count - self._before.drops.get(reason, 0)
                for reason, count in now.drops.items()
                if count != self._before.drops.get(reason, 0)
            },
        )

    def drop_reasons(self) -> set[str]:
        """The names of all reasons to drop a packet."""
        return set(self._datapath.statistics(self._manifest).drops)

    def _write(self, config: Config) -> None:
        total = sum(len(service.backends) for service in config.services)
        capacity = next(size for size in CAPACITIES if total < size / 2 or size == CAPACITIES[-1])
        kind = (capacity, *features(config))
        if kind not in self._compiled:
            sources = {path.name: path.read_text() for path in SOURCES.iterdir()}
            self._compiled[kind] = DataPath.load(sources, config, capacity)
        self._datapath = self._compiled[kind]
        self._manifest = self._datapath.write(config, self._source)

    def _run_all(self, frames: Iterable[bytes]) -> list[Outcome]:
        run = self._datapath.run
        outcomes = []
        for frame in frames:
            verdict, after = run(frame)
            outcomes.append(Outcome(Verdict(verdict), None if verdict == Verdict.DROP else after))
        return outcomes

    def _counted(self) -> Statistics:
        statistics = self._datapath.statistics(self._manifest)
        return Statistics(
            {
                name: Tally(tally.packets, tally.bytes)
                for name, tally in statistics.services.items()
            },
            {key: Tally(tally.packets, tally.bytes) for key, tally in statistics.backends.items()},
            dict(statistics.drops),
        )


class _TestRun(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_char_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


def _run_behind_metadata(program_fd: int, frame: bytes) -> Outcome:
    metadata = b"\xff" * 32
    # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    context = struct.pack("=6I", len(metadata), len(metadata) + len(frame), 0, 0, 0, 0)
    out = ctypes.create_string_buffer(len(metadata) + len(frame) + 256)
    run = _TestRun(
        sz=ctypes.sizeof(_TestRun),
        data_in=metadata + frame,
        data_size_in=len(metadata) + len(frame),
        data_out=ctypes.addressof(out),
        data_size_out=len(out),
        ctx_in=context,
        ctx_size_in=len(context),
        repeat=1,
    )
    result = ctypes.CDLL("libbpf.so.1").bpf_prog_test_run_opts(program_fd, ctypes.byref(run))
    if result < 0:
        raise OSError(-result, f"BPF_PROG_TEST_RUN: {os.strerror(-result)}")
    after = out.raw[len(metadata) : run.data_size_out]
    verdict = Verdict(run.retval)
    return Outcome(verdict, None if verdict is Verdict.DROP else after)


K = TypeVar("K")


def _grown(before: Mapping[K, Tally], now: Mapping[K, Tally]) -> dict[K, Tally]:
    grown = {}
    for key, tally in now.items():
        old = before.get(key, Tally())
        if tally != old:
            grown[key] = Tally(tally.packets - old.packets, tally.bytes - old.bytes)
    return grown


def _show(outcome: Outcome) -> str:
    return f"{outcome.verdict.name:8} {(outcome.frame or b'').hex()}"
