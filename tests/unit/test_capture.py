# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What l4lb capture makes of packets that the kernel tells of; which it asks for, and how many."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import struct
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command import capture as face
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.main import (
    main,
    parser,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import (
    ConfigError,
    L4lbError,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import ANSWERS, DROPS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture import (
    pcapng,
    session,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture.frame import (
    packet_in,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture.packet import (
    FATES,
    HEADER,
    REASONS,
    Captured,
    Reader,
    Record,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture.wanted import (
    Bounds,
    Wanted,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import GRE, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet

from tests.pcapng import blocks, frames

CHECKOUT = Path(__file__).resolve().parents[2]
BPF = CHECKOUT / "files/bpf"
CLIENT, VIP, CLIENT6, VIP6 = "198.51.100.2", "192.0.2.10", "2001:db8:1::2", "2001:db8:ffff::10"
WEB1, WEB2 = "203.0.113.21", "203.0.113.22"
HOSTILE = "\"<b>'; ü" + "漢" * 16
"""A name of the most bytes, with what HTML, a shell and a table would take for something else."""
NOW = 1_764_000_000_123_456_789
LINK = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
TO_WEB = IP(src=CLIENT, dst=VIP) / TCP(sport=40000, dport=80, flags="SA")
TO_DNS = IPv6(src=CLIENT6, dst=VIP6) / UDP(sport=40000, dport=53)


def service(name: str, address: str, port: int, protocol: str, **more: Any) -> dict[str, Any]:
    backends = more.pop("backends", [{"address": WEB1}, {"address": WEB2}])
    there = {"name": name, "address": address, "port": port, "protocol": protocol}
    return {**there, "backends": backends, **more}


L2 = [{"address": WEB1}, {"address": WEB2, "mac": "02:00:cb:00:71:16"}]
CONFIG = parse_config(
    {
        "interface": "eth0",
        "services": [
            service("web", VIP, 80, "tcp"),
            service(HOSTILE, VIP, 53, "udp", encapsulation="gue"),
            service("every", VIP6, 0, "udp", encapsulation="l2", backends=L2),
        ],
    }
)
READER = Reader(
    CONFIG,
    [(ip_address(WEB1), "02:00:cb:00:71:15"), (ip_address(WEB2), "02:00:cb:00:71:16")],
)


def record(
    packet: Packet, fate: str = "sent", after: Packet | None = None, reason: str = ""
) -> Record:
    before = bytes(LINK / packet)
    left = b"" if after is None else bytes(LINK / after)
    return Record(NOW, 3, fate, reason, before, len(before), left, len(left))


def captured(*given: Any) -> Captured:
    return READER.read(record(*given))


# What is read of frames.


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (TO_WEB, f"tcp {CLIENT}:40000 > {VIP}:80 SYN ACK"),
        (Dot1Q(vlan=7) / TO_WEB, f"tcp {CLIENT}:40000 > {VIP}:80 SYN ACK"),
        (Dot1AD(vlan=7) / Dot1Q(vlan=8) / TO_WEB, f"tcp {CLIENT}:40000 > {VIP}:80 SYN ACK"),
        (TO_DNS, f"udp [{CLIENT6}]:40000 > [{VIP6}]:53"),
        (
            IPv6(src=CLIENT6, dst=VIP6)
            / IPv6ExtHdrHopByHop()
            / IPv6ExtHdrDestOpt()
            / UDP(sport=1, dport=2),
            f"udp [{CLIENT6}]:1 > [{VIP6}]:2",
        ),
        (
            IPv6(src=CLIENT6, dst=VIP6) / IPv6ExtHdrFragment(offset=8, nh=17) / b"rest",
            f"udp {CLIENT6} > {VIP6}",
        ),
        (IP(src=CLIENT, dst=VIP, frag=8, proto=17) / b"rest", f"udp {CLIENT} > {VIP}"),
        (IP(src=CLIENT, dst=VIP) / ICMP(), f"icmp {CLIENT} > {VIP}"),
        (
            IP(src=CLIENT, dst=VIP)
            / ICMP(type=3, code=4)
            / IP(src=VIP, dst=CLIENT)
            / TCP(sport=80),
            f"icmp {CLIENT} > {VIP} about tcp {VIP}:80 > {CLIENT}:80 SYN",
        ),
        (
            IPv6(src=CLIENT6, dst=VIP6)
            / ICMPv6PacketTooBig()
            / IPv6(src=VIP6, dst=CLIENT6)
            / UDP(sport=53, dport=9),
            f"icmp6 {CLIENT6} > {VIP6} about udp [{VIP6}]:53 > [{CLIENT6}]:9",
        ),
        (IP(src=CLIENT, dst=VIP, proto=89) / b"x", f"protocol 89 {CLIENT} > {VIP}"),
    ],
)
def test_packets(packet: Packet, told: str) -> None:
    assert str(packet_in(bytes(LINK / packet))) == told


def test_what_cannot_be_read() -> None:
    """Any beginning of any frame, and what is no IP."""
    quotes = IP(src=CLIENT, dst=VIP) / ICMP(type=3) / TO_WEB
    for packet in (TO_WEB, TO_DNS, Dot1Q() / TO_WEB, quotes):
        whole = bytes(LINK / packet)
        for length in range(len(whole)):
            packet_in(whole[:length])
    assert packet_in(bytes(Ether(type=0x0806) / b"anything")) is None
    assert packet_in(b"") is None


# What it is, and became.


@pytest.mark.parametrize(
    ("packet", "after", "told"),
    [
        (TO_WEB, IP(dst=WEB2) / TO_WEB, f"sent to {WEB2}, service web"),
        (
            IP(src=CLIENT, dst=VIP) / UDP(dport=53),
            IP(dst=WEB1) / UDP(dport=6080) / TO_WEB,
            f"sent to {WEB1}, service {HOSTILE}",
        ),
        (
            IP(src=CLIENT, dst=VIP) / ICMP(type=3) / IP(src=VIP, dst=CLIENT) / TCP(sport=80),
            Dot1Q(vlan=3) / IPv6(dst="2001:db8:2::21") / GRE() / TO_WEB,
            "sent to 2001:db8:2::21, service web",
        ),
    ],
)
def test_backends(packet: Packet, after: Packet, told: str) -> None:
    assert captured(packet, "sent", after).comment == told


@pytest.mark.parametrize(
    ("mac", "told"),
    [
        ("02:00:cb:00:71:15", f"sent to {WEB1}, service every"),
        ("02:00:cb:00:71:16", f"sent to {WEB2}, service every"),
        ("02:00:cb:00:71:17", "sent, service every"),
    ],
)
def test_backends_by_their_mac(mac: str, told: str) -> None:
    """Where nothing else says which one it is."""
    after = bytes(Ether(dst=mac) / TO_DNS)
    given = Record(NOW, 3, "sent", "", bytes(LINK / TO_DNS), 62, after, 62)
    assert READER.read(given).comment == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((TO_WEB, "dropped", None, "no_route"), "dropped: no_route, service web"),
        ((TO_WEB, "dropped"), "dropped, service web"),
        (
            (IP(src=CLIENT, dst=VIP) / ICMP(), "answered", TO_WEB, "echo_reply"),
            f"answered: echo_reply, services {HOSTILE}, web",
        ),
        ((IP(src=CLIENT, dst=VIP) / TCP(dport=81), "passed"), "passed"),
        (
            (IP(src=CLIENT, dst=VIP, frag=8, proto=6), "dropped", None, "fragment"),
            f"dropped: fragment, services {HOSTILE}, web",
        ),
        ((Ether(type=0x0806), "passed"), "passed"),
    ],
)
def test_what_became_of_it(given: Any, told: str) -> None:
    assert captured(*given).comment == told


def test_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    line = captured(TO_WEB, "sent", IP(dst=WEB2) / TO_WEB).line
    assert re.fullmatch(
        rf"\d\d:\d\d:00\.123456 tcp {CLIENT}:40000 > {VIP}:80 SYN ACK, 54 bytes, 74 after: "
        rf"sent to {WEB2}, service web",
        line,
    )
    assert captured(Ether(type=0x0806), "passed").line.endswith(" not IP, 28 bytes: passed")


def test_a_record_of_the_kernel() -> None:
    """Both frames, as far as they were kept; what is left of others behind them is not theirs."""
    raw = HEADER.pack(5, 300, 3, 3, FATES.index("sent"), 0) + b"b" * 128 + b"a" * 128
    assert Record.unpack(raw, 1000) == Record(1005, 3, "sent", "", b"b" * 128, 300, b"aaa", 3)
    raw = HEADER.pack(5, 60, 0, 1, FATES.index("dropped"), REASONS.index("no_room")) + b"b" * 256
    assert Record.unpack(raw, 0) == Record(5, 1, "dropped", "no_room", b"b" * 60, 60)


def test_numbers_are_those_of_the_program() -> None:
    """Fates, and reasons as drops with answers behind them."""
    text = read_sources(BPF)["capture.c"]
    (fates,) = re.findall(r"enum fate \{(.*?)\}", text, re.DOTALL)
    assert tuple(re.findall(r"\w+", fates.lower())) == FATES
    counters = read_sources(BPF)["base/counters.h"]
    (drops,) = re.findall(r"enum drop \{(.*?)\};", counters, re.DOTALL)
    names = re.findall(r"DROP_(\w+),", drops.lower().replace("drop_", "DROP_"))
    assert ("", *names[1:-1]) == REASONS[: len(DROPS) + 1]
    assert REASONS[len(DROPS) + 1 :] == tuple(ANSWERS)


# Files.


def file_of(*packets: Captured, interface: str = "eth0", lost: int = 0) -> bytes:
    written = [pcapng.packet(one, number) for number, one in enumerate(packets, 1)]
    return pcapng.start(interface, 256, "1.0.0") + b"".join(written) + pcapng.end(NOW, lost)


def test_a_file() -> None:
    sent = captured(TO_WEB, "sent", IP(dst=WEB2) / TO_WEB)
    dropped = captured(TO_DNS, "dropped", None, "limited")
    content = file_of(sent, dropped, interface="eth0\x1b[2J", lost=7)
    before, after, other = frames(content)
    assert [before.interface, after.interface] == ["eth0\\x1b[2J before", "eth0\\x1b[2J after"]
    assert (before.data, after.data) == (sent.record.before, sent.record.after)
    assert (before.time, before.length, before.flags, after.flags) == (NOW, 54, 1, 2)
    assert before.verdict == b"\x02" + (3).to_bytes(8, "little")
    assert (before.packet, after.packet, other.packet) == (1, 1, 2)
    assert other.comment == "dropped: limited, service every"
    *_others, (kind, last) = blocks(content)
    assert kind == 5 and struct.pack("=HHQ", 5, 8, 7) in last


def test_a_hostile_name_is_text() -> None:
    """In a file as it is; on a terminal nothing that it would obey."""
    one = captured(IP(src=CLIENT, dst=VIP) / UDP(dport=53), "dropped", None, "no_backend")
    assert len(HOSTILE.encode()) <= 64
    (found,) = frames(file_of(one))
    assert found.comment == f"dropped: no_backend, service {HOSTILE}"
    assert one.line.isprintable()


@pytest.mark.parametrize("size", range(96, 101))
def test_every_length_is_padded(size: int) -> None:
    raw = os.urandom(size)
    one = Captured(Record(NOW, 1, "dropped", "limited", raw, 9000), None, ("x" * size,))
    (found,) = frames(file_of(one))
    assert (found.data, found.length) == (raw, 9000)
    assert found.comment.endswith("x" * size)


def test_tcpdump_reads_it(tmp_path: Path) -> None:
    if not shutil.which("tcpdump"):
        pytest.skip("cannot run here: tcpdump is not installed")
    path = tmp_path / "some.pcapng"
    path.write_bytes(file_of(captured(TO_WEB, "sent", IP(src=VIP, dst=WEB2) / TO_WEB)))
    done = subprocess.run(
        ["tcpdump", "-nvr", path], capture_output=True, text=True, check=True
    ).stdout
    assert f"{CLIENT}.40000 > {VIP}.80: Flags [S.]" in done and f"{VIP} > {WEB2}" in done


# Which, and how many.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--count", "0"], "--count: 0: give how many packets are enough, 1 to 1000000000"),
        (["--seconds", "-1"], "--seconds: -1: give how long it lasts at the most, 1 to"),
        (["--size", "1"], "--size: 1: give the bytes of a file that are enough, 4096 to"),
        (["--snaplen", "64"], "--snaplen: 64: give the bytes to keep of a frame, 96 to 9216"),
        (["-s", "65536"], "--snaplen: 65536: give the bytes to keep of a frame, 96 to 9216"),
        (["--sample", "0"], "--sample: 0: give one packet in how many is looked at, 1 to"),
        (["--client", "10.0.0.1/8"], "--client: '10.0.0.1/8': give an address or a prefix, as"),
        (["--client", "\x1b[2J"], "--client: '\\x1b[2J': give an address or a prefix, as"),
        (["--backend", "web1"], "--backend: 'web1': not an IP address, as in"),
        (
            ["--reason", "no_route", "--verdict", "sent"],
            "--reason: 'no_route': no reason of what is sent; leave --verdict out",
        ),
        (
            ["--reason", "echo_reply", "--verdict", "dropped"],
            "--reason: 'echo_reply': no reason of what is dropped; leave --verdict out",
        ),
        (
            ["--backend", WEB1, "--verdict", "dropped"],
            f"--backend: '{WEB1}': only what is sent has one; leave out --verdict and --reason",
        ),
        (["--backend", WEB1, "--reason", "limited"], f"--backend: '{WEB1}': only what is sent"),
    ],
)
def test_wrong_values(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """One line, before anything is asked of the kernel."""
    monkeypatch.setattr(face, "require_root", lambda: pytest.fail("too late"))
    assert main("1.0.0", ["capture", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"l4lb: {told}")


def test_a_terminal_gets_no_file(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main("1.0.0", ["capture", "-w", "-"]) == 1
    told = capsys.readouterr().err
    assert told == "l4lb: -w: '-': standard output is a terminal; pipe it, or give a file\n"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted(service="none"), "--service: 'none': there is no such service, but "),
        (Wanted(backend=ip_address("203.0.113.9")), "there is no such backend, but 203.0.113.21"),
    ],
)
def test_what_is_not_there(wanted: Wanted, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        wanted.check(CONFIG)


def test_what_the_kernel_is_asked_for() -> None:
    default = {"-DSNAPLEN=256", "-DSAMPLE=1", "-DFATES=14"}
    assert set(Wanted().flags()) == default, "all but what passes"
    network = ip_network("198.51.100.0/24")
    word, mask = (int.from_bytes(one.packed, "little") for one in (network[0], network.netmask))
    assert set(Wanted(client=network, snaplen=100, sample=9, fates=("passed",)).flags()) == {
        *("-DSNAPLEN=100", "-DSAMPLE=9", "-DFATES=1", "-DCLIENT=4"),
        *(f"-DCLIENT_0={word:#x}u", f"-DMASK_0={mask:#x}u"),
    }
    six = [*Wanted(client=ip_network("2001:db8::/33")).flags()]
    assert "-DMASK_1=0x80u" in six and "-DMASK_3=0x0u" in six and "-DCLIENT=6" in six
    assert "-DREASON=1" in [*Wanted(reason="malformed").flags()]
    assert {"-DREASON=14", "-DFATES=4"} <= {*Wanted(reason="echo_reply").flags()}
    assert "-DFATES=8" in [*Wanted(backend=ip_address(WEB1)).flags()]


def test_what_is_taken_of_that() -> None:
    sent = captured(TO_WEB, "sent", IP(dst=WEB2) / TO_WEB)
    dropped = captured(TO_DNS, "dropped", None, "limited")
    for wanted, taken in (
        (Wanted(), (True, True)),
        (Wanted(service="web"), (True, False)),
        (Wanted(service="every"), (False, True)),
        (Wanted(backend=ip_address(WEB2)), (True, False)),
        (Wanted(backend=ip_address(WEB1)), (False, False)),
    ):
        assert (wanted.takes(sent), wanted.takes(dropped)) == taken


def test_examples_of_the_page_and_of_the_help() -> None:
    """Each says what can be meant; tests/fleet/command/test_capture.py runs those of the page."""
    top = parser("1.0.0")
    page = (CHECKOUT / "docs/looking.md").read_text()
    (commands,) = [one.choices for one in top._actions if isinstance(one.choices, dict)]
    examples = re.findall(r"^ *(?:ssh lb1 )?l4lb capture\b([^|\n]*)", page, re.MULTILINE)
    examples += re.findall(r"l4lb capture\b([^|\n]*)", commands["capture"].epilog)
    assert len(examples) == 7
    for example in examples:
        face._wanted(top.parse_args(["capture", *shlex.split(example)]))


# A capture from beginning to end.


class Stub:
    """In place of a session: packets without end, some at a time."""

    interface, lost = "eth0", 3

    def __init__(self) -> None:
        self.count, self.stopped = 0, False

    def packets(self) -> Any:
        for _turn in itertools.count():
            if self.stopped:
                return
            self.count += 2
            yield [captured(TO_WEB, "sent", IP(dst=WEB2) / TO_WEB)] * 2

    def stop(self) -> None:
        self.stopped = True


def test_a_file_is_no_longer_than_asked_for(tmp_path: Path) -> None:
    """And whole: it ends with what was lost."""
    path, stub = tmp_path / "some.pcapng", Stub()
    options = face.argparse.Namespace(size=Bounds().size // 10_000, snaplen=256, version="1.0.0")
    with face._output(str(path)) as file:
        assert file is not None
        face._record(stub, file, options)  # type: ignore[arg-type]
    content = path.read_bytes()
    assert options.size - 1000 < len(content) < options.size + 100
    assert len(frames(content)) > 40 and path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    told = "-w: .*: No such file or directory; give a file in a directory that there is"
    with pytest.raises(ConfigError, match=told), face._output(str(tmp_path / "no/where")):
        pass


class StubTracer:
    """In place of programs: a packet each time."""

    lost, attached, closed = 0, 0, False

    def attach(self) -> None:
        self.attached += 1

    def take(self) -> list[Record]:
        return [record(TO_WEB, "sent", IP(dst=WEB2) / TO_WEB)] * 3

    def detach(self) -> None:
        self.attached -= 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes sessions whose packets never end, on eth0, whose program is number 1 at first."""
    attached = SimpleNamespace(program_id=1)
    data_path = SimpleNamespace(program=SimpleNamespace(id=1))
    there = (None, data_path, SimpleNamespace(config=CONFIG))
    monkeypatch.setattr(session, "at_work", lambda _places: there)
    monkeypatch.setattr(session, "_macs", lambda _config: [])
    monkeypatch.setattr(session, "_PAUSE", 0)
    monkeypatch.setattr(session, "_LOOK", 0)
    monkeypatch.setattr(session.link, "read_link", lambda _name: SimpleNamespace(attached=attached))

    def make(wanted: Wanted, bounds: Bounds) -> Any:
        made = session.Session("eth0", wanted, bounds)
        made._tracer = StubTracer()  # type: ignore[assignment]
        made.attach()
        return made, made._tracer, attached

    return make


def test_it_ends_after_so_many_packets(stubbed: Any) -> None:
    made, tracer, _attached = stubbed(Wanted(service="web"), Bounds(count=7))
    assert sum(len(batch) for batch in made.packets()) == made.count == 7
    assert tracer.attached == 0
    made.close()
    assert tracer.closed


def test_it_ends_after_so_many_seconds_or_when_stopped(stubbed: Any) -> None:
    made, _tracer, _attached = stubbed(Wanted(service="every"), Bounds(seconds=1))
    assert not any(made.packets())
    made, _tracer, _attached = stubbed(Wanted(), Bounds())
    for _batch in made.packets():
        made.stop()
    assert made.count == 6, "with what has come by then"


@pytest.mark.parametrize("other", [SimpleNamespace(program_id=2), None], ids=["other", "none"])
def test_another_program_ends_it(stubbed: Any, monkeypatch: Any, other: Any) -> None:
    made, _tracer, _attached = stubbed(Wanted(), Bounds())
    packets = made.packets()
    assert len(next(packets)) == 3
    monkeypatch.setattr(session.link, "read_link", lambda _name: SimpleNamespace(attached=other))
    with pytest.raises(L4lbError, match="no longer attached to eth0; capture again"):
        next(packets)
