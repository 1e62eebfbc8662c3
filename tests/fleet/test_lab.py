# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory itself: its hosts are hosts, Ansible reaches them, and nothing stays behind."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import Lab, LabError
from lab.host import CHECKOUT
from tests.fleet.rig.play import run

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = CHECKOUT / "lab/lab.py"

LB1, WEB1 = "203.0.113.11", "203.0.113.21"

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


# Ansible reaches the hosts.


def ansible(lab: Lab, *arguments: str, pipelining: bool = True) -> subprocess.CompletedProcess[str]:
    return run(lab, *arguments, program="ansible", ANSIBLE_PIPELINING=str(pipelining))


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

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(COMMAND), "--name", lab.name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert call("status").returncode == 3
    assert call("exec", "web1", "--", "true").returncode == 1
    assert call("up").returncode == 0
    assert call("up").returncode == 0
    pid = lab.host("web1").running("nginx")
    assert pid
    other = tmp_path / "other.yml"
    other.write_text(SMALL)
    refused = call("up", "--topology", str(other))
    assert refused.returncode == 1
    assert "another topology" in refused.stderr
    status = call("status")
    assert status.returncode == 0
    assert "nginx runs" in status.stdout
    assert call("exec", "web2", "--", "hostname").stdout == "web2\n"
    assert call("exec", "web2", "--", "sh", "-c", "exit 7").returncode == 7
    namespaces = networks(lab)

    assert call("down").returncode == 0
    assert call("down").returncode == 0
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
    for cpu in sorted({cpus[0], cpus[-1]}):
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
