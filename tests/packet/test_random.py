# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties: whatever the configuration and the packet, program and model agree on the verdict,
on every byte and on every counter, and each packet to a service is counted exactly once.

`harness.Balancer` compares; these tests think up what to send. L4LB_PACKETS says how many packets
(default: 200,000), L4LB_SEED from which seed on; the seeds are printed; the first is
that of hypothesis, too.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether

from tests.packet.crossing import GATEWAY, QUIET_TAG, TAG, balancer_on
from tests.packet.generator import (
    ADDRESSES,
    CHAINS,
    ENCAPSULATIONS,
    FLOW_TABLE_SIZE,
    FORGED,
    GIVEN_MAC,
    GROUP,
    IP_OPTIONS,
    LONG,
    NOT_OWN,
    OWN,
    PORTS,
    STRANGERS,
    Traffic,
    configuration,
    verdicts,
)
from tests.packet.harness import LONGEST_FRAME, NO_LIMIT, Balancer, Namespace, backends
from tests.packet.packets import (
    ETHERNET_IPV4,
    ROUTER_MAC,
    SEGMENTS,
    frame,
    icmp,
    icmp6,
    ipv4,
    ipv6,
)

PACKETS = int(os.environ.get("L4LB_PACKETS", "200000"))
SEED = int(os.environ.get("L4LB_SEED", "20260101"))
BATCH = 4000
"""Packets for one configuration, half of them after checks have found something out."""
EXACT = 10
"""One configuration in so many gets a program with just its features; to compile them all would
take most of the time."""
REACHED = {
    "bad_source",
    "fragment",
    "limited",
    "malformed",
    "no_backend",
    "no_service",
    "too_big",
    "ttl_expired",
}
ENOUGH = 10
"""Batches that reach all of these reasons to drop."""
EXAMPLES = max(100, PACKETS // 1000)


FORWARDED = {ADDRESSES[4][0]: 4, ADDRESSES[6][0]: 6, ADDRESSES[6][2]: 6}
ROUTES = [f"route add {address} via {GATEWAY[version]}" for address, version in FORWARDED.items()]
ROUTES += [f"address add {ADDRESSES[4][1]} dev lo", f"route add unreachable {ADDRESSES[6][1]}"]


@pytest.fixture(scope="module")
def host(crossing: Namespace) -> Iterator[Namespace]:
    """A host that would forward to some of the services' addresses."""
    for command in ROUTES:
        crossing.ip(command)
    yield crossing
    for command in ROUTES:
        crossing.ip(command.replace(" add ", " delete "))


def balancer_in(
    host: Namespace, *, every_feature: bool = True, flags: tuple[str, ...] = ()
) -> Balancer:
    return balancer_on(
        host,
        *map(ip_address, FORWARDED),
        every_feature=every_feature,
        flags=flags,
        standstill=True,
    )


@pytest.fixture(scope="module")
def versatile(host: Namespace) -> Balancer:
    """A balancer whose program has every feature."""
    return balancer_in(host)


@pytest.fixture(scope="module")
def versatile_filling(host: Namespace) -> Balancer:
    """The same, and it fills the room for headers before it writes them."""
    return balancer_in(host, flags=("-DFILL_HEADROOM",))


def test_volume(
    host: Namespace,
    versatile: Balancer,
    versatile_filling: Balancer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent = 0
    dropped: set[str] = set()
    batches = -(-PACKETS // BATCH)
    for number in range(SEED, SEED + batches):
        rng = random.Random(number)
        services, options = configuration(rng)
        if number % EXACT == 0:
            balancer = balancer_in(host, every_feature=False)
        else:
            balancer = versatile_filling if number % 2 else versatile
        balancer.configure(*services, **options)
        traffic = Traffic(rng, services)
        try:
            for _each in range(2):
                frames = (traffic.frame() for _each in range(BATCH // 2))
                balancer.send_all(made[:LONGEST_FRAME] for made in frames)
                balancer.hear(verdicts(rng, services))
            dropped |= set(balancer.check().drops)
        except AssertionError as e:
            raise AssertionError(f"with seed {number}: {services}, {options}\n{e}") from e
        sent += BATCH
        if number % EXACT == 0:
            balancer.close()
    with capsys.disabled():
        print(f"\n{sent} random packets, seeds {SEED} to {SEED + batches - 1}")
    assert sent >= PACKETS
    assert dropped == REACHED or batches < ENOUGH


def addresses(version: int) -> st.SearchStrategy[Any]:
    """A client's, or a forged one."""
    any_bits = st.integers(0, 2 ** {4: 32, 6: 128}[version] - 1)
    forged = st.sampled_from([*FORGED[version], *map(ip_address, ADDRESSES[version])])
    return any_bits.map({4: IPv4Address, 6: IPv6Address}[version]) | forged


@st.composite
def services(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Services with different keys."""
    keys = draw(
        st.lists(
            st.tuples(
                st.sampled_from(ADDRESSES[4] + ADDRESSES[6]),
                st.sampled_from(PORTS),
                st.sampled_from(["tcp", "udp"]),
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    return [
        {
            "name": f"s{number}",
            "address": address,
            "port": port,
            "protocol": protocol,
            "scheduler": draw(st.sampled_from(["jhash", "maglev"])),
            "affinity": draw(st.sampled_from(["flow", "source"])),
            "encapsulation": draw(st.sampled_from(ENCAPSULATIONS)),
            "flow_table": draw(st.booleans()),
            "backends": [
                {
                    **backend,
                    "weight": draw(st.sampled_from([1, 0, 2, 255])),
                    "state": draw(st.sampled_from(["enabled", "drained", "disabled"])),
                }
                for version in (4, 6)
                for backend in backends(draw(st.integers(0, 3)), version=version)
            ],
        }
        for number, (address, port, protocol) in enumerate(keys)
    ]


OPTIONS = st.fixed_dictionaries(
    {
        "source_address": st.sampled_from([None, "203.0.113.7", "203.0.113.0/24", "128.0.0.0/2"]),
        "source_address6": st.sampled_from([None, "2001:db8:a::1", "2001:db8:5::/64"]),
        "gue_port": st.integers(1, 65535),
        "hash_seed": st.integers(0, 2**32 - 1),
        "flow_table_size": st.sampled_from([0, FLOW_TABLE_SIZE]),
        "udp_timeout": st.just(LONG),
        "mtu": st.integers(68, 9000),
        "own_macs": st.sampled_from([[], [GIVEN_MAC]]),
        "no_service": st.sampled_from(["drop", "pass"]),
        "echo_rate": st.sampled_from([NO_LIMIT, 3, 1, 0]),
        "too_big_rate": st.sampled_from([NO_LIMIT, 3, 1, 0]),
    }
)
DATA = st.one_of(st.binary(max_size=40), st.integers(0, 1500).map(lambda size: b"\xda" * size))
VLANS = st.one_of(st.sampled_from([0, TAG, QUIET_TAG]), st.integers(0, 65535))
TAGS = st.lists(st.tuples(st.sampled_from([0x8100, 0x88A8]), VLANS), max_size=3)
MACS = st.one_of(
    st.just((OWN[0], ROUTER_MAC)),
    st.tuples(st.sampled_from(OWN + NOT_OWN), st.sampled_from([ROUTER_MAC, GROUP])),
)
WORDS = st.integers(0, 65535)


@st.composite
def segments(draw: st.DrawFn, **fixed: Any) -> bytes:
    """TCP or UDP."""
    protocol = draw(st.sampled_from(["tcp", "udp"]))
    fields: dict[str, Any] = {
        "source_port": draw(st.one_of(st.sampled_from(PORTS), WORDS)),
        "port": draw(st.one_of(st.sampled_from(PORTS), WORDS)),
        "data": draw(DATA),
        **fixed,
    }
    if protocol == "tcp":
        fields["flags"] = draw(st.integers(0, 255))
    return SEGMENTS[protocol](**fields)


@st.composite
def packets(draw: st.DrawFn, version: int) -> tuple[bytes, dict[str, Any]]:
    """A payload, and fields of the IP header around it."""
    vip = draw(st.sampled_from(ADDRESSES[version] + STRANGERS[version]))
    client = draw(addresses(version))
    fields: dict[str, Any] = {"tos": draw(st.integers(0, 255)), "ttl": draw(st.integers(0, 255))}
    if version == 4:
        fields["options"] = draw(
            st.integers(0, 10).map(lambda words: bytes(4 * words)) | st.sampled_from(IP_OPTIONS)
        )
        fields["flags"] = draw(st.sampled_from([0x4000, 0, 0x2000, 0x0100, 0x8000]))
    else:
        fields["flow_label"] = draw(st.integers(0, 0xFFFFF))
        fields["extensions"] = draw(st.one_of(st.just([]), st.sampled_from(CHAINS)))
    kind = draw(st.sampled_from(["segment", "ping", "error"]))
    payload: bytes
    if kind == "segment":
        payload = draw(segments())
    elif kind == "ping":
        payload = (
            icmp(8, draw(st.integers(0, 1)), rest=draw(WORDS), data=draw(DATA))
            if version == 4
            else icmp6(128, draw(st.integers(0, 1)), rest=draw(WORDS), data=draw(DATA))
        )
    else:
        build: Any = ipv4 if version == 4 else ipv6
        quote = build(draw(segments()), source=vip, destination=draw(addresses(version)), **fields)
        quote = quote[: draw(st.integers(0, len(quote)))]
        if version == 4:
            payload = icmp(draw(st.sampled_from([3, 11, 12, 4])), data=quote)
        else:
            payload = icmp6(draw(st.integers(0, 5)), data=quote)
    return payload, {"source": client, "destination": vip, **fields}


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Whole frames, some of them broken in one place."""
    payload, fields = draw(packets(draw(st.sampled_from([4, 6]))))
    padding = draw(st.binary(max_size=8))
    made = frame(payload, tags=draw(TAGS), padding=padding, macs=draw(MACS), **fields)
    kind = draw(st.sampled_from(["whole", "whole", "cut", "byte", "word"]))
    if kind == "cut":
        made = made[: draw(st.integers(14, len(made)))]
    elif kind != "whole":
        size = {"byte": 1, "word": 2}[kind]
        at = draw(st.integers(12, min(len(made), 160) - size))
        value = draw(st.integers(0, 256**size - 1))
        made = made[:at] + value.to_bytes(size, "big") + made[at + size :]
    return made[:LONGEST_FRAME]


@seed(SEED)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(services=services(), options=OPTIONS, sent=st.lists(frames(), min_size=1, max_size=20))
def test_property(
    versatile: Balancer, services: list[Any], options: dict[str, Any], sent: list[bytes]
) -> None:
    versatile.configure(*services, **options)
    versatile.send_all(sent)
    versatile.send_all(sent[::-1])
    versatile.check()


def ethernet() -> Any:
    """With both addresses: scapy would ask the network for a destination."""
    return Ether(src="52:54:00:00:00:01", dst="52:54:00:00:00:02")


ETHER = Ether(src="52:54:00:00:00:01", dst="52:54:00:00:00:02")
SCAPY = {
    "IPv4 TCP": lambda: ethernet() / IP(src="198.51.100.7", dst=ADDRESSES[4][0]) / TCP(dport=443),
    "IPv4 UDP in a tag": lambda: (
        ethernet()
        / Dot1Q(vlan=5)
        / IP(src="198.51.100.7", dst=ADDRESSES[4][0])
        / UDP(dport=443)
        / b"data"
    ),
    "IPv6 TCP": lambda: (
        ethernet() / IPv6(src="2001:db8:c::7", dst=ADDRESSES[6][0]) / TCP(dport=443)
    ),
    "IPv6 UDP in tags": lambda: (
        ethernet()
        / Dot1Q(vlan=5)
        / Dot1Q(vlan=6)
        / IPv6(src="2001:db8:c::7", dst=ADDRESSES[6][0])
        / UDP(dport=443)
        / b"data"
    ),
    "ping": lambda: ethernet() / IP(src="198.51.100.7", dst=ADDRESSES[4][0]) / ICMP() / b"data",
    "ping6": lambda: (
        ethernet()
        / IPv6(src="2001:db8:c::7", dst=ADDRESSES[6][0])
        / ICMPv6EchoRequest(data=b"data")
    ),
    "error": lambda: (
        ethernet()
        / IP(src="203.0.113.1", dst=ADDRESSES[4][0])
        / ICMP(type=3, code=1)
        / IP(src=ADDRESSES[4][0], dst="198.51.100.7")
        / TCP(sport=443)
    ),
    "error of IPv6": lambda: (
        ethernet()
        / IPv6(src="2001:db8:ff::1", dst=ADDRESSES[6][0])
        / ICMPv6DestUnreach(code=1)
        / IPv6(src=ADDRESSES[6][0], dst="2001:db8:c::7")
        / TCP(sport=443)
    ),
}


@pytest.mark.parametrize("build", SCAPY.values(), ids=SCAPY)
@pytest.mark.parametrize("encapsulation", ENCAPSULATIONS)
def test_scapy_s_packets_with_every_byte_changed(
    versatile: Balancer, rng: random.Random, build: Any, encapsulation: str
) -> None:
    versatile.configure(
        *(
            {
                "name": f"{version} {protocol}",
                "address": ADDRESSES[version][0],
                "port": 443,
                "protocol": protocol,
                "encapsulation": encapsulation,
                "scheduler": "jhash",
                "backends": backends(3, version=version),
            }
            for version in (4, 6)
            for protocol in ("tcp", "udp")
        ),
        flow_table_size=FLOW_TABLE_SIZE,
        udp_timeout=LONG,
    )
    whole = bytes(build())
    changed = [whole] + [
        whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :]
        for at in range(len(whole))
        for bits in (1, 0x10, 0x80, 0xFF, rng.randrange(1, 256))
    ]
    outcomes = versatile.send_all(changed)
    assert outcomes[0].frame is not None
    assert outcomes[0].frame != whole
    versatile.check()


def test_noise(versatile: Balancer, rng: random.Random) -> None:
    """Frames of any bytes, a few of them with the beginning of a real one."""
    services, options = configuration(random.Random(SEED))
    versatile.configure(*services, **options)
    frames = [rng.randbytes(rng.randrange(14, 200)) for _each in range(1000)]
    for ether_type in (ETHERNET_IPV4, 0x86DD, 0x8100):
        frames += [
            rng.randbytes(12) + struct.pack("!H", ether_type) + rng.randbytes(rng.randrange(200))
            for _each in range(1000)
        ]
    versatile.send_all(frames)
    versatile.check()
