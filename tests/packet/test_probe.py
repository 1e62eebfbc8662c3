# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of health checks, as they leave the host: byte for byte what the model has for clients'
packets, but that they have not passed a router."""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.probes import ProbeProgram
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import (
    TestRunOptions as RunOptions,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import check, libbpf
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.backend_record import (
    BackendRecord,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.probe_record import (
    REFUSALS,
    Count,
    pack_probe,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

from tests.packet.flows import FlowTable
from tests.packet.harness import SOURCES, VIPS, Namespace, service
from tests.packet.model import Interface, Model
from tests.packet.packets import frame, mac, packet_of, tcp, udp
from tests.packet.wire import parse

TAG = 0x4C340000
REDIRECT, SHOT, UNSPEC = 7, 2, 0xFFFFFFFF
"""Of enum TC_ACT_... in linux/pkt_cls.h."""
SKB_SIZE, PRIORITY_AT, INDEX_AT = 192, 32, 40
"""Of struct __sk_buff."""
OWN = {4: "198.18.0.1", 6: "2001:db8:18::1"}
SPREAD = {4: "198.18.5.0/24", 6: "2001:db8:5::/112"}
BACKENDS = {4: "198.18.0.21", 6: "2001:db8:18::21"}
BEHIND_ROUTER = {4: "203.0.113.9", 6: "2001:db8:71::9"}
NOWHERE = {4: "203.0.113.66", 6: "2001:db8:71::66"}
OWN_MAC, BACKEND_MAC = "02:00:00:00:00:01", "52:54:00:00:00:0b"
MACS = ("52:54:00:00:00:fe", OWN_MAC)
"""Of a frame to the router, by which the route to the service leads."""
NETWORK = f"""
    link set lo up
    link add first address {OWN_MAC} type veth peer name other
    link set first up
    link set other up
    address add {OWN[4]}/24 dev first
    address add {OWN[6]}/64 dev first nodad
    route add 203.0.113.0/24 via 198.18.0.254
    route add 2001:db8:71::/64 via 2001:db8:18::fe
    -4 route add blackhole {NOWHERE[4]}
    -6 route add blackhole {NOWHERE[6]}
"""


class Result(NamedTuple):
    verdict: int
    frame: bytes
    priority: int


class Rig:
    """The program, in a network namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.program = ProbeProgram.load(read_sources(SOURCES), 1)
        self.index = namespace.call(socket.if_nametoindex, "first")

    def send(self, whole: bytes, priority: int) -> Result:
        """What becomes of a frame that is about to leave."""
        return self.namespace.call(self._send, whole, priority)

    def _send(self, whole: bytes, priority: int) -> Result:
        context = bytearray(SKB_SIZE)
        struct.pack_into("=I", context, PRIORITY_AT, priority)
        struct.pack_into("=I", context, INDEX_AT, self.index)
        out = ctypes.create_string_buffer(len(whole) + 256)
        after = ctypes.create_string_buffer(SKB_SIZE)
        options = RunOptions(
            sz=ctypes.sizeof(RunOptions),
            data_in=whole,
            data_size_in=len(whole),
            data_size_out=len(out),
            ctx_in=bytes(context),
            ctx_size_in=SKB_SIZE,
            ctx_size_out=SKB_SIZE,
            repeat=1,
        )
        options.data_out = ctypes.cast(out, ctypes.c_char_p)
        options.ctx_out = ctypes.cast(after, ctypes.c_char_p)
        fd = self.program.program.fd
        check(libbpf().bpf_prog_test_run_opts(fd, ctypes.byref(options)), "BPF_PROG_TEST_RUN")
        (left,) = struct.unpack_from("=I", after.raw, PRIORITY_AT)
        return Result(options.retval, out.raw[: options.data_size_out], left)


@pytest.fixture(scope="module")
def rig(routed_namespace: Namespace) -> Iterator[Rig]:
    for command in NETWORK.split("\n"):
        if command.strip():
            routed_namespace.ip(command)
    for setting in ("net/ipv4/conf/lo/forwarding", "net/ipv6/conf/lo/forwarding"):
        routed_namespace.write(setting, "1")
    yield Rig(routed_namespace)


