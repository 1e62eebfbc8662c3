# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An address that keepalived moves, out and back under load: no connection is lost, no packet
comes twice, and a deploy finds nothing to change on either balancer."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from lab.host import Host
from lab.traffic.connections import Connections
from lab.traffic.stream import Stream
from tests.fleet.keepalived.conftest import VIP6, Pair
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.exits import Balancer
from tests.fleet.rig.services import ECHO, VIP

ETH_P_ALL = 3


class Load:
    """Connections that stay open, and numbered datagrams, of both families."""

    def __init__(self, client: Host, running: ExitStack) -> None:
        vips = ((VIP, ECHO), (VIP6, ECHO))
        self.connections = [
            running.enter_context(Connections(client, vip, 12, 0.1)) for vip in vips
        ]
        self.streams = [running.enter_context(Stream(client, vip, 4, 0.05)) for vip in vips]

    def goes_on(self) -> None:
        """On every connection, and on every flow of datagrams."""
        for each in self.connections:
            each.await_rounds()
            assert each.broken == {}
        for stream in self.streams:
            stream.await_answers()


@contextmanager
def load(pair: Pair) -> Iterator[Load]:
    with ExitStack() as running:
        found = Load(pair.client, running)
        found.goes_on()
        yield found
    for stream in found.streams:
        gap = max(stream.gap(flow) for flow in range(len(stream.answers)))
        print(f"{pair.way}: {gap:.2f} s without an answer at the longest")
        assert stream.duplicates() == 0


class Packet(NamedTuple):
    """Where a packet in a tunnel comes from."""

    tunnel: str
    client: str


def of_tunnels(pair: Pair, seconds: float = 0.3) -> set[Packet]:
    """What comes to a backend meanwhile, but for checks."""
    found = set()
    kind = socket.htons(ETH_P_ALL)
    with pair.router.socket(socket.AF_PACKET, socket.SOCK_RAW, kind) as tap, suppress(TimeoutError):
        tap.bind(("web1", ETH_P_ALL))
        tap.settimeout(seconds)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            frame = tap.recv(2048)
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_IPIP:
                found.add(Packet(_address(frame[26:30]), _address(frame[46:50])))
            elif frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_IPV6:
                found.add(Packet(_address(frame[22:38]), _address(frame[62:78])))
    return {packet for packet in found if packet.client != packet.tunnel}


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def assert_serves(pair: Pair, name: str, under: Load) -> None:
    """One balancer does, and nobody else; the servers see the clients' addresses."""
    pair.until_master(name)
    under.goes_on()
    (other,) = (Balancer(host, "eth0") for key, host in pair.balancers.items() if key != name)
    before = other.counted()
    found = of_tunnels(pair)
    under.goes_on()
    assert other.counted() == before
    own = pair.balancers[name]
    assert found == {
        Packet(own.address, pair.client.address),
        Packet(own.address6, pair.client.address6),
    }
    pair.until(pair.settled)


def out_and_back(pair: Pair) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """What has lb1 lose the address, and get it back."""
    lb1, router = pair.balancers["lb1"], pair.router
    return {
        "withdrawn": (lambda: l4lb(lb1, "withdraw", "--wait", "20"), lambda: l4lb(lb1, "announce")),
        "without keepalived": (lambda: lb1.stop("keepalived"), lambda: pair.start(lb1)),
        "cut off": (
            lambda: router.ip(["link set lb1 down"]),
            lambda: router.ip(["link set lb1 up"]),
        ),
    }


def test_failover_and_back(pair: Pair) -> None:
    with load(pair) as under:
        assert_serves(pair, "lb1", under)
        for what, (out, back) in out_and_back(pair).items():
            began = time.monotonic()
            out()
            assert_serves(pair, "lb2", under)
            back()
            assert_serves(pair, "lb1", under)
            print(f"{pair.way}: lb1 was {what}: {time.monotonic() - began:.1f} s, there and back")
