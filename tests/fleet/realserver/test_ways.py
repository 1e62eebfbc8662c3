# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every encapsulation and pair of families, by the kernel's tunnels and by the XDP program."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from lab import Lab
from tests.fleet.rig.families import SHIMS, VIPS, Options, ask, balance, overhead, service, url
from tests.fleet.rig.hosts import python
from tests.fleet.rig.real_servers import entry, options, serve
from tests.fleet.rig.tunnels import (
    CLIENT,
    ETH_P_ALL,
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
from tests.fleet.there import real_server

WAYS = {8001 + n: way for n, way in enumerate(itertools.product((4, 6), (4, 6), SHIMS))}
"""Port -> families of service and backends, encapsulation."""
SERVERS = {"web1": WEB1, "web2": WEB2}


def everything(server: Server, way: str) -> dict[str, object]:
    """Both VIPs, by every encapsulation to both addresses."""
    own = {4: server.address, 6: server.address6}
    services = [entry(VIPS[inner], own[outer], how) for inner, outer, how in WAYS.values()]
    return options(*services, decapsulation=way, firewall=True)


@pytest.fixture(scope="module")
def served(lab: Lab, way: str) -> Iterator[Lab]:
    """Both servers are set up, and lb1 balances over them in all ways."""
    chosen: Options = {name: {} for name in SERVERS}
    services = [service(*each, port, backends=chosen) for port, each in WAYS.items()]
    balance(lab.host("lb1"), {"interface": "eth0", "services": services})
    for name, server in SERVERS.items():
        assert serve(lab.host(name), everything(server, way))["way"] == way
    yield lab
    for name in SERVERS:
        serve(lab.host(name), None)


def test_a_second_run_changes_nothing(served: Lab, way: str) -> None:
    for name, server in SERVERS.items():
        assert serve(served.host(name), everything(server, way))["steps"] == []


def test_probes_arrive(served: Lab) -> None:
    for name in SERVERS:
        assert python(served.host(name), real_server.probed) == []
        assert python(served.host(name), real_server.probed_by_an_older_kernel) == []


@pytest.mark.parametrize("port", WAYS, ids=["{} in {} by {}".format(*way) for way in WAYS.values()])
def test_http(served: Lab, port: int) -> None:
    assert set(ask(served.host("client"), WAYS[port][0], port, count=20)) == set(SERVERS)


@pytest.mark.parametrize("inner", [4, 6])
def test_segments_fit(served: Lab, inner: int) -> None:
    """What a server says in its SYN-ACK leaves room for the widest way to the VIP."""
    most = 1500 - max(overhead(how, outer) for _family, outer, how in WAYS.values())
    with served.host("client").socket(
        socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
    ) as wire:
        wire.settimeout(10)
        wire.bind(("eth0", ETH_P_ALL))
        served.host("client").run(["curl", "-sS", url(inner, port=8001 if inner == 4 else 8008)])
        assert mss(wire, inner) == most - {4: 40, 6: 60}[inner]


def mss(wire: socket.socket, inner: int) -> int:
    """Of the first SYN-ACK."""
    while True:
        packet: Packet = (IPv6 if inner == 6 else IP)(wire.recv(2048)[14:])
        if TCP in packet and str(packet[TCP].flags) == "SA":
            return int(dict(packet[TCP].options)["MSS"])


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
def test_a_stranger(served: Lab, server: Server) -> None:
    """A balancer's request is answered; a stranger's, which comes before it, never. Nor is one of a
    balancer that is for no VIP."""
    whose = {STRANGER: STRANGER6, LB1: LB1_6}
    with (
        served.host("lb1").socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
        served.host("client").socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
        ) as client,
    ):
        wire.bind(("eth0", 0))
        client.settimeout(30)
        link = server.mac + bytes.fromhex("020000000001")
        for number in range(6):
            for sources, vip in itertools.product(whose.items(), (server.address, VIPS[4])):
                kind = sources[0] == LB1 and vip == VIPS[4]
                request = IP(src=CLIENT, dst=vip) / ICMP(id=number, seq=kind)
                packet = [*tunnels(to(server, *sources), {"4": request}).values()][number][0]
                wire.send(link + with_type(packet))
            answer = IP(client.recv(2048))[ICMP]
            assert (answer.id, answer.seq) == (number, 1)


def strangers(lab: Lab, way: str) -> list[int]:
    """Packets that web1 has counted as a stranger's, or for no VIP."""
    counted = python(lab.host("web1"), real_server.shown)["counters"]
    if way == "bpf":
        events = counted["programs"]["eth0"]
        return [events["not_a_balancer"], events["not_a_vip"]]
    assert len(counted["devices"]) == 5 and all(counted["devices"].values())
    return [counted["firewall_dropped"]]


def test_what_is_counted(served: Lab, way: str) -> None:
    for port, (version, *_rest) in WAYS.items():
        ask(served.host("client"), version, port, count=8)
    before = strangers(served, way)
    test_a_stranger(served, WEB1)
    more = [now - then for now, then in zip(strangers(served, way), before)]
    assert more == ([12, 6] if way == "bpf" else [18])


def test_nothing_is_dropped_by_the_balancer(served: Lab) -> None:
    found = balance(served.host("lb1"), None)
    assert {reason: count for reason, count in found["drops"].items() if count} == {}
