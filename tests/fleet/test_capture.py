# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets before and after, as l4lb capture sees them, from beginning to end. It takes a kernel
that lets programs be traced, as those of `make kernels`; tests/packet/test_capture.py has more."""

from __future__ import annotations

import base64
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.xdp.l4lb.plugins.lookup.command import build
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import libbpf
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.balancers import apply, program
from tests.fleet.rig.labs import laboratory
from tests.pcapng import Frame, frames

CLIENT, VIP, WEB1 = "198.51.100.2", "192.0.2.10", "203.0.113.21"
NAME = 'dns "<b>" \\n ü'
"""As strange as a name may be that all shall show as it is."""
PATIENCE = 300.0
"""Seconds, where a processor may be emulated."""
TRACING = 26
"""BPF_PROG_TYPE_TRACING."""


def service(name: str, port: int, *backends: str, protocol: str = "udp") -> dict[str, object]:
    there = {"name": name, "address": VIP, "port": port, "protocol": protocol}
    return {**there, "backends": [{"address": one} for one in backends]}


def balance(host: Host, **options: object) -> None:
    """options: of the first service."""
    services = [
        {**service(NAME, 53, WEB1), **options},
        service("bare", 54),
        service("web", 80, WEB1, protocol="tcp"),
    ]
    outcome = apply(host, {"interface": "eth0", "services": services})
    assert "error" not in outcome, outcome


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if libbpf().libbpf_probe_bpf_prog_type(TRACING, None) != 1:
        pytest.skip("cannot run here: the kernel lets no program be traced")
    with laboratory("cp", CHECKOUT / "lab/topologies/tunnels.yml") as lab:
        host = lab.host("lb1")
        install = "base64 -d >/usr/sbin/l4lb; chmod 755 /usr/sbin/l4lb"
        host.run(["sh", "-ec", install], input=base64.b64encode(build()).decode())
        balance(host)
        yield lab


def wait(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


class Capture:
    """The command, while packets come."""

    def __init__(self, host: Host, *arguments: str) -> None:
        self.host = host
        host.stop("capture")  # of a test that failed
        self._others = len(host.log("capture").read_text()) if host.log("capture").exists() else 0
        host.start("capture", ["l4lb", "capture", "eth0", "--seconds", "900", *arguments])
        wait(lambda: "sees packets" in self.text or not host.running("capture"))
        assert "sees packets" in self.text, self.text

    @property
    def text(self) -> str:
        return self.host.log("capture").read_text()[self._others :]

    def end(self) -> str:
        """What it has written once it has ended by itself."""
        wait(lambda: not self.host.running("capture"))
        self.host.stop("capture")
        return self.text


def send(lab: Lab) -> None:
    """Two datagrams to a service, one to another that has no backend, a ping, and a datagram that
    is to no service."""
    client = lab.host("client")
    with client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for port in (53, 53, 54):
            packet = IP(src=CLIENT, dst=VIP) / UDP(sport=40000, dport=port) / b"question"
            raw.sendto(bytes(packet), (VIP, 0))
        raw.sendto(bytes(IP(src=CLIENT, dst=VIP) / ICMP(id=7)), (VIP, 0))
        raw.sendto(bytes(IP(src=CLIENT, dst="203.0.113.11") / UDP(dport=9)), ("203.0.113.11", 0))


def written(host: Host, name: str) -> list[Frame]:
    host.run(["tcpdump", "-nr", name])  # reads it
    text = host.run(["base64", name]).stdout
    return frames(base64.b64decode(text))


def test_a_file(lab: Lab) -> None:
    """Before and after, verdicts, the backend, reasons, and names as they are."""
    lb1 = lab.host("lb1")
    before = program(lb1)
    capture = Capture(lb1, "-w", "/root/all.pcapng", "--count", "4")
    send(lab)
    assert "4 packets captured, 0 lost" in capture.end()
    assert program(lb1) == before
    found = written(lb1, "/root/all.pcapng")
    told = [(one.interface, one.comment) for one in found]
    sent = f"sent to {WEB1}, service {NAME}"
    assert told == [
        *[("eth0 before", sent), ("eth0 after", sent)] * 2,
        ("eth0 before", "dropped: no_backend, service bare"),
        ("eth0 before", f"answered: echo_reply, services bare, {NAME}, web"),
        ("eth0 after", f"answered: echo_reply, services bare, {NAME}, web"),
    ]
    came, left = Ether(found[0].data), Ether(found[1].data)
    assert came[UDP].dport == 53 and came[IP].dst == VIP
    assert left[IP].dst == WEB1 and left[IP].payload[IP].dst == VIP
    assert (found[0].length, found[1].length) == (len(found[0].data), len(found[0].data) + 20)
    assert found[0].packet == found[1].packet != found[2].packet
    assert abs(found[0].time / 1e9 - time.time()) < 2 * PATIENCE


def tracers(host: Host) -> int:
    """How many tracing programs the kernel has."""
    return len(re.findall("name capture_e", host.run(["bpftool", "prog", "show"]).stdout))


def test_it_ends_with_its_process(lab: Lab) -> None:
    """However that ends; and what is written can be read."""
    lb1 = lab.host("lb1")
    wait(lambda: tracers(lb1) == 0)
    capture = Capture(lb1, "-w", "/root/cut.pcapng")
    assert tracers(lb1) == 2
    send(lab)
    wait(lambda: len(written(lb1, "/root/cut.pcapng")) == 7)
    lb1.run(["kill", "-9", str(lb1.running("capture"))])
    capture.end()
    wait(lambda: tracers(lb1) == 0)
    assert len(written(lb1, "/root/cut.pcapng")) == 7


def test_text_until_another_program_takes_over(lab: Lab) -> None:
    """Names and all, of a service and its backend; then it sees nothing any more, and says so."""
    lb1 = lab.host("lb1")
    capture = Capture(lb1, "--service", NAME, "--backend", WEB1)
    send(lab)
    wait(lambda: capture.text.count("sent to") == 2)
    for line in capture.text.splitlines()[1:]:
        clock, told = line.split(" ", 1)
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6}", clock)
        sizes = "50 bytes, 70 after"
        assert told == f"udp {CLIENT}:40000 > {VIP}:53, {sizes}: sent to {WEB1}, service {NAME}"
    balance(lb1, encapsulation="gue")
    assert "is no longer attached to eth0; capture again" in capture.end()
    assert "2 packets captured, 0 lost" in capture.text
    balance(lb1)