def record(
    inner: int, outer: int, encapsulation: str, address: str | None = None, **options: Any
) -> BackendRecord:
    source = options.pop("source", OWN[outer])
    return BackendRecord(
        address=ip_address(address or BACKENDS[outer]),
        source=ip_network(source),
        encapsulation=encapsulation,
        service=3,
        inner_version=inner,
        gue_port=6081,
        **options,
    )


class Hashed:
    """A flow with this hash."""

    def __init__(self, value: int) -> None:
        self.value = value

    def hash(self, _seed: int) -> int:
        return self.value


def hash_in(outer: bytes, encapsulation: str, spread: bool) -> int:
    """What of the kernel's hash of a flow shows in the outer headers."""
    found, shim = 0, 20
    if outer[0] >> 4 == 6:
        found, shim = int.from_bytes(outer[1:4], "big") & 0xFFFFF, 40
    if encapsulation == "gue":
        found |= (int.from_bytes(outer[shim : shim + 2], "big") & 0x3FFF) << 16
    if spread:
        found |= outer[15 if shim == 20 else 23] << 24
        found |= outer[22] << 16 if shim == 40 else 0
    return found


FRAMES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "SYN": (tcp(options=bytes(20)), {}),
    "data": (tcp(data=b"odd", flags=0x18), {"tos": 0xB9, "ttl": 64}),
    "long": (tcp(data=bytes(1300)), {"tos": 0xFF}),
    "no data": (udp(), {}),
    "a byte": (udp(data=b"x"), {"tos": 3}),
}


@pytest.mark.parametrize("spread", [False, True], ids=["own", "prefix"])
@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "gre"])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_every_encapsulation(
    rig: Rig, inner: int, outer: int, encapsulation: str, spread: bool
) -> None:
    source = SPREAD[outer] if spread else OWN[outer]
    made = record(inner, outer, encapsulation, source=source)
    rig.program.write({5: pack_probe(made.pack(), rig.index)})
    web = service(
        address=VIPS[inner], encapsulation=encapsulation, backends=[{"address": BACKENDS[outer]}]
    )
    given = {"source_address" if outer == 4 else "source_address6": source, "gue_port": 6081}
    config = parse_config({"interface": "lo", "services": [web], **given})
    model = Model(config, Interface(mac(OWN_MAC), None, None), {}, FlowTable(0, 0))
    before = rig.program.count(5)
    for segment, fields in FRAMES.values():
        sent = frame(segment, destination=VIPS[inner], macs=MACS, **fields)
        got = rig.send(sent, TAG | 5)
        assert got.verdict == REDIRECT
        packet = parse(sent)
        assert packet
        hashed = hash_in(packet_of(got.frame), encapsulation, spread)
        (the_service,) = config.services
        flow: Any = Hashed(hashed)
        outer_headers = model.outer_headers(packet, the_service, flow, the_service.backends[0])
        ether_type = struct.pack("!H", 0x0800 if outer == 4 else 0x86DD)
        assert got.frame == sent[:12] + ether_type + outer_headers + packet_of(sent)
        assert got.priority == 0
    assert rig.program.count(5) == before._replace(sent=before.sent + len(FRAMES))


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_l2_leaves_the_packet_as_it_is(rig: Rig, inner: int, outer: int) -> None:
    rig.program.write({6: pack_probe(record(inner, outer, "l2").pack(), rig.index)})
    for segment, fields in FRAMES.values():
        sent = frame(segment, destination=VIPS[inner], macs=MACS, **fields)
        assert rig.send(sent, TAG | 6) == (REDIRECT, sent, 0)
    command = f"neigh replace {BACKENDS[outer]} lladdr {BACKEND_MAC} dev first"
    rig.namespace.ip(command)
    try:
        got = rig.send(sent, TAG | 6)
    finally:
        rig.namespace.ip(command.replace("replace", "del"))
    assert got == (REDIRECT, mac(BACKEND_MAC) + mac(OWN_MAC) + sent[12:], 0)


