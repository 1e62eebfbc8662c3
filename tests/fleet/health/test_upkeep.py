# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others break of balancers, and their agent repairs; and what it leaves as it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab import Lab
from lab.build import LAB
from lab.host import Host
from lab.traffic.connections import Connections
from tests.fleet.rig.balancers import program
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import changes
from tests.fleet.rig.services import ECHO, VIP, WEB
from tests.fleet.there import strangers

PATIENCE, GRACE = 60.0, 10.0
MAC, OTHER_MAC = "02:00:00:00:77:01", "02:00:00:00:77:02"
DEPLOYED: dict[str, Any] = {
    "interface": "eth0",
    "services": [
        {
            "name": "flows",
            "address": VIP,
            "port": ECHO,
            "protocol": "tcp",
            "backends": [{"address": address} for address in WEB.values()],
        },
        {
            "name": "given",
            "address": VIP,
            "port": 9,
            "protocol": "udp",
            "backends": [{"address": WEB["web1"], "mac": MAC}],
        },
    ],
}
"""Of a service whose backends have MAC addresses, the MTU of the interface is written down."""
OTHERS = {name: f"to{name}" for name in ("foreign", "paused", "removed", "anew")}
"""Interfaces, and their other ends."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("up") as lab:
        for name in WEB:
            server = lab.host(name)
            command = ["python3", str(LAB / "servers/echo.py"), str(ECHO), VIP, server.address]
            server.start("echo", command)
        yield lab


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> Iterator[Host]:
    host = lab.host("lb1")
    assert changes(lab, "deploy", **DEPLOYED) == 4
    host.start("agent", ["l4lb", "agent"])
    yield host
    host.stop("agent")
    assert "Traceback" not in host.log("agent").read_text()
    l4lb(host, "remove", "eth0")
    assert host.run(["ls", "/run/l4lb"], check=False).returncode, "the agent left something"


@pytest.fixture
def lb1(deployed: Host) -> Iterator[Host]:
    """Every test finds it as it was deployed, and leaves it so."""
    yield deployed
    until(deployed, lambda: upkeep(deployed)["problem"] is None)
    assert l4lb(deployed, "apply", "--check", "-", given=DEPLOYED) == "eth0: nothing to change\n"


def until(host: Host, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, host.log("agent").read_text()
        time.sleep(0.2)


def status(host: Host) -> list[str]:
    """Its lines; the exit code is about all interfaces."""
    return host.run(["l4lb", "status"], check=False).stdout.splitlines()


def upkeep(host: Host, interface: str = "eth0") -> dict[str, Any]:
    """What the agent knows of it."""
    done = host.run(["l4lb", "status", "--json"], check=False)
    known: dict[str, Any] = json.loads(done.stdout)[interface]["upkeep"] or {"problem": None}
    return known


@contextmanager
def repaired(host: Host, what: str) -> Iterator[None]:
    """In this block somebody breaks something; it is told as this in the journal and by l4lb
    status."""
    until(host, lambda: "since" in upkeep(host))
    before, log = upkeep(host)["repairs"], len(host.log("agent").read_text())
    yield
    until(host, lambda: upkeep(host)["repairs"] > before)
    line = f"eth0 was found otherwise than it was left, and repaired: {what}"
    assert line in host.log("agent").read_text()[log:]
    assert what in upkeep(host)["last"]["done"]
    shown = status(host)
    (told,) = [one for one in shown if one.startswith("The agent has repaired eth0 ")]
    assert told.endswith(upkeep(host)["last"]["done"])


def test_forwarding(lab: Lab, lb1: Host) -> None:
    with Connections(lab.host("client"), (VIP, ECHO)) as connections:
        with repaired(lb1, "set net.ipv4.conf.lo.forwarding to 1"):
            lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
        assert lb1.run(["sysctl", "-n", "net.ipv4.conf.lo.forwarding"]).stdout == "1\n"
        connections.await_rounds()
    assert not connections.broken


def test_next_hops(lab: Lab, lb1: Host) -> None:
    with repaired(lb1, "have the kernel keep 203.0.113.21, 203.0.113.22 resolved"):
        lb1.run(["sh", "-ec", "for n in 21 22; do ip neigh del 203.0.113.$n dev eth0; done"])
    with Connections(lab.host("client"), (VIP, ECHO)) as connections:
        connections.await_rounds()
        assert set(connections.servers) == set(WEB)
    assert not connections.broken


def test_a_next_hop_with_a_wrong_address(lab: Lab, lb1: Host) -> None:
    """The kernel tells nobody; it shows when something else changes, or within a minute."""
    with repaired(lb1, "have the kernel keep 203.0.113.23 resolved"):
        lb1.ip([f"neigh replace {WEB['web3']} lladdr {OTHER_MAC} dev eth0 nud reachable"])
        lb1.ip(["route add 10.99.0.0/16 via 203.0.113.1", "route delete 10.99.0.0/16"])
    with Connections(lab.host("client"), (VIP, ECHO)) as connections:
        assert set(connections.servers) == set(WEB)
    assert not connections.broken


def test_a_link_that_was_down(lab: Lab, lb1: Host) -> None:
    """The kernel forgets all neighbours then."""
    with repaired(lb1, "have the kernel keep 203.0.113.21, 203.0.113.22, 203.0.113.23, 203"):
        back = ("route replace default via 203.0.113.1", "route replace default via 2001:db8:2::1")
        own = f"address replace {lb1.address6}/64 dev eth0 nodad"
        lb1.ip(["link set eth0 down", "link set eth0 up", own, *back])
    with Connections(lab.host("client"), (VIP, ECHO)) as connections:
        connections.await_rounds()
    assert not connections.broken


def test_the_mac_address(lab: Lab, lb1: Host) -> None:
    (link,) = json.loads(lb1.run(["ip", "-json", "link", "show", "eth0"]).stdout)
    router = lab.host("router")
    with Connections(lab.host("client"), (VIP, ECHO)) as connections:
        for before, after in ((link["address"], OTHER_MAC), (OTHER_MAC, link["address"])):
            with repaired(lb1, f"own MAC addresses: {before} -> {after}"):
                lb1.ip([f"link set eth0 address {after}"])
                router.ip([f"neigh flush to {lb1.address}"])
            connections.await_rounds()
    assert not connections.broken


def test_the_mtu(lb1: Host) -> None:
    for before, after in ((1500, 1400), (1400, 1500)):
        with repaired(lb1, f"MTU of eth0: {before} -> {after}"):
            lb1.ip([f"link set eth0 mtu {after}"])


def test_what_is_saved_is_another(lb1: Host) -> None:
    """A deploy is on its way, or wanted: that is not for the agent to say."""
    lb1.run(["sed", "-i", "s/113.22/113.99/", "/etc/l4lb/eth0.json"])
    until(lb1, lambda: "says something else" in (upkeep(lb1)["problem"] or ""))
    repairs = upkeep(lb1)["repairs"]
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    l4lb(lb1, "apply", "-", given=DEPLOYED)
    until(lb1, lambda: upkeep(lb1)["problem"] is None)
    assert upkeep(lb1)["repairs"] == repairs


class Flow:
    """A connection that nothing is sent by but when it is asked."""

    def __init__(self, client: Host) -> None:
        self.socket = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((VIP, ECHO))
        self.socket.recv(100)

    def works(self) -> bool:
        self.socket.sendall(b"ping\n")
        return self.socket.recv(100) == b"ping\n"


def make(host: Host, name: str) -> None:
    host.ip([f"link add {name} type veth peer name {OTHERS[name]}", f"link set {name} up"])


@pytest.fixture
def others(lb1: Host) -> Iterator[Host]:
    """More balancers on the same host."""
    for name in OTHERS:
        make(lb1, name)
        given = {"interface": name, "services": [], "mode": "generic"}
        l4lb(lb1, "apply", "-", given=given)
    yield lb1
    lb1.run(["ip", "link", "set", "foreign", "xdp", "off"])
    for name in OTHERS:
        lb1.run(["l4lb", "remove", name], check=False)
        lb1.ip([f"link delete {name}"])


def test_programs_that_somebody_detaches(lab: Lab, others: Host) -> None:
    """Once one is attached again; what an operator has said stands, whatever becomes of the
    agent."""
    lb1 = others
    flows = [Flow(lab.host("client")) for _turn in range(4)]
    until(lb1, lambda: upkeep(lb1, "removed").keys() > {"problem"})
    ours = program(lb1)
    lb1.run(["ip", "link", "set", "foreign", "xdpgeneric", "off"])
    python(lb1, strangers.foreign, mode="generic", interface="foreign")
    foreign = program(lb1, "foreign")
    l4lb(lb1, "pause", "paused")
    l4lb(lb1, "remove", "removed")
    lb1.ip(["link delete anew"])
    make(lb1, "anew")
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    began = time.monotonic()
    with repaired(lb1, "attach the program to eth0, mode auto"):
        until(lb1, lambda: upkeep(lb1)["problem"] is not None)
        told = "eth0 is not as it should be: eth0 lost its program; it is attached again if nobody"
        assert any(line.startswith(told) for line in status(lb1))
        while time.monotonic() < began + GRACE - 1:
            assert program(lb1) is None
            time.sleep(0.5)
    assert program(lb1) == ours
    assert time.monotonic() > began + GRACE
    assert all(flow.works() for flow in flows)
    assert upkeep(lb1)["problem"] is None
    until(lb1, lambda: program(lb1, "anew") is not None)

    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    until(lb1, lambda: "again, which is left so" in (upkeep(lb1)["problem"] or ""))
    process = lb1.running("agent")
    assert process
    os.kill(process, signal.SIGKILL)
    until(lb1, lambda: not lb1.running("agent"))
    lb1.stop("agent")
    lb1.start("agent", ["l4lb", "agent"])
    time.sleep(GRACE + 5)
    assert program(lb1) is None
    assert program(lb1, "foreign") == foreign
    assert program(lb1, "paused") is None and program(lb1, "removed") is None
    assert "removed" not in lb1.run(["ls", "/etc/l4lb", "/sys/fs/bpf/l4lb"]).stdout
    shown = status(lb1)
    assert shown[0].startswith("paused is paused since ")
    assert "foreign is not as it should be: it carries the XDP program 'stranger'" in shown[2]
    assert "eth0 lost its program again, which is left so; run l4lb restore" in shown[1]

    l4lb(lb1, "restore", "eth0")
    l4lb(lb1, "resume", "paused")
    assert all(flow.works() for flow in flows)
    until(lb1, lambda: upkeep(lb1)["problem"] is None)
    assert "eth0 is not as it should be: over" in lb1.log("agent").read_text()
