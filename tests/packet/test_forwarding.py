# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is forwarded, and what passes untouched."""

from __future__ import annotations

import pytest

from tests.packet.harness import (
    BALANCER_ADDRESS,
    LONGEST_FRAME,
    VIP,
    VIP6,
    Balancer,
    backends,
    service,
)
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import CLIENT, ethernet, frame, ipv4, ping, tcp, udp

EVERY_PORT = "192.0.2.20"
SERVICES = [
    service("web", port=443, backends=backends(3)),
    service("dns", port=53, protocol="udp", backends=backends(3)),
    service("every", address=EVERY_PORT, port=0, backends=backends(3)),
]


def test_one_packet_spelt_out(balancer: Balancer) -> None:
    """Byte for byte, so that one case depends on no builder and no model."""
    balancer.configure(service(backends=[{"address": "203.0.113.5"}]), source_address="203.0.113.1")
    inner = (
        "45b9 0028 1234 4000 4006 3b9e c633 6407 c000 020a"  # 198.51.100.7 > 192.0.2.10, EF, ECT(1)
        "c350 01bb 0000 0001 0000 0000 5002 faf0 0000 0000"  # 50000 > 443, SYN
    )
    before = bytes.fromhex("525400000002 525400000001 0800" + inner)
    after = bytes.fromhex(
        "5254000000fe 525400000002 0800"  # to the gateway, from the interface
        "45b9 003c 0000 4000 4004 c1fd cb00 7101 cb00 7105"  # 203.0.113.1 > 203.0.113.5, DF
        + inner.replace("4006 3b9e", "3f06 3c9e")  # TTL 63
    )
    assert (len(before), len(after)) == (54, 74)
    assert balancer.send(before) == Outcome(Verdict.TX, after)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(tcp(), destination=VIP), id="TCP SYN"),
        pytest.param(frame(tcp(flags=0x04), destination=VIP), id="TCP RST"),
        pytest.param(frame(tcp(flags=0x18, data=b"hello"), destination=VIP), id="TCP data"),
        pytest.param(frame(tcp(flags=0), destination=VIP), id="TCP without a flag"),
        pytest.param(frame(tcp(flags=0xFF), destination=VIP), id="TCP with every flag"),
        pytest.param(frame(tcp(options=b"\x02\x04\x05\xb4"), destination=VIP), id="TCP options"),
        pytest.param(frame(tcp(source_port=0), destination=VIP), id="TCP from port 0"),
        pytest.param(frame(udp(), destination=VIP), id="UDP without data"),
        pytest.param(frame(udp(data=b"q"), destination=VIP), id="UDP with an odd byte"),
        pytest.param(
            frame(udp(length=0, data=b"query"), destination=VIP), id="UDP length not looked at"
        ),
        pytest.param(frame(tcp(port=1), destination=EVERY_PORT), id="every port: 1"),
        pytest.param(frame(tcp(port=65535), destination=EVERY_PORT), id="every port: 65535"),
        pytest.param(frame(tcp(port=0), destination=EVERY_PORT), id="every port: 0"),
        pytest.param(frame(tcp(), destination=VIP, options=b"\x01" * 4), id="IP options, 4 bytes"),
        pytest.param(
            frame(tcp(), destination=VIP, options=b"\x01" * 40), id="IP options, 40 bytes"
        ),
        pytest.param(
            frame(udp(), destination=VIP, options=b"\x94\x04\0\0"), id="UDP behind router alert"
        ),
        pytest.param(frame(tcp(), destination=VIP, flags=0), id="may be fragmented"),
        pytest.param(frame(tcp(), destination=VIP, flags=0x8000), id="reserved flag"),
        pytest.param(frame(tcp(), destination=VIP, identification=0xABCD), id="identification"),
        pytest.param(frame(tcp(), destination=VIP, ttl=2), id="TTL 2"),
        pytest.param(frame(tcp(), destination=VIP, ttl=255), id="TTL 255"),
        pytest.param(frame(tcp(), destination=VIP, checksum=0xBAD), id="wrong checksum"),
        pytest.param(
            frame(udp(data=b"q"), destination=VIP, padding=bytes(17)), id="padded to 60 bytes"
        ),
        pytest.param(
            frame(tcp(), destination=VIP, padding=b"\xa5"), id="one byte behind the packet"
        ),
        pytest.param(
            frame(tcp(), destination=VIP, padding=b"\xa5" * 100), id="a hundred behind it"
        ),
        pytest.param(frame(tcp(data=bytes(1460)), destination=VIP), id="1500 bytes"),
        pytest.param(
            frame(tcp(data=bytes(LONGEST_FRAME - 54)), destination=VIP), id="as long as fits"
        ),
    ],
)
def test_forwarded(balancer: Balancer, sent: bytes) -> None:
    balancer.configure(*SERVICES)
    assert balancer.send(sent).verdict is Verdict.TX


