# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory itself: its hosts are hosts, Ansible reaches them, and nothing stays behind."""

from __future__ import annotations

import os
import random
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Padding, Raw

from lab import Lab, LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = CHECKOUT / "lab/lab.py"
INVENTORY = CHECKOUT / "lab/inventory.yml"
ETH_P_ALL = 3

LB1, WEB1, WEB2 = "203.0.113.11", "203.0.113.21", "203.0.113.22"
LB1_6, WEB1_6, WEB2_6 = "2001:db8:2::11", "2001:db8:2::21", "2001:db8:2::22"
CLIENT, VIP = "198.51.100.2", "192.0.2.10"
CLIENT6, VIP6 = "2001:db8:1::2", "2001:db8:ffff::10"
WEB1_MAC = bytes.fromhex("0200cb007115")

SMALL = """
hosts:
  one:
    bpffs: false
    interfaces:
      eth0: {to: two/eth0, addresses: [198.51.100.1/30]}
  two:
    interfaces:
      eth0: {addresses: [198.51.100.2/30]}
"""


def unused(name: str) -> Lab:
    """A laboratory of this test run alone: other checkouts may be testing at the same time."""
    return Lab(f"{name}{os.getpid()}")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = unused("t")
    lab.up()
    yield lab
    assert lab.down() == {}


@pytest.mark.parametrize("target", [LB1, WEB1, "2001:db8:2::11", "2001:db8:2::21"])
def test_ping(lab: Lab, target: str) -> None:
    lab.host("client").run(["ping", "-c1", "-W1", target])


@pytest.mark.parametrize(
    "url",
    [f"http://{WEB1}/", f"http://{WEB1}:8080/any", "http://[2001:db8:2::21]/", "http://web1/"],
)
def test_webserver_answers_with_its_name(lab: Lab, url: str) -> None:
    client = lab.host("client")
    assert client.run(["curl", "-sS", "--max-time", "2", url]).stdout == "web1\n"


def test_webserver_has_blobs(lab: Lab) -> None:
    lab.host("web1").run(["sh", "-c", "mkdir -p /srv/blob && truncate -s 1M /srv/blob/1M"])
    size = ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", "http://web1/blob/1M"]
    assert lab.host("client").run(size).stdout == str(1 << 20)


def test_a_host_is_its_own(lab: Lab) -> None:
    host = lab.host("web1")
    host.run(["sh", "-c", "echo here >/etc/l4lb-lab-test; echo >/run/l4lb-lab-test"])
    assert host.run(["cat", "/etc/l4lb-lab-test"]).stdout == "here\n"
    assert host.run(["hostname"]).stdout == "web1\n"
    assert host.run(["ls", "/sys/class/net"]).stdout.split() == ["eth0", "lo"]
    assert host.run(["stat", "-fc%T", "/sys/fs/bpf"]).stdout == "bpf_fs\n"
    assert not Path("/etc/l4lb-lab-test").exists()
    with pytest.raises(LabError, match="No such file"):
        lab.host("web2").run(["cat", "/etc/l4lb-lab-test"])


# What decap.c makes of a frame to web1.

PAYLOAD = UDP(sport=7, dport=9) / Raw(b"payload")
INNER4 = IP(src=CLIENT, dst=VIP) / PAYLOAD
INNER6 = IPv6(src=CLIENT6, dst=VIP6) / PAYLOAD
INNERS = {"4": INNER4, "6": INNER6}


def outer4(payload: bytes | Packet = INNER4, proto: int = 4, **fields: object) -> Packet:
    return IP(**{"src": LB1, "dst": WEB1, "proto": proto, **fields}) / Raw(bytes(payload))


def outer6(payload: bytes | Packet = INNER4, proto: int = 4, **fields: object) -> Packet:
    return IPv6(**{"src": LB1_6, "dst": WEB1_6, "nh": proto, **fields}) / Raw(bytes(payload))


