# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How packets are encapsulated: every encapsulation, in every combination of families."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import pytest

from tests.packet.harness import VIP, VIP6, VIPS, Balancer, backends, service
from tests.packet.hashing import ones_complement_sum
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    IPV4_HEADER,
    IPV6_HEADER,
    UDP_HEADER,
    forwarded,
    frame,
    hop_by_hop,
    packet_of,
    random_flow,
    random_flow6,
    tcp,
    udp,
)

TUNNELS = ("ipip", "gue", "gre")
GRE_HEADER = 4
ETHER_TYPES = {4: "0800", 6: "86dd"}

COMBINATIONS = pytest.mark.parametrize(
    ("inner", "outer", "encapsulation"),
    [
        pytest.param(inner, outer, tunnel, id=f"{inner}in{outer} {tunnel}")
        for inner in (4, 6)
        for outer in (4, 6)
        for tunnel in TUNNELS
    ],
)

FRAMES = {
    version: {
        "SYN": frame(tcp(), destination=VIPS[version]),
        "data": frame(tcp(data=b"odd", flags=0x18), destination=VIPS[version], tos=0xB9, ttl=2),
        "padded": frame(tcp(data=b"odd"), destination=VIPS[version], padding=b"\xa5\xa5"),
        "options": frame(
            tcp(),
            destination=VIPS[version],
            **({"options": bytes(12)} if version == 4 else {"extensions": [hop_by_hop(3)]}),
        ),
        "long": frame(tcp(data=bytes(1400)), destination=VIPS[version], tos=0xFF),
    }
    for version in (4, 6)
}


@COMBINATIONS
def test_inner_packet_is_that_of_a_router(
    balancer: Balancer, inner: int, outer: int, encapsulation: str
) -> None:
    balancer.configure(
        service(
            address=VIPS[inner],
            encapsulation=encapsulation,
            backends=backends(3, version=outer),
        )
    )
    header = {4: IPV4_HEADER, 6: IPV6_HEADER}[outer]
    header += {"ipip": 0, "gue": UDP_HEADER, "gre": GRE_HEADER}[encapsulation]
    for sent in FRAMES[inner].values():
        outcome = balancer.send(sent)
        assert outcome.verdict is Verdict.TX
        assert outcome.frame is not None
        assert outcome.frame[12:14] == bytes.fromhex(ETHER_TYPES[outer])
        assert outcome.frame[14 + header :] == forwarded(packet_of(sent))
    balancer.check()


@COMBINATIONS
def test_bytes_of_the_headers(
    balancer: Balancer, inner: int, outer: int, encapsulation: str
) -> None:
    """By hand, field for field; only what is spread by the flow is masked."""
    balancer.configure(
        service(
            address=VIPS[inner],
            encapsulation=encapsulation,
            backends=[{"address": {4: "203.0.113.5", 6: "2001:db8:b::5"}[outer]}],
        ),
        source_address="203.0.113.1",
        source_address6="2001:db8:a::1",
        gue_port=6081,
    )
    packet = packet_of(frame(tcp(), destination=VIPS[inner], tos=0xB9))
    outcome = balancer.send(frame(tcp(), destination=VIPS[inner], tos=0xB9))
    assert outcome.frame is not None
    length = len(packet) + {"ipip": 0, "gue": 8, "gre": 4}[encapsulation]
    protocol = {"ipip": {4: 4, 6: 41}[inner], "gue": 17, "gre": 47}[encapsulation]
    if outer == 4:
        got, rest = outcome.frame[14:34], outcome.frame[34:]
        assert got[:10] == struct.pack("!BBHHHBB", 0x45, 0xB9, 20 + length, 0, 0x4000, 64, protocol)
        assert got[12:] == bytes.fromhex("cb007101 cb007105")
        assert ones_complement_sum(got) == 0xFFFF
    else:
        got, rest = outcome.frame[14:54], outcome.frame[54:]
        assert (struct.unpack("!I", got[:4])[0] >> 20) == 0x6B9
        assert got[4:8] == struct.pack("!HBB", length, protocol, 64)
        assert got[8:24] == IPv6Address("2001:db8:a::1").packed
        assert got[24:40] == IPv6Address("2001:db8:b::5").packed
    between = rest[: len(rest) - len(packet)]
    if encapsulation == "gue":
        assert between[0] >> 6 == 3
        assert between[2:] == struct.pack("!HHH", 6081, 8 + len(packet), 0)
    else:
        assert between.hex() == {"ipip": "", "gre": "0000" + ETHER_TYPES[inner]}[encapsulation]
    assert rest[len(between) :] == forwarded(packet)


@pytest.mark.parametrize("version", [4, 6])
def test_l2_changes_the_macs_and_the_time_to_live_alone(balancer: Balancer, version: int) -> None:
    balancer.configure(
        service(address=VIPS[version], encapsulation="l2", backends=backends(1, version=version))
    )
    for sent in FRAMES[version].values():
        outcome = balancer.send(sent)
        macs = bytes.fromhex("5254000000fe525400000002")
        assert outcome.frame == macs + sent[12:14] + forwarded(packet_of(sent))
    balancer.check()


