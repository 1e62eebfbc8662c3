# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real frames: how many a second a program takes that sits at the end of a veth pair.

sender.c sends frames out of one end, by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES (Linux
5.18). They arrive at the other end as from a network card: by NAPI, where the program under test
gets them; in generic mode as socket buffers that the driver has built. What it sends goes back
through the driver to the first end, which drops it: by a program in native mode; in generic mode
in the stack, which throws away at once what is for another MAC address.

All of this happens on one CPU in one thread, as the kernel receives at the end of a batch, on the
CPU that has sent. So the time from one block of frames to the next is the CPU time that their whole
way has taken. Programs take turns, each on a pair of its own; see stopwatch.py on noise.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import sub
from pathlib import Path
from statistics import median
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import TestRunOptions
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import maps_of
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import link, xdp

from tests.bench.frames import FLOWS, HEAD_LEN
from tests.bench.sandbox import ip
from tests.bench.stopwatch import WrongResultError
from tests.bench.subjects import Subject, baseline, compile_own

XDP_TX = 3
WARM_UP, TIMED = 2, 4
"""Blocks of a program in a round."""

_ORDER = struct.Struct(f"{HEAD_LEN}sIIII")
_BEGIN = struct.Struct("Q")
_CONTEXT = struct.Struct("6I")
"""struct xdp_md: data, its end, metadata, interface of arrival, queue, interface to leave by."""
_LIVE_FRAMES = 1 << 1

_PATIENCE = 5.0
"""Seconds until the last frames have surely arrived."""


@dataclass
class Lane:
    """A program that receives frames, and how long its blocks of them have taken."""

    name: str
    subject: Subject
    frame: bytes
    verdict: int
    fresh: bool
    """Every frame is a new flow; else there are FLOWS, over and over."""
    number: int
    index: int
    """Of the interface that the frames leave by."""
    sent: int = 0
    times: list[float] = field(default_factory=list)

    @property
    def here(self) -> str:
        """The interface that the frames leave by."""
        return f"here{self.number}"

    @property
    def there(self) -> str:
        """The interface that receives them."""
        return f"there{self.number}"

    @property
    def median(self) -> float:
        """Ns per frame, for its whole way."""
        return median(self.times)

    @property
    def minimum(self) -> float:
        """Ns per frame of the fastest block."""
        return min(self.times)


class Road:
    """All lanes, and the sender."""

    def __init__(self) -> None:
        self._sender = compile_own(
            "sender", [f"-DFLOWS={FLOWS}", f"-DBLOCKS={WARM_UP + TIMED + 1}"]
        )
        self._maps: dict[str, Any] = maps_of(self._sender)
        self._libbpf = ctypes.CDLL("libbpf.so.1")
        self.lanes: list[Lane] = []
        self._made = 0

    def add(
        self, name: str, mode: str, subject: Subject, frame: bytes, verdict: int, fresh: bool
    ) -> Lane:
        """Prepare to send frames to a program in this mode.

        Raises L4lbError if it cannot be attached, WrongResultError if it does something else with
        them than expected, or does not get all of them.
        """
        lane = Lane(name, subject, frame, verdict, fresh, self._made, 0)
        self._made += 1
        ip(f"link add {lane.here} type veth peer name {lane.there}")
        for end in (lane.here, lane.there):
            ip(f"link set {end} addrgenmode none up")
        if mode == "generic":
            # without a native program, the driver receives by NAPI only to coalesce
            subprocess.run(["ethtool", "-K", lane.there, "gro", "on"], check=True)
        xdp.attach(link.read_link(lane.there), subject.program.fd, mode, None)
        sink = link.read_link(lane.here)
        if mode == "native":
            xdp.attach(sink, baseline("XDP_DROP").program.fd, mode, None)
        lane.index = sink.index
        with _verified([lane]):
            self._send(lane)
        self.lanes.append(lane)
        return lane

    def measure(self, rounds: int, rng: random.Random) -> None:
        """Let all lanes take turns. Raises WrongResultError if not every frame got through."""
        for lane in self.lanes:
            lane.times.clear()
        with _verified(self.lanes):
            for _round in range(rounds):
                for lane in rng.sample(self.lanes, len(self.lanes)):
                    self._send(lane)

    def close(self) -> None:
        """Remove the interfaces."""
        for number in range(self._made):
            ip(f"link delete here{number}")

    def _send(self, lane: Lane) -> None:
        """Send the blocks of one round, and keep the times of the later ones."""
        mask = 0xFFFFFFFF if lane.fresh else FLOWS - 1
        order = _ORDER.pack(lane.frame[:HEAD_LEN], 0, lane.sent & 0xFFFFFFFF, mask, 0)
        self._maps["orders"].update(0, order)
        # one frame more, for the end of the last block
        self._run(lane, (WARM_UP + TIMED) * FLOWS + 1)
        begins = [begin for (begin,) in _BEGIN.iter_unpack(self._maps["begins"].read())]
        times = [(end - begin) / FLOWS for begin, end in zip(begins, begins[1:])]
        lane.times += times[WARM_UP:]

    def _run(self, lane: Lane, frames: int) -> None:
        context = _CONTEXT.pack(0, len(lane.frame), 0, lane.index, 0, 0)
        options = TestRunOptions(
            sz=ctypes.sizeof(TestRunOptions),
            data_in=lane.frame,
            data_size_in=len(lane.frame),
            ctx_in=context,
            ctx_size_in=len(context),
            repeat=frames,
            flags=_LIVE_FRAMES,
        )
        program = self._sender
        result = self._libbpf.bpf_prog_test_run_opts(program.fd, ctypes.byref(options))
        if result < 0:
            raise WrongResultError(f"live frames: {os.strerror(-result)}")
        lane.sent += frames


@contextlib.contextmanager
def _verified(lanes: Sequence[Lane]) -> Iterator[None]:
    """See that all frames that are sent meanwhile arrive, and those that are sent back do, too, by
    the account of the driver and of the programs themselves."""
    ends = [end for lane in lanes for end in (lane.there, lane.here)]
    tallies = {id(lane.subject): lane for lane in lanes if lane.subject.tally}

    def counts() -> list[int]:
        own = [lane.subject.tally() for lane in tallies.values() if lane.subject.tally]
        return [_received(end) for end in ends] + [tally.sent for tally in own]

    before, sent = counts(), [lane.sent for lane in lanes]
    yield
    expected, own = [], dict.fromkeys(tallies, 0)
    for lane, then in zip(lanes, sent):
        given = lane.sent - then
        back = given if lane.verdict == XDP_TX else 0
        expected += [given, back]
        if id(lane.subject) in own:
            own[id(lane.subject)] += back
    expected += own.values()
    patience = time.monotonic() + _PATIENCE
    while (got := list(map(sub, counts(), before))) != expected:
        if time.monotonic() > patience:
            names = [*ends, *(lane.name for lane in tallies.values())]
            wrong = (
                f"{name}: {count} frames instead of {right}"
                for name, count, right in zip(names, got, expected)
                if count != right
            )
            raise WrongResultError("; ".join(wrong))
        time.sleep(0.01)


def _received(interface: str) -> int:
    path = Path("/sys/class/net") / interface / "statistics" / "rx_packets"
    return int(path.read_text(encoding="ascii"))