OUTERS: dict[str, Callable[..., Packet]] = {"4": outer4, "6": outer6}


def gue(inner: bytes | Packet, **fields: object) -> Packet:
    return UDP(**{"sport": 50000, "dport": 6080, "chksum": 0, **fields}) / Raw(bytes(inner))


def gre(inner: Packet, **fields: object) -> Packet:
    return GRE(**fields) / inner


def shorter(packet: Packet, length: int) -> bytes:
    """Less of it than it says itself."""
    return bytes(packet)[:length]


def inner_of_length(length: int) -> bytes:
    """Its own idea of its length; in truth it is as long as ever."""
    return bytes(INNER4)[:2] + length.to_bytes(2, "big") + bytes(INNER4)[4:]


def of_version(version: int, packet: Packet) -> bytes:
    return bytes([version << 4 | bytes(packet)[0] & 0xF]) + bytes(packet)[1:]


DECAPSULATED = {
    "any outer source": (outer4(src="192.0.2.77"), INNER4),
    "any outer source, IPv6": (outer6(src="2001:db8::77"), INNER4),
    "padded": (outer4() / Padding(bytes(40)), INNER4),
    "padded, IPv6": (outer6() / Padding(bytes(40)), INNER4),
    "inner shorter than outer": (outer4(bytes(INNER4) + b"more"), INNER4 / Padding(b"more")),
    "inner of no length": (outer6(b"\x60" + bytes(39), 41), Raw(b"\x60" + bytes(39))),
}
for inner_name, inner in INNERS.items():
    for outer_name, outer in OUTERS.items():
        name = f"{inner_name} in {outer_name}"
        DECAPSULATED[name] = (outer(inner, {"4": 4, "6": 41}[inner_name]), inner)
        DECAPSULATED[f"{name}, GUE"] = (outer(gue(inner), 17), inner)
        DECAPSULATED[f"{name}, GRE"] = (outer(gre(inner), 47), inner)
UNTOUCHED = {
    "no tunnel": INNER4,
    "no tunnel, IPv6": INNER6,
    "another host's address": outer4(dst=WEB2),
    "another host's IPv6 address": outer6(dst=WEB2_6),
    "the VIP": outer4(dst=VIP),
    "the IPv6 VIP": outer6(dst=VIP6),
    "an address that begins like ours": outer6(dst="cb00:7115::"),
    "wrong checksum": outer4(chksum=0x1234),
    "options": outer4(options=IPOption_NOP()),
    "an extension header": outer6(b"\4\0\1\4\0\0\0\0" + bytes(INNER4), 60),
    "fragment": outer4(frag=2),
    "more fragments": outer4(flags="MF"),
    "IPv6 fragment": outer6(b"\4\0\0\1\0\0\0\7" + bytes(INNER4), 44),
    "longer than the frame": outer4(len=200),
    "longer than the frame, IPv6": outer6(plen=200),
    "shorter than its header": outer4(len=19),
    "inner longer than outer": outer4(inner_of_length(len(INNER4) + 1)),
    "inner longer than outer, IPv6": outer6(INNER6, 41, plen=len(INNER6) - 1),
    "inner shorter than a header": outer4(inner_of_length(19)),
    "inner not IPv4": outer4(of_version(6, INNER4)),
    "inner not IPv6": outer4(of_version(4, INNER6), 41),
    "too short for an inner header": outer4(shorter(INNER4, 12)),
    "too short for an inner IPv6 header": outer6(shorter(INNER6, 39), 41),
    "other protocol": outer4(proto=50),
    "other UDP port": outer4(gue(INNER4, dport=6081), 17),
    "UDP checksum": outer4(gue(INNER4, chksum=1), 17),
    "UDP longer than the packet": outer4(gue(INNER4, len=len(INNER4) + 9), 17),
    "UDP shorter than the packet": outer6(gue(INNER6, len=len(INNER6) + 7), 17),
    "GUE with a header": outer4(gue(b"\0\4\0\0" + bytes(INNER4)), 17),
    "GUE of nothing": outer4(gue(b""), 17),
    "GUE too short": outer6(gue(shorter(INNER6, 39)), 17),
    "GRE checksum": outer4(gre(INNER4, chksum_present=1), 47),
    "GRE key": outer4(gre(INNER4, key_present=1, key=7), 47),
    "GRE sequence number": outer6(gre(INNER4, seqnum_present=1), 47),
    "GRE version": outer4(b"\0\1" + bytes(gre(INNER4))[2:], 47),
    "GRE of something else": outer4(gre(INNER4, proto=0x6558), 47),
    "GRE of the other family": outer4(gre(INNER4, proto=0x86DD), 47),
    "GRE cut off": outer4(b"\0\0\x08", 47),
}


