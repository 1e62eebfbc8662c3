# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random configurations and packets, for volume: valid, odd and broken ones mixed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import (
    NOT_CHECKED,
    Verdict,
    Verdicts,
)

from tests.packet.crossing import (
    BRIDGE_MAC,
    MACVLAN_MAC,
    OWN_MAC,
    QUIET_MAC,
    QUIET_TAG,
    TAG,
)
from tests.packet.harness import NO_LIMIT, backends
from tests.packet.packets import (
    ATOMIC,
    AUTHENTICATION,
    DESTINATION,
    FIRST_FRAGMENT,
    LAST_FRAGMENT,
    MOBILITY,
    ROUTER_MAC,
    ROUTING,
    SEGMENTS,
    Address,
    Extension,
    authentication,
    extension,
    frame,
    hop_by_hop,
    icmp,
    icmp6,
    ipv4,
    ipv6,
    random_flow,
    random_flow6,
)

ADDRESSES: dict[int, list[str]] = {
    4: ["192.0.2.10", "192.0.2.11", "10.2.0.192"],
    6: ["2001:db8::10", "2001:db8::11", "c000:20a::"],
}
STRANGERS: dict[int, list[str]] = {4: ["192.0.2.99"], 6: ["2001:db8::99"]}
FORGED: dict[int, list[Address]] = {
    4: [IPv4Address(text) for text in ("0.0.0.1", "127.0.0.1", "239.1.2.3", "255.255.255.255")],
    6: [IPv6Address(text) for text in ("::", "::1", "ff02::1", "::ffff:198.51.100.7")],
}
"""Sources that no host has."""
PORTS = [0, 1, 53, 443, 8080, 65535]
GIVEN_MAC = "02:00:00:00:00:0c"
OWN = [OWN_MAC, BRIDGE_MAC, MACVLAN_MAC, QUIET_MAC, GIVEN_MAC]
NOT_OWN = ["52:54:00:00:00:99", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"]
GROUP = "33:33:00:00:00:01"
CLIENTS = 100
"""Few enough that the flow table forgets none of their flows, and flows come again."""
FLOW_TABLE_SIZE = 2**18
LONG = 300
"""Seconds: no flow is forgotten in the time that a batch takes."""

ENCAPSULATIONS = ("ipip", "gue", "gre", "l2")
STATES = ("enabled",) * 4 + ("drained", "disabled")

IP_OPTIONS = [
    b"\1" * 4,
    bytes([148, 4, 0, 0]),
    bytes([7, 7, 4, 0, 0, 0, 0, 0]),
    bytes([131, 7, 4, 203, 0, 113, 9, 0]),
    bytes([1, 137, 7, 4, 203, 0, 113, 9]),
    bytes([68, 1, 131, 0]),
]
"""NOPs, router alert, record route, source routes, and nothing that one can read."""

CHAINS: list[list[Extension]] = [
    [hop_by_hop()],
    [extension(ROUTING, 2)],
    [extension(ROUTING, 2, filler=1)],
    [extension(DESTINATION, 3), authentication()],
    [ATOMIC],
    [hop_by_hop(1), ATOMIC, extension(MOBILITY)],
    [extension(DESTINATION)] * 8,
    [extension(DESTINATION)] * 9,
    [FIRST_FRAGMENT],
    [LAST_FRAGMENT],
    [hop_by_hop(), LAST_FRAGMENT, extension(DESTINATION)],
    [Extension(AUTHENTICATION, bytes([255, *bytes(6)]))],
]


def configuration(rng: random.Random) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Services, and the options of a balancer."""
    services: dict[Any, dict[str, Any]] = {}
    for number in range(rng.randint(1, 8)):
        version = rng.choice([4, 6])
        address = rng.choice(ADDRESSES[version])
        port = rng.choice(PORTS)
        protocol = rng.choice(["tcp", "udp"])
        listed = [
            *backends(rng.choice([0, 1, 3, 5, 5])),
            *backends(rng.choice([0, 1, 3, 3]), version=6),
        ]
        for backend in listed:
            backend["weight"] = rng.choice([1, 1, 1, 0, 3, 255])
            backend["state"] = rng.choice(STATES)
            if rng.random() < 0.2:
                backend["mac"] = "52:54:00:00:01:" + rng.randbytes(1).hex()
        rng.shuffle(listed)
        services[address, port, protocol] = {
            "name": f"s{number}",
            "address": address,
            "port": port,
            "protocol": protocol,
            "scheduler": rng.choice(["jhash", "jhash", "maglev"]),
            "affinity": rng.choice(["flow", "source"]),
            "encapsulation": rng.choice(ENCAPSULATIONS),
            "flow_table": rng.random() < 0.5,
            "backends": listed,
            **health(rng, listed),
        }
    return list(services.values()), {
        "source_address": rng.choice([None, "203.0.113.7", "203.0.113.0/24", "100.64.0.0/10"]),
        "source_address6": rng.choice([None, "2001:db8:a::1", "2001:db8:5::/64"]),
        "gue_port": rng.choice([6080, 1, 65535]),
        "hash_seed": rng.choice([0, 1, rng.getrandbits(32)]),
        "flow_table_size": rng.choice([0, FLOW_TABLE_SIZE, FLOW_TABLE_SIZE]),
        "udp_timeout": LONG,
        "mtu": rng.choice([9000, 1500, 1500, 1280, 576]),
        "own_macs": rng.choice([[], [GIVEN_MAC]]),
        "no_service": rng.choice(["drop", "drop", "pass"]),
        "echo_rate": rng.choice([NO_LIMIT, NO_LIMIT, 50, 1, 0]),
        "too_big_rate": rng.choice([NO_LIMIT, NO_LIMIT, 50, 1, 0]),
    }


def health(rng: random.Random, listed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Options of a service about health, and which of its backends are backups."""
    if rng.random() < 0.3:
        return {}
    for backend in listed:
        backend["backup"] = rng.random() < 0.2
    return {
        "check": {"type": "tcp", "port": 80},
        "on_unhealthy": rng.choice(["auto", "auto", "move", "keep"]),
        "min_healthy": rng.choice([1, 1, 0, 2, "50%", "100%"]),
    }


def verdicts(rng: random.Random, services: Iterable[dict[str, Any]]) -> dict[str, Verdicts]:
    """Any, of the services that are checked."""
    found: dict[str, Verdicts] = {}
    for service in services:
        share = rng.choice([0, 0.3, 0.3, 0.6, 1])
        bad = [one for one in service["backends"] if rng.random() < share]
        if "check" in service:
            found[service["name"]] = {ip_address(one["address"]): verdict(rng) for one in bad}
    return found


def verdict(rng: random.Random) -> Verdict:
    """Unhealthy, not checked yet, or healthy again with a part of its share."""
    if rng.random() < 0.2:
        return Verdict(answered=True, reason=NOT_CHECKED)
    return Verdict(answered=rng.random() < 0.5, share=rng.choice([0, 0, 0, 10, 90]))


class Traffic:
    """Frames for services, and some that are not."""

    def __init__(self, rng: random.Random, services: Sequence[dict[str, Any]]) -> None:
        self._rng = rng
        self._services = services
        self._clients: dict[int, list[tuple[Address, int]]] = {
            4: [random_flow(rng) for _each in range(CLIENTS)],
            6: [random_flow6(rng) for _each in range(CLIENTS)],
        }

    def frame(self) -> bytes:
        """Any frame."""
        rng = self._rng
        target = rng.choice(self._services)
        version = 4 if "." in target["address"] else 6
        destination = target["address"]
        if rng.random() < 0.1:
            destination = rng.choice(STRANGERS[version] + ADDRESSES[version])
        client, client_port = rng.choice(self._clients[version])
        if rng.random() < 0.03:
            client = rng.choice([*FORGED[version], ip_address(destination)])
        port = target["port"] if rng.random() < 0.8 else rng.choice(PORTS)
        protocol = target["protocol"] if rng.random() < 0.9 else rng.choice(["tcp", "udp"])
        fields: dict[str, Any] = {
            "tos": rng.choice([0, 0, 0xB8, rng.getrandbits(8)]),
            "ttl": rng.choice([64] * 9 + [63, 255, 2, 1, 0, rng.getrandbits(8)]),
        }
        kind = rng.random()
        if kind < 0.75:
            data = b"\xda" * self._size()
            flags = {"flags": rng.choice([0x02, 0x10, 0x10, 0x18, 0x12, rng.getrandbits(8)])}
            segment: bytes = SEGMENTS[protocol](
                source_port=client_port,
                port=port,
                data=data,
                **(flags if protocol == "tcp" else {}),
            )
        elif kind < 0.82:
            echo = (icmp, 8) if version == 4 else (icmp6, 128)
            segment = echo[0](echo[1], rng.choice([0, 0, 1]), data=b"\xda" * self._size())
        else:
            segment = self._error(version, destination, port, client, client_port, protocol)
            if rng.random() < 0.97:
                client = rng.choice(self._clients[version])[0]
        if rng.random() < 0.02:
            fields["protocol"] = rng.choice([0, 1, 4, 41, 44, 47, 50, 58, 59, rng.getrandbits(8)])
        self._ip_extras(version, fields)
        if rng.random() < 0.15:
            fields["tags"] = rng.choice(
                [[TAG], [4095, 2], [(0x88A8, QUIET_TAG)], [(0x88A8, TAG), 2], [1, 2, 3]]
            )
        if rng.random() < 0.15:
            by = rng.choice([ROUTER_MAC, GROUP])
            fields["macs"] = rng.choice([rng.choice(OWN), rng.choice(NOT_OWN)]), by
        if rng.random() < 0.15:
            fields["padding"] = b"\xa5" * rng.choice([1, 6, 18, 64])
        made = frame(segment, source=client, destination=destination, **fields)
        return self._mutated(made) if rng.random() < 0.15 else made

    def _size(self) -> int:
        rng = self._rng
        return rng.choice([0, 0, 0, 1, 8, 33, 200, 236, 540, 1200, 1240, rng.randrange(1460)])

    def _ip_extras(self, version: int, fields: dict[str, Any]) -> None:
        rng = self._rng
        if version == 4:
            if rng.random() < 0.1:
                fields["options"] = rng.choice([bytes(4 * rng.randint(1, 10)), *IP_OPTIONS])
            if rng.random() < 0.03:
                fields["checksum"] = rng.choice([0, 0xFFFF, rng.getrandbits(16)])
            if rng.random() < 0.15:
                fields["flags"] = rng.choice([0, 0, 0x2000, 0x0010, 0x6000, 0x8000])
        else:
            fields["flow_label"] = rng.getrandbits(20)
            if rng.random() < 0.2:
                fields["extensions"] = rng.choice(CHAINS)

    def _error(
        self,
        version: int,
        service: str,
        port: int,
        client: Address,
        client_port: int,
        protocol: str,
    ) -> bytes:
        rng = self._rng
        fields: dict[str, Any] = {}
        self._ip_extras(version, fields)
        back = SEGMENTS[protocol](source_port=port, port=client_port, data=bytes(self._size()))
        source = service if rng.random() < 0.95 else STRANGERS[version][0]
        build: Callable[..., bytes] = ipv4 if version == 4 else ipv6
        quote = build(back, source=source, destination=client, **fields)
        if rng.random() < 0.5:
            quote = quote[: rng.choice([28, 48, 60, 128, rng.randrange(len(quote))])]
        types = (3, 11, 12, 5) if version == 4 else (1, 2, 3, 4, 5)
        return (icmp if version == 4 else icmp6)(
            rng.choice(types), rng.choice([0, 1, 4]), rest=rng.getrandbits(32), data=quote
        )

    def _mutated(self, made: bytes) -> bytes:
        """Cut off, with lengths that lie, or with any bytes wrong."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.3:
            return made[: rng.randint(14, len(made))]
        if kind < 0.6:
            at = rng.choice([16, 18, 20, 22, 26])
            near = len(made) + rng.randint(-64, 8)
            length = rng.choice([0, 1, 20, 40, max(0, near), rng.getrandbits(16)])
            return made[:at] + struct.pack("!H", length) + made[at + 2 :]
        changed = bytearray(made)
        for _turn in range(rng.choice([1, 1, 2, 5])):
            changed[rng.randrange(12, min(len(made), 120))] ^= rng.choice(
                [1 << rng.randrange(8), 0xFF, rng.getrandbits(8)]
            )
        return bytes(changed)
