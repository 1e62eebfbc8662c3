# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets in tunnels, and servers that take them off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

ETH_P_ALL = 3


LB1, LB1_6 = "203.0.113.11", "2001:db8:2::11"


STRANGER, STRANGER6 = "203.0.113.77", "2001:db8:2::77"


CLIENT, VIP = "198.51.100.2", "192.0.2.10"


CLIENT6, VIP6 = "2001:db8:1::2", "2001:db8:ffff::10"


GUE_PORT, OTHER_PORT = 6080, 7777


class Server(NamedTuple):
    """A server of the laboratory, by its addresses."""

    name: str
    address: str
    address6: str
    mac: bytes


WEB1, WEB2, WEB3 = (
    Server(f"web{n}", f"203.0.113.2{n}", f"2001:db8:2::2{n}", bytes.fromhex(f"0200cb00711{4 + n}"))
    for n in (1, 2, 3)
)


PAYLOAD = UDP(sport=7, dport=9) / Raw(b"payload")


INNER4 = IP(src=CLIENT, dst=VIP) / PAYLOAD


INNER6 = IPv6(src=CLIENT6, dst=VIP6) / PAYLOAD


INNERS = {"4": INNER4, "6": INNER6}


def outer4(payload: bytes | Packet = INNER4, proto: int = 4, **fields: object) -> Packet:
    return IP(**{"src": LB1, "dst": WEB1.address, "proto": proto, **fields}) / Raw(bytes(payload))


def outer6(payload: bytes | Packet = INNER4, proto: int = 4, **fields: object) -> Packet:
    return IPv6(**{"src": LB1_6, "dst": WEB1.address6, "nh": proto, **fields}) / Raw(bytes(payload))


OUTERS: dict[str, Callable[..., Packet]] = {"4": outer4, "6": outer6}


def gue(inner: bytes | Packet, **fields: object) -> Packet:
    return UDP(**{"sport": 50000, "dport": GUE_PORT, "chksum": 0, **fields}) / Raw(bytes(inner))


def gre(inner: Packet, **fields: object) -> Packet:
    return GRE(**fields) / inner


def to(server: Server, source: str = LB1, source6: str = LB1_6) -> dict[str, dict[str, Any]]:
    """Fields of outer headers, by family."""
    return {
        "4": {"src": source, "dst": server.address},
        "6": {"src": source6, "dst": server.address6},
    }


def tunnels(
    fields: dict[str, dict[str, Any]], inners: dict[str, Packet] | None = None, port: int = GUE_PORT
) -> dict[str, tuple[Packet, Packet]]:
    """By name: a packet of each encapsulation and pair of families, and what is in it."""
    found = {}
    for inner_name, inner in (inners or INNERS).items():
        for outer_name, put in OUTERS.items():
            name, protocol = f"{inner_name} in {outer_name}", {"4": 4, "6": 41}[inner_name]
            more = fields[outer_name]
            found[name] = put(inner, protocol, **more), inner
            found[f"{name}, GUE"] = put(gue(inner, dport=port), 17, **more), inner
            found[f"{name}, GRE"] = put(gre(inner), 47, **more), inner
    return found


def with_type(packet: Packet) -> bytes:
    """The packet behind its EtherType."""
    return bytes.fromhex({4: "0800", 6: "86dd"}[bytes(packet)[0] >> 4]) + bytes(packet)
