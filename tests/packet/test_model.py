# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model against published examples: what checks the data plane is checked itself."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from tests.packet.harness import VIP, VIPS, backends, service
from tests.packet.hashing import (
    MASK32,
    MASK64,
    jhash_2words,
    lookup3_final,
    mix64,
    ones_complement_sum,
    rotate,
)
from tests.packet.model import Interface, Model
from tests.packet.packets import BALANCER_MAC, forwarded, frame, mac, tcp


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("0001f203f4f5f6f7", 0xDDF2, id="RFC 1071 section 3"),
        pytest.param("0001f203f4f5f6f7ff", 0xDCF3, id="an odd byte"),
        pytest.param(
            "45000073000040004011b861c0a80001c0a800c7", 0xFFFF, id="a header with its checksum"
        ),
        pytest.param("ffff00010000", 0x0001, id="a carry"),
        pytest.param("ffff" * 3, 0xFFFF, id="a carry that carries"),
    ],
)
def test_ones_complement_sum(data: str, expected: int) -> None:
    assert ones_complement_sum(bytes.fromhex(data)) == expected


def lookup3(key: bytes, initial: int) -> int:
    """Jenkins' hashlittle() for keys of any length, around the last step that the model has."""
    a = b = c = (0xDEADBEEF + len(key) + initial) & MASK32
    while len(key) > 12:
        x, y, z = struct.unpack_from("<III", key)
        a, b, c = (a + x) & MASK32, (b + y) & MASK32, (c + z) & MASK32
        a = ((a - c) & MASK32) ^ rotate(c, 4)
        c = (c + b) & MASK32
        b = ((b - a) & MASK32) ^ rotate(a, 6)
        a = (a + c) & MASK32
        c = ((c - b) & MASK32) ^ rotate(b, 8)
        b = (b + a) & MASK32
        a = ((a - c) & MASK32) ^ rotate(c, 16)
        c = (c + b) & MASK32
        b = ((b - a) & MASK32) ^ rotate(a, 19)
        a = (a + c) & MASK32
        c = ((c - b) & MASK32) ^ rotate(b, 4)
        b = (b + a) & MASK32
        key = key[12:]
    if not key:
        return c
    x, y, z = struct.unpack("<III", key.ljust(12, b"\0"))
    return lookup3_final((a + x) & MASK32, (b + y) & MASK32, (c + z) & MASK32)[2]


@pytest.mark.parametrize(
    ("key", "initial", "expected"),
    [
        (b"", 0, 0xDEADBEEF),
        (b"", 0xDEADBEEF, 0xBD5B7DDE),
        (b"Four score and seven years ago", 0, 0x17770551),
        (b"Four score and seven years ago", 1, 0xCD628161),
    ],
)
def test_lookup3_as_its_author_prints_it(key: bytes, initial: int, expected: int) -> None:
    assert lookup3(key, initial) == expected


def test_jhash_of_two_words_is_lookup3_of_their_bytes(rng: random.Random) -> None:
    for _turn in range(1000):
        first, second, initial = (rng.getrandbits(32) for _each in range(3))
        assert jhash_2words(first, second, initial) == lookup3(
            struct.pack("<II", first, second), initial
        )