@pytest.fixture(scope="module")
def wire(lab: Lab) -> Iterator[tuple[socket.socket, socket.socket]]:
    """What lb1 sends, and what web1's stack gets."""
    sent = lab.host("lb1").socket(socket.AF_PACKET, socket.SOCK_RAW)
    seen = lab.host("web1").socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with sent, seen:
        sent.bind(("eth0", 0))
        seen.settimeout(2)
        yield sent, seen


@pytest.mark.parametrize(
    ("packet", "expected"),
    [pytest.param(*case, id=name) for name, case in DECAPSULATED.items()]
    + [pytest.param(packet, packet, id=name) for name, packet in UNTOUCHED.items()],
)
@pytest.mark.parametrize("tags", [0, 1, 2])
def test_decapsulation(
    wire: tuple[socket.socket, socket.socket], packet: Packet, expected: Packet, tags: int
) -> None:
    sent, seen = wire
    addresses = WEB1_MAC + bytes.fromhex("020000000001")
    tag = bytes.fromhex("81000007")
    sent.send((addresses + tag * tags + with_type(packet)).ljust(60, b"\0"))
    while not (frame := seen.recv(2048)).startswith(addresses):
        pass
    # The stack has taken off the first tag, and would cut the padding off later.
    wanted = addresses + tag * (tags - 1) + with_type(expected)
    assert frame.rstrip(b"\0") == wanted.rstrip(b"\0")


def with_type(packet: Packet) -> bytes:
    """The packet behind its EtherType."""
    return bytes.fromhex({4: "0800", 6: "86dd"}[bytes(packet)[0] >> 4]) + bytes(packet)


def test_a_tunnelled_request_is_answered_directly(
    lab: Lab, wire: tuple[socket.socket, socket.socket]
) -> None:
    request = IP(src=CLIENT, dst=VIP) / ICMP(id=77) / Raw(b"who?")
    with lab.host("client").socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
        client.settimeout(2)
        wire[0].send(WEB1_MAC + bytes.fromhex("0200000000010800") + bytes(outer4(request)))
        answer = IP(client.recv(2048))
    assert (answer.src, answer.dst, answer[ICMP].id) == (VIP, CLIENT, 77)
    assert answer[Raw].load == b"who?"


# Ansible reaches the hosts.