TO_SERVICE = ipv4(tcp(), destination=VIP)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(tcp(port=22), destination=BALANCER_ADDRESS), id="SSH to the balancer"),
        pytest.param(
            frame(tcp(port=443), destination=BALANCER_ADDRESS), id="HTTPS to the balancer"
        ),
        pytest.param(frame(ping(), destination=BALANCER_ADDRESS), id="ping to the balancer"),
        pytest.param(frame(tcp(port=22), destination=VIP), id="SSH to the service's address"),
        pytest.param(frame(tcp(port=0), destination=VIP), id="port 0 of the service's address"),
        pytest.param(frame(tcp(port=53), destination=VIP), id="TCP to the UDP service"),
        pytest.param(frame(udp(port=443), destination=VIP), id="UDP to the TCP service"),
        pytest.param(frame(udp(port=443), destination=EVERY_PORT), id="UDP to every TCP port"),
        pytest.param(frame(tcp(), destination="10.9.8.7"), id="routed traffic of others"),
        pytest.param(frame(tcp(), destination="192.0.2.11"), id="the address one above"),
        pytest.param(frame(tcp(), destination="192.0.2.9"), id="the address one below"),
        pytest.param(frame(tcp(), destination="10.2.0.192"), id="the address backwards"),
        pytest.param(frame(tcp(port=0xBB01), destination=VIP), id="the port backwards"),
        pytest.param(
            frame(tcp(source_port=443, port=50000), source=VIP, destination=CLIENT), id="a reply"
        ),
        pytest.param(frame(TO_SERVICE, protocol=4, destination=VIP), id="IP in IP"),
        pytest.param(frame(bytes(4) + TO_SERVICE, protocol=47, destination=VIP), id="GRE"),
        pytest.param(frame(bytes(tcp()), protocol=132, destination=VIP), id="SCTP"),
        pytest.param(frame(bytes(udp()), protocol=136, destination=VIP), id="UDP-Lite"),
        pytest.param(frame(bytes(tcp()), protocol=0, destination=VIP), id="protocol 0"),
        pytest.param(frame(bytes(tcp()), protocol=255, destination=VIP), id="protocol 255"),
        pytest.param(
            ethernet(
                bytes.fromhex("0001 0800 06 04 0001 525400000001 c0000201 000000000000 c000020a"),
                ether_type=0x0806,
                destination="ff:ff:ff:ff:ff:ff",
            ),
            id="ARP for the service's address",
        ),
        pytest.param(frame(tcp(), destination=VIP6), id="IPv6, where only IPv4 is served"),
        pytest.param(ethernet(bytes(60), ether_type=0x86DD), id="IPv6 of zeros"),
        pytest.param(ethernet(TO_SERVICE, ether_type=0x86DD), id="IPv4 that says it is IPv6"),
        pytest.param(ethernet(TO_SERVICE, ether_type=0x0008), id="EtherType backwards"),
        pytest.param(ethernet(b"\0\1\x11\x40" + TO_SERVICE, ether_type=0x8847), id="MPLS"),
        pytest.param(ethernet(TO_SERVICE, ether_type=len(TO_SERVICE)), id="802.3 with a length"),
        pytest.param(ethernet(b""), id="a header and nothing else"),
        pytest.param(ethernet(TO_SERVICE[:19]), id="IP header a byte too short"),
    ],
)
def test_passed_untouched(balancer: Balancer, sent: bytes) -> None:
    balancer.configure(*SERVICES)
    assert balancer.send(sent) == Outcome(Verdict.PASS, sent)


def test_dscp_is_copied_and_ecn_as_rfc_6040_normal_mode_has_it(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    outcomes = balancer.send_all(frame(tcp(), destination=VIP, tos=tos) for tos in range(256))
    assert [outcome.frame[15] for outcome in outcomes if outcome.frame] == list(range(256))


def test_source_address_is_the_interface_s_unless_given(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    own = balancer.send(frame(tcp(), destination=VIP))
    balancer.configure(*SERVICES, source_address="203.0.113.77")
    given = balancer.send(frame(tcp(), destination=VIP))
    assert own.frame is not None
    assert given.frame is not None
    assert own.frame[26:30] == bytes([192, 0, 2, 2])
    assert given.frame[26:30] == bytes([203, 0, 113, 77])


def test_every_packet_length(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    frames = [
        frame(udp(data=bytes(length)), destination=VIP) for length in range(LONGEST_FRAME - 42 + 1)
    ]
    outcomes = balancer.send_all(frames)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