def test_l2_to_a_backend_named_by_the_other_family(balancer: Balancer) -> None:
    """With its MAC given, only the name of the backend is of the other family."""
    balancer.configure(
        service("4", encapsulation="l2", backends=backends(1, version=6)),
        service("6", address=VIP6, encapsulation="l2", backends=backends(1)),
    )
    for vip in (VIP, VIP6):
        sent = frame(tcp(), destination=vip)
        macs = bytes.fromhex("5254000000fe525400000002")
        expected = macs + sent[12:14] + forwarded(packet_of(sent))
        assert balancer.send(sent) == Outcome(Verdict.TX, expected)
    balancer.check()


@COMBINATIONS
def test_dscp_and_ecn_are_copied(
    balancer: Balancer, inner: int, outer: int, encapsulation: str
) -> None:
    balancer.configure(
        service(
            address=VIPS[inner], encapsulation=encapsulation, backends=backends(1, version=outer)
        )
    )
    outcomes = balancer.send_all(
        frame(tcp(), destination=VIPS[inner], tos=tos) for tos in range(256)
    )
    for tos, outcome in enumerate(outcomes):
        assert outcome.frame is not None
        word = int.from_bytes(outcome.frame[14:16], "big")
        assert (word & 0xFF if outer == 4 else word >> 4 & 0xFF) == tos


@pytest.mark.parametrize(
    "prefix",
    [
        "203.0.113.0/24",
        "10.0.0.0/8",
        "198.51.100.64/31",
        "192.0.2.1",
        "2001:db8:5::/64",
        "2001:db8:5::/48",
        "2001:db8::1:0/112",
        "2001:db8::8/126",
        "2001:db8::77",
        "128.0.0.0/2",
    ],
)
@pytest.mark.parametrize(("inner", "encapsulation"), [(4, "ipip"), (6, "gue")])
def test_source_is_spread_over_a_prefix(
    balancer: Balancer, rng: random.Random, prefix: str, encapsulation: str, inner: int
) -> None:
    network = ip_network(prefix)
    outer = network.version
    option = "source_address" if outer == 4 else "source_address6"
    balancer.configure(
        service(
            address=VIPS[inner],
            port=0,
            encapsulation=encapsulation,
            backends=backends(3, version=outer),
        ),
        **{option: prefix},
        hash_seed=5,
    )
    frames = []
    for _turn in range(200):
        source, port = (random_flow if inner == 4 else random_flow6)(rng)
        frames.append(frame(tcp(source_port=port), source=source, destination=VIPS[inner]))
    sources = set()
    for outcome in balancer.send_all(frames):
        assert outcome.frame is not None
        if outer == 4:
            address: IPv4Address | IPv6Address = IPv4Address(outcome.frame[26:30])
            assert ones_complement_sum(outcome.frame[14:34]) == 0xFFFF
        else:
            address = IPv6Address(outcome.frame[22:38])
        assert address in network
        sources.add(address)
    expected = min(network.num_addresses, 200)
    assert len(sources) > 0.5 * expected
    if isinstance(network, IPv6Network):
        assert len({source.packed[:12] for source in sources}) == 1


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_gue_spreads_ports_and_ipv6_spreads_labels(
    balancer: Balancer, rng: random.Random, inner: int, outer: int
) -> None:
    """By flow: all packets of one have the same."""
    balancer.configure(
        service(
            address=VIPS[inner],
            port=0,
            protocol="udp",
            affinity="source",
            encapsulation="gue",
            backends=backends(3, version=outer),
        )
    )
    seen = []
    for _turn in range(2):
        frames = [
            frame(udp(source_port=port, data=rng.randbytes(9)), destination=VIPS[inner])
            for port in range(300)
        ]
        offset = 14 + {4: IPV4_HEADER, 6: IPV6_HEADER}[outer]
        outcomes = balancer.send_all(frames)
        seen.append(
            [
                (outcome.frame[14:18] if outer == 6 else b"", outcome.frame[offset : offset + 2])
                for outcome in outcomes
                if outcome.frame
            ]
        )
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 290


def test_every_gue_port(balancer: Balancer) -> None:
    for port in (1, 255, 256, 6080, 65535):
        balancer.configure(service(encapsulation="gue"), gue_port=port)
        outcome = balancer.send(frame(tcp(), destination=VIP))
        assert outcome.frame is not None
        assert outcome.frame[36:38] == struct.pack("!H", port)


def test_all_at_once(balancer: Balancer, rng: random.Random) -> None:
    """Services side by side, each with backends of both families and its own encapsulation."""
    balancer.configure(
        *(
            service(
                f"{version} {encapsulation} {scheduler}",
                address=VIPS[version],
                port=port,
                encapsulation=encapsulation,
                scheduler=scheduler,
                backends=backends(5) + backends(5, version=6),
            )
            for version in (4, 6)
            for port, (encapsulation, scheduler) in enumerate(
                (encapsulation, scheduler)
                for encapsulation in (*TUNNELS, "l2")
                for scheduler in ("jhash", "maglev")
            )
        ),
        source_address="203.0.113.0/24",
        source_address6="2001:db8:5::/64",
        hash_seed=2**32 - 1,
    )
    frames = [
        frame(
            tcp(source_port=rng.getrandbits(16), port=rng.randrange(9)),
            source=(random_flow if version == 4 else random_flow6)(rng)[0],
            destination=VIPS[version],
            tos=rng.getrandbits(8),
        )
        for version in (4, 6)
        for _each in range(1500)
    ]
    rng.shuffle(frames)
    balancer.send_all(frames)
    assert len(balancer.check().backends) == 16 * 10
