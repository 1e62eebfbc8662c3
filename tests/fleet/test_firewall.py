# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""With README.md's rules for a firewall, a server takes tunnel packets from balancers alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from lab import Lab
from lab.host import CHECKOUT
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.readme import script
from tests.fleet.rig.tunnels import (
    GUE_PORT,
    LB1,
    LB1_6,
    OTHER_PORT,
    STRANGER,
    STRANGER6,
    WEB1,
    WEB2,
    Server,
    with_type,
)

TOOLS = {
    "nftables": (WEB1, "on every backend, with nftables"),
    "iptables": (WEB2, "on every backend, or with iptables"),
}
BALANCER, ANYONE = {4: LB1, 6: LB1_6}, {4: STRANGER, 6: STRANGER6}
KINDS = {"IPv4": 4, "IPv6": 41, "GRE": 47, "GUE": GUE_PORT}
"""What is in an outer IP packet: a protocol, or one to a port of UDP."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nothing unpacks on its servers, so that a socket gets what the firewall lets in."""
    with laboratory("f", CHECKOUT / "lab/topologies/tunnels.yml") as lab:
        yield lab


def listener(lab: Lab, server: Server, version: int, kind: int) -> socket.socket:
    """A server's socket that gets packets of a kind."""
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    if kind < 256:
        made = lab.host(server.name).socket(family, socket.SOCK_RAW, kind)
    else:
        made = lab.host(server.name).socket(family, socket.SOCK_DGRAM)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("", kind))
    made.settimeout(10)
    return made


def send(lab: Lab, server: Server, sources: dict[int, str], version: int, kind: int) -> None:
    """Send a packet of a kind from an address, which is its payload as well."""
    addresses = {"src": sources[version], "dst": {4: server.address, 6: server.address6}[version]}
    payload: Packet = Raw(sources[version].encode())
    if kind > 255:
        kind, payload = 17, UDP(sport=50000, dport=kind) / payload
    outer = IP(**addresses, proto=kind) if version == 4 else IPv6(**addresses, nh=kind)
    with lab.host("lb1").socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        wire.send(server.mac + bytes.fromhex("020000000001") + with_type(outer / payload))


@pytest.mark.parametrize(("server", "where"), TOOLS.values(), ids=TOOLS)
def test_who_gets_in(lab: Lab, server: Server, where: str) -> None:
    cases = [(version, kind) for version in (4, 6) for kind in (*KINDS.values(), OTHER_PORT)]
    sockets = {case: listener(lab, server, *case) for case in cases}

    def first(case: tuple[int, int]) -> str:
        """Whose packet comes in first: a stranger's is sent before the balancer's."""
        for sources in (ANYONE, BALANCER):
            send(lab, server, sources, *case)
        came = sockets[case].recv(2048)
        for whose in (ANYONE, BALANCER):
            if came.endswith(whose[case[0]].encode()):
                return "a stranger's" if whose is ANYONE else "a balancer's"
        raise AssertionError(came)

    assert {first(case) for case in cases} == {"a stranger's"}, "nobody keeps them out yet"
    for case in cases:
        assert sockets[case].recv(2048).endswith(BALANCER[case[0]].encode())

    lab.host(server.name).run(["sh", "-ec", script(where)])
    for version, kind in cases:
        tunnel = kind in KINDS.values()
        assert first((version, kind)) == ("a balancer's" if tunnel else "a stranger's"), kind
    for one in sockets.values():
        one.close()
