# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VLAN tags: one or two are read, and leave as they came."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packet.harness import VIP, VIP6, VIPS, Balancer, backends, service
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import ethernet, frame, ipv4, ping, ping6, tcp

CUSTOMER, PROVIDER = 0x8100, 0x88A8
ENCAPSULATIONS = ("ipip", "gue", "gre", "l2")
SERVICES = [
    service(
        f"{version} {encapsulation}",
        address=VIPS[version],
        port=port,
        encapsulation=encapsulation,
        backends=backends(2, version=version),
    )
    for version in (4, 6)
    for port, encapsulation in enumerate(ENCAPSULATIONS, 1)
]

TAGS: dict[str, Any] = {
    "none": [],
    "one": [100],
    "one of a provider": [(PROVIDER, 100)],
    "two": [100, 200],
    "a provider's and a customer's": [(PROVIDER, 100), 200],
    "priority and drop eligible": [(CUSTOMER, 0xF064)],
    "every bit": [(PROVIDER, 0xFFFF), (CUSTOMER, 0xFFFF)],
    "no bit": [0, 0],
}


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("encapsulation", ENCAPSULATIONS)
@pytest.mark.parametrize("vip", VIPS.values())
def test_kept(balancer: Balancer, vip: str, encapsulation: str, tags: Any) -> None:
    balancer.configure(*SERVICES)
    port = ENCAPSULATIONS.index(encapsulation) + 1
    plain = balancer.send(frame(tcp(port=port), destination=vip))
    outcome = balancer.send(frame(tcp(port=port), destination=vip, tags=tags))
    assert outcome.verdict is Verdict.TX
    assert outcome.frame is not None
    assert plain.frame is not None
    shims = ethernet(b"", tags=tags)[12:-2]
    assert outcome.frame == plain.frame[:12] + shims + plain.frame[12:]
    balancer.check()


@pytest.mark.parametrize(
    ("service_version", "backend_version", "ether_type"), [(4, 6, 0x86DD), (6, 4, 0x0800)]
)
def test_the_last_type_is_the_outer_header_s(
    balancer: Balancer, service_version: int, backend_version: int, ether_type: int
) -> None:
    balancer.configure(
        service(address=VIPS[service_version], backends=backends(1, version=backend_version))
    )
    sent = frame(tcp(), destination=VIPS[service_version], tags=[(PROVIDER, 5), 6])
    outcome = balancer.send(sent)
    assert outcome.frame is not None
    assert outcome.frame[12:22] == bytes.fromhex("88a8 0005 8100 0006") + ether_type.to_bytes(
        2, "big"
    )


TO_SERVICE = ipv4(tcp(port=1), destination=VIP)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(tcp(port=1), destination=VIP, tags=[1, 2, 3]), id="three tags"),
        pytest.param(
            frame(tcp(port=1), destination=VIP, tags=[1, (PROVIDER, 2)]), id="a provider's inside"
        ),
        pytest.param(
            frame(tcp(port=1), destination=VIP, tags=[(PROVIDER, 1), (PROVIDER, 2)]),
            id="two of a provider",
        ),
        pytest.param(frame(tcp(port=1), destination=VIP, tags=[(0x9100, 1)]), id="0x9100"),
        pytest.param(frame(tcp(port=99), destination=VIP, tags=[1]), id="another port"),
        pytest.param(frame(tcp(port=1), destination="192.0.2.99", tags=[1]), id="another address"),
        pytest.param(ethernet(b"", tags=[1])[:14], id="an announced tag is missing"),
        pytest.param(ethernet(b"", tags=[1])[:16], id="half of it"),
        pytest.param(ethernet(b"", tags=[1], ether_type=0x8100), id="the second is missing"),
        pytest.param(ethernet(b"", tags=[1]), id="a tag and nothing else"),
        pytest.param(ethernet(TO_SERVICE, tags=[1], ether_type=0x0806), id="ARP in a tag"),
        pytest.param(ethernet(TO_SERVICE[:19], tags=[1]), id="IP header a byte too short"),
        pytest.param(ethernet(TO_SERVICE, ether_type=0x8100), id="IPv4 for a tag"),
    ],
)
def test_passed_untouched(balancer: Balancer, sent: bytes) -> None:
    balancer.configure(*SERVICES)
    assert balancer.send(sent) == Outcome(Verdict.PASS, sent)
    balancer.check()


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
def test_answers_keep_them_too(balancer: Balancer, tags: Any) -> None:
    balancer.configure(*SERVICES, mtu=1400)
    large = tcp(port=1, data=bytes(1400))
    outcomes = balancer.send_all(
        frame(segment, destination=vip, tags=tags)
        for segment, vip in ((ping(), VIP), (ping6(), VIP6), (large, VIP), (large, VIP6))
    )
    shims = ethernet(b"", tags=tags)[12:-2]
    for outcome in outcomes:
        assert outcome.verdict is Verdict.TX
        assert outcome.frame is not None
        assert outcome.frame[12 : 12 + len(shims)] == shims
    assert balancer.check().answers == {"echo_reply": 2, "packet_too_big": 2}


@pytest.mark.parametrize("vip", VIPS.values())
@pytest.mark.parametrize("tags", [[1], [1, 2]])
def test_cut_short_at_every_length(balancer: Balancer, vip: str, tags: list[int]) -> None:
    balancer.configure(*SERVICES)
    whole = frame(tcp(port=1, data=b"hello"), destination=vip, tags=tags)
    balancer.send_all(whole[:length] for length in range(14, len(whole) + 1))
    balancer.check()
