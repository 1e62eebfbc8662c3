# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What l4lb capture sees of packets that go through the program, where the kernel lets programs be
traced (`make kernels` has such); elsewhere, that it compiles, and what is in a ring is read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import compiler
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import (
    Map,
    PerCpuArray,
    RingReader,
    Sums,
    maps_of,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import join_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture.packet import (
    FATES,
    Record,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture.tracer import Tracer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture.wanted import Wanted
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from tests.fleet.there.library import sources
from tests.packet.harness import VIP, VIP6, Balancer, backends, service
from tests.packet.packets import BALANCER_MAC

RING = """
#include <uapi/linux/bpf.h>
BPF_RINGBUF_OUTPUT(ring, 1);
BPF_TABLE("percpu_array", u32, u64, losses, 1);
int fills(struct xdp_md *ctx)
{
	u32 zero = 0;
	u64 *lost, *record = ring.ringbuf_reserve(1000);

	if (record) {
		record[0] = ctx->data_end - ctx->data;
		ring.ringbuf_submit(record, 1 /* BPF_RB_NO_WAKEUP */);
		return XDP_PASS;
	}
	lost = losses.lookup(&zero);
	if (lost)
		*lost += 1;
	return XDP_DROP;
}
"""


def test_a_ring_is_read_and_losses_are_counted() -> None:
    """In order, each once, and again after it was full."""
    program = compiler.load(RING, [], "fills")
    maps = maps_of(program)
    reader, losses = RingReader(maps["ring"]), maps["losses"]
    assert isinstance(losses, PerCpuArray)
    assert reader.take() == []
    for length in (64, 80):
        program.test_run(bytes(length))
    assert [int.from_bytes(one[:8], "little") for one in reader.take()] == [64, 80]
    program.test_run(bytes(64), repeat=10)
    taken = reader.take()
    assert {len(one) for one in taken} == {1000}
    assert len(taken) + Sums(losses, 1)(0)[0] == 10 and 2 <= len(taken) <= 4
    program.test_run(bytes(64))
    assert len(reader.take()) == 1
    reader.close()


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(client=ip_network("198.51.100.0/24"), reason="no_route", snaplen=9216),
        Wanted(client=ip_network("2001:db8::/32"), fates=("passed", "sent"), sample=100),
    ],
    ids=["all", "ipv4", "ipv6"],
)
def test_the_programs_compile(wanted: Wanted) -> None:
    """And count by the maps of the program that balances."""
    text = join_sources(sources(), "capture.c")
    counters = compiler.load(
        'BPF_TABLE("percpu_array", u32, u64, drops, 14);\n'
        "int uses(void *ctx) { u32 key = 1; return drops.lookup(&key) ? 2 : 1; }",
        [],
        "uses",
    )
    live = maps_of(counters)["drops"]
    flags = [*wanted.flags(), "-DRING_PAGES=8"]
    with compiler.instructions(text, flags, "capture.c", {"drops": live.fd}) as (code, descriptor):
        assert len(code("capture_entry")) > 800 and len(code("capture_exit")) > 800
        assert Map(os.dup(descriptor("drops"))).id == live.id
        assert Map(os.dup(descriptor("answers"))).id != live.id
        assert descriptor("ring") != descriptor("losses")


# Where programs can be traced.

WEB, WEB6 = (
    service("web", backends=backends(1)),
    service("six", address=VIP6, backends=backends(1, version=6)),
)
BARE = service("bare", port=53, protocol="udp", backends=[])
CLIENT, CLIENT6 = "198.51.100.2", "2001:db8:1::2"
LINK = Ether(dst=BALANCER_MAC, src="52:54:00:00:00:01")
TO_WEB = bytes(LINK / IP(src=CLIENT, dst=VIP) / TCP(sport=40000, dport=443) / (b"x" * 500))
TO_WEB6 = bytes(LINK / IPv6(src=CLIENT6, dst=VIP6) / TCP(sport=40000, dport=443))
TO_BARE = bytes(LINK / Dot1Q(vlan=7) / IP(src="198.51.100.9", dst=VIP) / UDP(dport=53))
PING = bytes(LINK / IP(src=CLIENT, dst=VIP) / ICMP(id=1) / b"ping")
OTHER = bytes(LINK / IP(src=CLIENT, dst="192.0.2.99") / UDP(dport=9))
ALL = [TO_WEB, TO_WEB6, TO_BARE, PING, OTHER]


