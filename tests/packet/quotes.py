# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ICMP by the version of IP: pings, and errors with the packets that they quote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.packet.harness import VIPS
from tests.packet.packets import (
    CLIENT,
    CLIENT6,
    FIRST_FRAGMENT,
    Transport,
    frame,
    icmp,
    icmp6,
    ipv4,
    ipv6,
    ping,
    ping6,
    tcp,
)

STRANGERS = {4: "192.0.2.99", 6: "2001:db8::99"}
CLIENTS = {4: CLIENT, 6: CLIENT6}
ROUTERS = {4: "203.0.113.250", 6: "2001:db8:ffff::1"}
PINGS: dict[int, Callable[..., Transport]] = {4: ping, 6: ping6}
MESSAGES: dict[int, Callable[..., Transport]] = {4: icmp, 6: icmp6}
PACKETS: dict[int, Callable[..., bytes]] = {4: ipv4, 6: ipv6}


def quote_of(family: int, segment: bytes | None = None, /, **fields: Any) -> bytes:
    """A packet that a service sent to a client, as an error quotes it."""
    addresses = {"source": VIPS[family], "destination": CLIENTS[family]}
    segment = tcp(source_port=443, port=50000) if segment is None else segment
    return PACKETS[family](segment, **{**addresses, **fields})


def first_fragment(version: int, segment: bytes, /, **fields: Any) -> bytes:
    """The beginning of a long answer of a service, as an error quotes it."""
    kind: dict[str, Any] = {"flags": 0x2000} if version == 4 else {"extensions": [FIRST_FRAGMENT]}
    return quote_of(version, segment, **kind, **fields)


def error_about(version: int, quote: bytes, /, **fields: Any) -> bytes:
    """An error that a router sends about this packet."""
    message = MESSAGES[version]({4: 11, 6: 3}[version], data=quote)
    return frame(
        message,
        **{"source": ROUTERS[version], "destination": VIPS[version], **fields},
    )