def ansible(lab: Lab, *arguments: str, pipelining: bool = True) -> subprocess.CompletedProcess[str]:
    settings = {"L4LB_LAB": lab.name, "ANSIBLE_PIPELINING": str(pipelining), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible")), "-i", str(INVENTORY), *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("pipelining", [True, False])
def test_ansible_ping(lab: Lab, pipelining: bool) -> None:
    result = ansible(lab, "all", "-m", "ping", pipelining=pipelining)
    assert result.stdout.count("ping: pong") + result.stdout.count('"ping": "pong"') == 8, result


@pytest.mark.parametrize("pipelining", [True, False])
def test_ansible_copies_files(lab: Lab, tmp_path: Path, pipelining: bool) -> None:
    there, back = f"/opt/l4lb lab {pipelining}", tmp_path / "back"
    content = random.randbytes(300_000)
    (tmp_path / "file").write_bytes(content)
    copied = ansible(
        lab,
        "web1",
        "-m",
        "copy",
        "-a",
        f"src={tmp_path}/file dest='{there}'",
        pipelining=pipelining,
    )
    assert copied.returncode == 0, copied
    assert not Path(there).exists()
    fetched = ansible(
        lab,
        "web1",
        "-m",
        "fetch",
        "-a",
        f"src='{there}' dest={back} flat=true",
        pipelining=pipelining,
    )
    assert fetched.returncode == 0, fetched
    assert back.read_bytes() == content


def test_ansible_hosts_have_a_clean_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "drips")
    result = ansible(lab, "web1", "-m", "command", "-a", "env")
    assert "USER=root" in result.stdout
    assert "LEAK" not in result.stdout


def test_ansible_is_told_that_there_is_no_laboratory() -> None:
    result = ansible(unused("no"), "web1", "-m", "ping")
    assert "UNREACHABLE" in result.stdout
    assert "Is the laboratory up?" in " ".join(result.stdout.split())


# Coming and going.


def traces(lab: Lab, networks: set[int]) -> list[str]:
    """What there is of a laboratory on the machine. Others may come and go there meanwhile."""
    namespaces = subprocess.run(["lsns", "-rno", "NS"], check=True, capture_output=True, text=True)
    links = subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True)
    mounts = Path("/proc/self/mountinfo").read_text()
    return [
        *(line for line in namespaces.stdout.split() if int(line) in networks),
        *(line for line in links.stdout.splitlines() if "02:00:cb:00:71" in line),
        *(line for line in mounts.splitlines() if str(lab.directory) in line),
        *(str(path) for path in [lab.directory] if path.exists()),
    ]


def networks(lab: Lab) -> set[int]:
    return {host.network.stat().st_ino for host in lab.hosts.values()}


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_command(tmp_path: Path) -> None:
    lab = unused("c")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(COMMAND), "--name", lab.name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("status").returncode == 3
    assert run("exec", "web1", "--", "true").returncode == 1
    assert run("up").returncode == 0
    assert run("up").returncode == 0
    pid = lab.host("web1").running("nginx")
    assert pid
    other = tmp_path / "other.yml"
    other.write_text(SMALL)
    refused = run("up", "--topology", str(other))
    assert refused.returncode == 1
    assert "another topology" in refused.stderr
    status = run("status")
    assert status.returncode == 0
    assert "nginx runs" in status.stdout
    assert run("exec", "web2", "--", "hostname").stdout == "web2\n"
    assert run("exec", "web2", "--", "sh", "-c", "exit 7").returncode == 7
    namespaces = networks(lab)

    assert run("down").returncode == 0
    assert run("down").returncode == 0
    assert traces(lab, namespaces) == []
    assert not alive(pid)


def test_another_topology_beside(lab: Lab, tmp_path: Path) -> None:
    small, topology = unused("s"), tmp_path / "small.yml"
    topology.write_text(SMALL)
    small.up(topology)
    try:
        one = small.host("one")
        one.run(["ping", "-c1", "-W1", small.host("two").address])
        assert one.run(["stat", "-fc%T", "/sys/fs/bpf"]).stdout != "bpf_fs\n"
        assert lab.host("client").run(["hostname"]).stdout == "client\n"

        one.start("sleep", ["sleep", "600"])
        started = one.running("sleep")
        assert started
        with pytest.raises(LabError, match="running already"):
            one.start("sleep", ["sleep", "600"])
        stranger = subprocess.Popen(one.inside("sleep", "600"))
        while stranger.pid not in one.others():
            assert stranger.poll() is None
    finally:
        left = small.down()
    assert left == {"one": [stranger.pid]}
    assert stranger.poll() is None
    assert not alive(started)
    stranger.kill()
    stranger.wait()


