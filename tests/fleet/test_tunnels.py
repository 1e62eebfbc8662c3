# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers unpack with their kernel's tunnels, set up as docs/backends.md says."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP

from lab import Lab, LabError
from lab.host import CHECKOUT
from tests.fleet.rig.families import SHIMS, VIPS, Options, ask, balance, service
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.readme import backend_by_hand
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


TOPOLOGY = CHECKOUT / "lab/topologies/tunnels.yml"

SERVERS = {
    "web1": "on every backend, with nftables",
    "web2": "on every backend, or with iptables",
}
"""Name -> the block of the page with its firewall."""
WAYS = {8001 + n: way for n, way in enumerate(itertools.product((4, 6), (4, 6), SHIMS))}
"""Port -> families of service and backends, encapsulation."""


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
        lab.host(name).run(["sh", "-exc", backend_by_hand(VIPS[6], firewall)])
    chosen: Options = {name: {} for name in SERVERS}
    services = [service(*way, port, backends=chosen) for port, way in WAYS.items()]
    balance(lab.host("lb1"), {"interface": "eth0", "services": services})


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