@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "gre", "l2"])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_a_given_next_hop(rig: Rig, inner: int, outer: int, encapsulation: str) -> None:
    """Without routing, which has none here."""
    options = {"mac": BACKEND_MAC, "source_mac": OWN_MAC}
    made = record(inner, outer, encapsulation, NOWHERE[outer], **options)
    rig.program.write({7: pack_probe(made.pack(), rig.index)})
    sent = frame(tcp(), destination=VIPS[inner], macs=MACS)
    got = rig.send(sent, TAG | 7)
    assert got.verdict == REDIRECT
    assert got.frame[:12] == mac(BACKEND_MAC) + mac(OWN_MAC)
    assert got.frame.endswith(packet_of(sent))
    assert len(got.frame) == len(sent) + made.overhead


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("priority", [0, 6, 0x4C350005, 0x4C330005, 0xFFFFFFFF])
def test_others_packets_are_not_touched(rig: Rig, version: int, priority: int) -> None:
    sent = frame(tcp(), destination=VIPS[version], macs=MACS)
    assert rig.send(sent, priority) == (UNSPEC, sent, priority)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("address", "encapsulation", "reason"),
    [
        (NOWHERE, "ipip", "this host has no route to the backend"),
        (NOWHERE, "l2", "this host has no route to the backend"),
        (BEHIND_ROUTER, "l2", "the backend is behind a router, which l2 cannot pass"),
    ],
)
def test_what_cannot_be_sent_is_dropped(
    rig: Rig, version: int, address: dict[int, str], encapsulation: str, reason: str
) -> None:
    """And never left as it is, for then some other backend would answer."""
    made = record(version, version, encapsulation, address[version])
    rig.program.write({8: pack_probe(made.pack(), rig.index)})
    before = rig.program.count(8)
    got = rig.send(frame(tcp(), destination=VIPS[version], macs=MACS), TAG | 8)
    assert got.verdict == SHOT
    expected = Count(before.sent, before.refused + 1, REFUSALS.index(reason))
    assert rig.program.count(8) == expected


@pytest.mark.parametrize("version", [4, 6])
def test_behind_a_router_but_for_l2(rig: Rig, version: int) -> None:
    made = record(version, version, "ipip", BEHIND_ROUTER[version])
    rig.program.write({8: pack_probe(made.pack(), rig.index)})
    sent = frame(tcp(), destination=VIPS[version], macs=MACS)
    assert rig.send(sent, TAG | 8).verdict == REDIRECT


@pytest.mark.parametrize("version", [4, 6])
def test_without_forwarding_there_is_no_answer(rig: Rig, version: int) -> None:
    setting = f"net/ipv{version}/conf/lo/forwarding"
    made = record(version, version, "gue")
    rig.program.write({8: pack_probe(made.pack(), rig.index)})
    rig.namespace.write(setting, "0")
    try:
        got = rig.send(frame(tcp(), destination=VIPS[version], macs=MACS), TAG | 8)
    finally:
        rig.namespace.write(setting, "1")
    assert got.verdict == SHOT
    assert "forwarding" in REFUSALS[rig.program.count(8).refusal]


@pytest.mark.parametrize("version", [4, 6])
def test_without_a_record_nothing_is_sent(rig: Rig, version: int) -> None:
    """A backend that is gone, and an index that there is none of."""
    sent = frame(tcp(), destination=VIPS[version], macs=MACS)
    rig.program.write({9: pack_probe(record(version, 4, "ipip").pack(), rig.index)})
    rig.program.erase(9)
    assert rig.send(sent, TAG | 9).verdict == SHOT
    assert rig.program.count(9).refusal == REFUSALS.index("the tunnel has no record of the backend")
    assert rig.send(sent, TAG | rig.program.room).verdict == SHOT


def test_refusals_are_those_of_the_program() -> None:
    text = (Path(SOURCES) / "probe.c").read_text()
    names = text.partition("enum refusal {")[2].partition("}")[0].split(",")
    assert len([name for name in names if name.strip()]) == len(REFUSALS)


def test_the_process_that_loads_it_does_not_import_bcc(rig: Rig) -> None:
    assert rig.program.program.name == "probe"
    code = (
        "import sys; from pathlib import Path\n"
        f"from {ProbeProgram.__module__} import ProbeProgram\n"
        f"from {read_sources.__module__} import read_sources\n"
        f"p = ProbeProgram.load(read_sources(Path({str(SOURCES)!r})), 3000)\n"
        "print(p.room, 'bcc' in sys.modules, 'pyroute2' in sys.modules)"
    )
    path = ":".join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": path, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("4096 False False\n", "")