@contextlib.contextmanager
def tracing(balancer: Balancer, wanted: Wanted) -> Iterator[Tracer]:
    """What sees the packets of a balancer."""
    try:
        tracer = Tracer.load(sources(), balancer.datapath, wanted)
    except HostError as e:
        assert "xdpdump" in str(e) and "l4lb explain" in str(e)
        pytest.skip("cannot run here: the kernel lets no program be traced")
    with contextlib.closing(tracer):
        tracer.attach()
        yield tracer


def told(records: list[Record]) -> list[tuple[str, str]]:
    return [(one.fate, one.reason) for one in records]


def test_packets_before_and_after(shipped: Balancer) -> None:
    """Nothing of the program changes, and it may have dropped and answered others before."""
    shipped.configure(WEB, WEB6, BARE)
    shipped.send_all([*ALL, *ALL])
    with tracing(shipped, Wanted(fates=FATES, snaplen=128)) as tracer:
        outcomes = shipped.send_all([*ALL, *ALL])
        records = tracer.take()
        assert (tracer.take(), tracer.lost) == ([], 0)
        assert told(records) == 2 * [
            ("sent", ""),
            ("sent", ""),
            ("dropped", "no_backend"),
            ("answered", "echo_reply"),
            ("passed", ""),
        ]
        for one, frame, outcome in zip(records, [*ALL, *ALL], outcomes):
            assert (one.before, one.length) == (frame[:128], len(frame))
            if one.fate in ("sent", "answered"):
                left = outcome.frame or b""
                assert (one.after, one.length_after) == (left[:128], len(left))
            else:
                assert one.after == b"" and one.length_after == 0
        assert {one.verdict for one in records} == {1, 2, 3}
        times = [one.time for one in records]
        assert times == sorted(times) and abs(times[0] / 1e9 - time.time()) < 600
        tracer.detach()
        shipped.send_all(ALL)
        assert tracer.take() == []
    shipped.check()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), [0, 1, 2, 3]),
        (Wanted(fates=FATES, sample=2), [1, 3]),
        (Wanted(reason="no_backend", client=ip_network("198.51.100.8/29")), [2]),
        (Wanted(fates=FATES, client=ip_network("198.51.100.2/32")), [0, 3, 4]),
        (Wanted(client=ip_network("2001:db8:1::2/127")), [1]),
    ],
    ids=["all", "sample", "reason", "ipv4", "ipv6"],
)
def test_filters_in_the_kernel(shipped: Balancer, wanted: Wanted, expected: list[int]) -> None:
    shipped.configure(WEB, WEB6, BARE)
    with tracing(shipped, wanted) as tracer:
        shipped.send_all(ALL)
        assert [one.before for one in tracer.take()] == [ALL[at][:256] for at in expected]


def test_packets_that_come_too_fast_are_counted(shipped: Balancer) -> None:
    """And those that come when there is room again are seen."""
    shipped.configure(WEB, WEB6, BARE)
    with tracing(shipped, Wanted(snaplen=9216)) as tracer:
        shipped.namespace.call(shipped.datapath.program.test_run, TO_BARE, 1000)
        taken = len(tracer.take())
        assert taken + tracer.lost == 1000 and 400 < taken < 500
        shipped.namespace.call(shipped.datapath.program.test_run, TO_BARE, 5)
        assert told(tracer.take()) == [("dropped", "no_backend")] * 5