STRAYS = [
    "etc/l4lb/eth0.json",
    "usr/lib/l4lb/l4lb",
    "usr/sbin/l4lb",
    "etc/systemd/system/l4lb@.service",
    "etc/systemd/system/multi-user.target.wants/l4lb@eth0.service",
    "root/.local/lib/python3.11/site-packages/pyroute2.py",
    "usr/local/lib/python3.11/dist-packages/bcc/__init__.py",
]


@pytest.fixture
def strays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A layer with files that somebody left behind; to hosts they are the machine's."""
    layer = tmp_path / "strays"  # a mount, as no layer may be within another
    layer.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", layer], check=True)
    for stray in STRAYS:
        (layer / stray).parent.mkdir(parents=True, exist_ok=True)
        (layer / stray).touch()
    monkeypatch.setattr("lab.host.MACHINE", f"{layer}:/")
    yield layer
    subprocess.run(["umount", layer], check=True)


def test_hosts_are_virgin_whatever_the_machine_has(strays: Path, tmp_path: Path) -> None:
    topology = tmp_path / "small.yml"
    topology.write_text(SMALL)
    lab = unused("v")
    lab.up(topology)
    try:
        found = lab.host("one").run(["find", *(f"/{stray}" for stray in STRAYS)], check=False)
    finally:
        lab.down()
    assert found.stdout == ""
    assert all((strays / stray).exists() for stray in STRAYS)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    lab, topology = unused("f"), tmp_path / "failing.yml"
    topology.write_text(SMALL + "    services: {broken: {command: ['false'], ports: [80]}}\n")
    with pytest.raises(LabError, match="two: broken does not listen"):
        lab.up(topology)
    assert traces(lab, set()) == []


def test_up_after_an_interrupted_up() -> None:
    lab = unused("i")
    process = subprocess.Popen([sys.executable, str(COMMAND), "--name", lab.name, "up"])
    while not (lab.directory / "web4/processes/nginx.pid").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not lab.is_up
    assert lab.up()
    assert lab.host("client").run(["curl", "-sS", "http://web4/"]).stdout == "web4\n"
    namespaces = networks(lab)
    assert lab.down() == {}
    assert traces(lab, namespaces) == []


def test_up_where_namespaces_are_young(tmp_path: Path) -> None:
    """As in a container: the mount namespace outside is about as old as those of the hosts."""
    topology = tmp_path / "small.yml"
    topology.write_text(SMALL)
    lab = [sys.executable, str(COMMAND), "--name", unused("y").name]
    up, down = [*lab, "up", "--topology", str(topology)], [*lab, "down"]
    cpus = sorted(os.sched_getaffinity(0))
    everywhere = f"taskset --cpu-list {','.join(map(str, cpus))}"
    for cpu in {cpus[0], cpus[-1]}:
        inside = f"{everywhere} {shlex.join(up)} && {shlex.join(down)}"
        command = ["taskset", "--cpu-list", str(cpu), "unshare", "--mount", "sh", "-c", inside]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{to: two/eth0", "{to: two/eth1"), "one/eth0: there is no 'two/eth1' to connect to"),
        (("{to: two/eth0", "{via: two/eth0"), "unexpected keyword argument 'via'"),
        (("198.51.100.1/30", "198.51.100.256/30"), "198.51.100.256"),
        (("bpffs: false", "decapsulate: eth1"), "one: there is no interface 'eth1'"),
        (("bpffs: false", "root: debian-1"), "one: there is no root 'debian-1', but debian-12, "),
        (("  two:", "  Two:"), "host name 'Two'"),
    ],
)
def test_a_wrong_topology(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    topology = tmp_path / "wrong.yml"
    topology.write_text(SMALL.replace(*change))
    with pytest.raises(LabError, match=message):
        unused("w").up(topology)