def test_mix64_as_published_in_the_outputs_of_splitmix64() -> None:
    state, outputs = 1234567, []
    for _turn in range(5):
        state = state + 0x9E3779B97F4A7C15 & MASK64
        outputs.append(mix64(state))
    assert outputs == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_encapsulation_is_what_scapy_builds(rng: random.Random) -> None:
    for _turn in range(200):
        source, target, client = (
            str(IPv4Address(rng.randrange(1 << 24, 223 << 24))) for _each in range(3)
        )
        config = parse_config(
            {
                "interface": "eth0",
                "source_address": source,
                "gateway_mac": "52:54:00:00:00:fe",
                "services": [service(backends=[{"address": target}])],
            }
        )
        tos, data = rng.getrandbits(8), rng.randbytes(rng.randrange(1400))
        sent = frame(tcp(data=data), source=client, destination=VIP, tos=tos)
        outer = IP(
            version=4, ihl=5, tos=tos, id=0, flags="DF", ttl=64, proto=4, src=source, dst=target
        )
        expected = (
            Ether(dst="52:54:00:00:00:fe", src=BALANCER_MAC, type=0x0800)
            / outer
            / forwarded(sent[14:])
        )
        model = Model(config, Interface(mac(BALANCER_MAC), IPv4Address("192.0.2.2")))
        assert model.process(sent).frame == bytes(expected)


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "gre"])
def test_every_encapsulation_is_what_scapy_builds(
    rng: random.Random, inner: int, outer: int, encapsulation: str
) -> None:
    """But for what is spread by the flow, which is taken from the model's packet."""
    target = {4: "203.0.113.5", 6: "2001:db8:b::5"}[outer]
    config = parse_config(
        {
            "interface": "eth0",
            "gateway_mac": "52:54:00:00:00:fe",
            "source_address": "203.0.113.1",
            "source_address6": "2001:db8:a::1",
            "services": [
                service(
                    address=VIPS[inner], encapsulation=encapsulation, backends=[{"address": target}]
                )
            ],
        }
    )
    model = Model(config, Interface(mac(BALANCER_MAC), IPv4Address("192.0.2.2")))
    for _turn in range(20):
        tos, data = rng.getrandbits(8), rng.randbytes(rng.randrange(1400))
        sent = frame(tcp(data=data), destination=VIPS[inner], tos=tos)
        made = model.process(sent).frame
        assert made is not None
        if outer == 4:
            header = IP(src="203.0.113.1", dst=target, tos=tos, id=0, flags="DF", ttl=64)
        else:
            label = int.from_bytes(made[14:18], "big") & 0xFFFFF
            header = IPv6(src="2001:db8:a::1", dst=target, tc=tos, fl=label, hlim=64)
        protocol = {"ipip": {4: 4, 6: 41}[inner], "gue": 17, "gre": 47}[encapsulation]
        header.setfieldval("proto" if outer == 4 else "nh", protocol)
        if encapsulation == "gue":
            port = int.from_bytes(made[len(made) - len(sent) + 6 :][:2], "big")
            header /= UDP(sport=port, dport=6080, chksum=0)
        elif encapsulation == "gre":
            header /= GRE(proto={4: 0x0800, 6: 0x86DD}[inner])
        ethernet = Ether(dst="52:54:00:00:00:fe", src=BALANCER_MAC)
        assert made == bytes(ethernet / header / Raw(forwarded(sent[14:])))


def test_frames_are_what_scapy_reads() -> None:
    read = Ether(frame(tcp(port=443, data=b"hello"), destination=VIP, tos=0xB8))
    assert read[IP].dst == VIP
    assert read[IP].tos == 0xB8
    assert read[IP].len == len(read[IP])
    assert read["TCP"].dport == 443
    assert bytes(read["TCP"].payload) == b"hello"
    rebuilt = read[IP].copy()
    del rebuilt.chksum
    assert bytes(rebuilt)[:20] == bytes(read[IP])[:20]


def test_a_model_spreads_over_every_backend(rng: random.Random) -> None:
    config = parse_config(
        {
            "interface": "eth0",
            "gateway_mac": "52:54:00:00:00:fe",
            "services": [service(backends=backends(32))],
        }
    )
    model = Model(config, Interface(mac(BALANCER_MAC), IPv4Address("192.0.2.2")))
    for _turn in range(3200):
        model.process(frame(tcp(source_port=rng.getrandbits(16)), destination=VIP))
    packets = [tally.packets for tally in model.statistics.backends.values()]
    assert len(packets) == 32
    assert all(60 < count < 150 for count in packets)
