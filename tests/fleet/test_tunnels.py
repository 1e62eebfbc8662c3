# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers unpack with their kernel's tunnels, set up as README.md says in its section Backends."""

from __future__ import annotations

import itertools
import re
import socket
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP

from lab import Lab, LabError
from lab.host import CHECKOUT
from tests.fleet.rig.families import SHIMS, VIPS, Options, ask, balance, service
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.tunnels import (
    CLIENT,
    LB1,
    LB1_6,
    STRANGER,
    STRANGER6,
    WEB1,
    WEB2,
    Server,
    to,
    tunnels,
    with_type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Host

TOPOLOGY = CHECKOUT / "lab/topologies/tunnels.yml"
README = (CHECKOUT / "README.md").read_text()

SERVERS = {
    "web1": "on every backend, with nftables",
    "web2": "on every backend, or with iptables",
}
"""Name -> the block of README.md with its firewall."""
WAYS = {8001 + n: way for n, way in enumerate(itertools.product((4, 6), (4, 6), SHIMS))}
"""Port -> families of service and backends, encapsulation."""


def block(where: str) -> str:
    """What is run there."""
    found = re.search(rf"^```sh\n# {where}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def table() -> tuple[list[str], list[str]]:
    """What the table says beyond that: commands, and the devices that these make."""
    commands, devices = [], []
    for encapsulation in SHIMS:
        found = re.search(rf"^\| `{encapsulation}` \|(.*)\|(.*)\|.*\|$", README, re.MULTILINE)
        assert found, f"README.md has no row on {encapsulation}"
        for code in re.findall("`(.*?)`", found[1] + found[2]):
            if code.startswith(("ip ", "modprobe ")):
                commands.append(code)
                devices += re.findall(r"^ip link add (\S+)", code)
            elif re.fullmatch(r"\w+0", code):
                devices.append(code)
    return commands, devices


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("t", TOPOLOGY) as lab:
        prepare(lab)
        yield lab


def prepare(lab: Lab) -> None:
    try:
        lab.host("client").run(["ip", "link", "add", "type", "ipip", "remote", "192.0.2.1"])
    except LabError:
        pytest.skip("cannot run here: the kernel has no ipip")
    for name, firewall in SERVERS.items():
        set_up(lab.host(name), firewall)
    chosen: Options = {name: {} for name in SERVERS}
    services = [service(*way, port, backends=chosen) for port, way in WAYS.items()]
    balance(lab.host("lb1"), {"interface": "eth0", "services": services})


def set_up(server: Host, firewall: str) -> None:
    commands, devices = table()
    assert len(devices) == 5
    script = [block("on every backend"), f"ip address replace {VIPS[6]}/128 dev lo", *commands]
    for device in devices:
        script += [f"ip link set {device} up", f"sysctl -w net.ipv4.conf.{device}.rp_filter=0"]
    server.run(["sh", "-exc", "\n".join([*script, block(firewall)])])


@pytest.mark.parametrize("port", WAYS, ids=["{} in {} by {}".format(*way) for way in WAYS.values()])
def test_http(lab: Lab, port: int) -> None:
    assert set(ask(lab.host("client"), WAYS[port][0], port, count=20)) == set(SERVERS)


@pytest.mark.parametrize("server", [WEB1, WEB2], ids=SERVERS)
def test_a_stranger(lab: Lab, server: Server) -> None:
    """A balancer's request is answered; a stranger's, which comes before it, never."""
    whose = {STRANGER: STRANGER6, LB1: LB1_6}
    with (
        lab.host("lb1").socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
        lab.host("client").socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client,
    ):
        wire.bind(("eth0", 0))
        client.settimeout(30)
        for number in range(6):
            for sources in whose.items():
                request = IP(src=CLIENT, dst=VIPS[4]) / ICMP(id=number, seq=sources[0] == LB1)
                every = list(tunnels(to(server, *sources), {"4": request}).values())
                packet, _inner = every[number]
                link = server.mac + bytes.fromhex("020000000001")
                wire.send(link + with_type(packet))
            answer = IP(client.recv(2048))[ICMP]
            assert (answer.id, answer.seq) == (number, 1)


def test_nothing_is_dropped(lab: Lab) -> None:
    """Whatever else has been sent, by every way."""
    for port, (version, *_rest) in WAYS.items():
        ask(lab.host("client"), version, port, count=1)
    found = balance(lab.host("lb1"), None)
    sent = [sum(one["packets"] for one in service["backends"]) for service in found["services"]]
    assert len(sent) == len(WAYS) and all(sent)
    assert {reason: count for reason, count in found["drops"].items() if count} == {}
