# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers that send each other what they get: it comes to an end."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab import TOPOLOGY, Lab
from tests.fleet.rig.families import VIPS, balance
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory
from tests.fleet.there import library
from tests.packet import packets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Host

CLIENTS = {4: "198.51.100.2", 6: "2001:db8:1::2"}
PATIENCE = 30.0
QUIET = 1.0  # seconds in which an endless loop would send some 100,000 frames


class Circle:
    """Two balancers, each of which has the other as its only backend."""

    def __init__(self, lab: Lab, family: int, encapsulation: str) -> None:
        self.hosts = [lab.host("lb1"), lab.host("lb2")]
        self.family = family
        for host, other in zip(self.hosts, self.hosts[::-1]):
            service = {
                "name": "web",
                "address": VIPS[family],
                "port": 80,
                "protocol": "tcp",
                "encapsulation": encapsulation,
                "backends": [{"address": address(other, family), "mac": mac_address(other)}],
            }
            balance(host, {"interface": "eth0", "services": [service]})

    def close(self) -> None:
        for host in self.hosts:
            python(host, library.remove, interfaces=["eth0"])

    def counted(self) -> tuple[int, dict[str, int]]:
        """Frames that both have sent, and what they have dropped."""
        sent = 0
        drops: dict[str, int] = {}
        for host in self.hosts:
            counters: dict[str, Any] = balance(host, None)
            sent += sum(service["packets"] for service in counters["services"])
            for reason, count in counters["drops"].items():
                drops[reason] = drops.get(reason, 0) + count
        return sent, {reason: count for reason, count in drops.items() if count}


def address(host: Host, family: int) -> str:
    return {4: host.address, 6: host.address6}[family]


def mac_address(host: Host) -> str:
    return host.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("o", TOPOLOGY) as lab:
        yield lab


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("ttl", [64, 255])
def test_a_syn_goes_round_as_often_as_it_has_hops(lab: Lab, family: int, ttl: int) -> None:
    circle = Circle(lab, family, "l2")
    try:
        frame = packets.frame(
            packets.tcp(port=80), source=CLIENTS[family], destination=VIPS[family], ttl=ttl
        )
        frame = packets.mac(mac_address(circle.hosts[0])) + frame[6:]
        with lab.host("router").socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("lb1", 0))
            wire.send(frame)
        deadline = time.monotonic() + PATIENCE
        while not (counted := circle.counted())[1]:
            assert counted[0] < ttl, "it goes round for ever"
            assert time.monotonic() < deadline, counted
        time.sleep(QUIET)
        # each of its hops but the last is a frame
        assert circle.counted() == (ttl - 1, {"ttl_expired": 1})
    finally:
        circle.close()
