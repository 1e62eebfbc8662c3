# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time to live, or hop limit: one less in what is sent on, and nothing is at its end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packet.harness import VIPS, Balancer, backends, service
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    CLIENT_PORT,
    ETHERNET_HEADER,
    IPV4_HEADER,
    fragment_header,
    frame,
    hop_by_hop,
    packet_of,
    tcp,
    udp,
)
from tests.packet.quotes import PINGS, STRANGERS, error_about, quote_of

ANY_PORT = {4: "192.0.2.30", 6: "2001:db8::30"}
TTL_AT = {4: 8, 6: 7}
"""Where it is in the header of IP."""


def services(**options: Any) -> list[dict[str, Any]]:
    """Of both families; where ports do not count, fragments are balanced."""
    return [
        made
        for version in (4, 6)
        for made in (
            service(
                f"web {version}",
                address=VIPS[version],
                backends=backends(3, version=version),
                **options,
            ),
            service(
                f"any {version}",
                address=ANY_PORT[version],
                port=0,
                affinity="source",
                backends=backends(3, version=version),
                **options,
            ),
        )
    ]


def packets(version: int, ttl: int) -> dict[str, bytes]:
    """What is sent on, by every way through the program."""
    odd: dict[str, Any] = (
        {"options": bytes(40)} if version == 4 else {"extensions": [hop_by_hop(4)]}
    )
    fragments: list[dict[str, Any]] = [
        {"flags": 0x2000 | offset}
        if version == 4
        else {"extensions": [fragment_header(offset, more=True)]}
        for offset in (0, 1)
    ]
    to: dict[str, Any] = {"destination": VIPS[version], "ttl": ttl}
    to_any: dict[str, Any] = {"destination": ANY_PORT[version], "ttl": ttl}
    return {
        "SYN": frame(tcp(), **to),
        "later": frame(tcp(flags=0x10, data=b"odd"), **to, padding=b"\xa5"),
        "odd": frame(tcp(), **to, **odd),
        "tagged": frame(tcp(), **to, tags=[5]),
        "two tags": frame(tcp(), **to, tags=[(0x88A8, 1), 2]),
        "first fragment": frame(tcp(), **to_any, **fragments[0]),
        "other fragment": frame(tcp(), **to_any, **fragments[1]),
        "error": error_about(version, quote_of(version, ttl=200), ttl=ttl),
    }


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "gre", "l2"])
@pytest.mark.parametrize("ttl", [0, 1, 2, 3, 64, 128, 129, 255])
def test_sent_on(balancer: Balancer, version: int, encapsulation: str, ttl: int) -> None:
    balancer.configure(*services(encapsulation=encapsulation))
    sent = packets(version, ttl)
    outcomes = dict(zip(sent, balancer.send_all(sent.values())))
    counted = balancer.check()
    if ttl <= 1:
        assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.DROP}
        assert counted.drops == {"ttl_expired": len(sent)}
        return
    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.TX}
    assert counted.drops == {}
    for name, outcome in outcomes.items():
        assert outcome.frame is not None
        before = sent[name][ETHERNET_HEADER + {"tagged": 4, "two tags": 8}.get(name, 0) :]
        after = outcome.frame[-len(before) :]
        changed = {at for at in range(len(before)) if before[at] != after[at]}
        assert after[TTL_AT[version]] == ttl - 1
        # of a checksum both bytes, where a carry comes in
        assert changed <= ({8, 10, 11} if version == 4 else {7})


@pytest.mark.parametrize("version", [4, 6])
def test_every_one(balancer: Balancer, version: int) -> None:
    balancer.configure(*services())
    outcomes = balancer.send_all(
        frame(segment, destination=VIPS[version], ttl=ttl)
        for ttl in range(256)
        for segment in (tcp(), udp())
    )
    verdicts = [outcome.verdict for outcome in outcomes[::2]]
    assert verdicts == [Verdict.DROP] * 2 + [Verdict.TX] * 254
    assert {outcome.verdict for outcome in outcomes[1::2]} == {Verdict.PASS}
    assert balancer.check().drops == {"ttl_expired": 2}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("ttl", [0, 1])
def test_what_is_not_sent_on_needs_none(balancer: Balancer, version: int, ttl: int) -> None:
    """Pings of a service have arrived; what is for no service is not ours to count."""
    balancer.configure(*services())
    ping = balancer.send(frame(PINGS[version](), destination=VIPS[version], ttl=ttl))
    assert ping.verdict is Verdict.TX
    assert ping.frame is not None
    assert packet_of(ping.frame)[TTL_AT[version]] == 64
    to_nobody = [
        frame(tcp(), destination=STRANGERS[version], ttl=ttl),
        frame(tcp(port=444), destination=VIPS[version], ttl=ttl),
        frame(PINGS[version](), destination=STRANGERS[version], ttl=ttl),
        error_about(version, quote_of(version, tcp(source_port=444)), ttl=ttl),
    ]
    assert balancer.send_all(to_nobody) == [Outcome(Verdict.PASS, sent) for sent in to_nobody]
    assert balancer.check().answers == {"echo_reply": 1}


@pytest.mark.parametrize("version", [4, 6])
def test_what_does_not_fit(balancer: Balancer, version: int) -> None:
    """Of its last hop first, as a router does it; and it is quoted as it came."""
    balancer.configure(*services(), mtu=1400)
    long = {
        ttl: frame(
            tcp(data=bytes(1400), source_port=CLIENT_PORT), destination=VIPS[version], ttl=ttl
        )
        for ttl in (0, 1, 2, 64)
    }
    outcomes = {ttl: balancer.send(sent) for ttl, sent in long.items()}
    assert outcomes[0].verdict is outcomes[1].verdict is Verdict.DROP
    at = {4: IPV4_HEADER + 8, 6: 40 + 8}[version]
    for ttl in (2, 64):
        answer = outcomes[ttl].frame
        assert answer is not None
        assert packet_of(answer)[at:] == packet_of(long[ttl])[:256]
    counted = balancer.check()
    assert counted.drops == {"ttl_expired": 2}
    assert counted.answers == {"packet_too_big": 2}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("sent", "options", "reason"),
    [
        pytest.param({"source": "loopback"}, {}, "bad_source", id="a bad source comes first"),
        pytest.param({}, {"state": "disabled"}, "no_backend", id="no backend comes first"),
        pytest.param({}, {}, "ttl_expired", id="else"),
    ],
)
def test_order_of_reasons(
    balancer: Balancer, version: int, sent: dict[str, str], options: dict[str, Any], reason: str
) -> None:
    balancer.configure(
        service(address=VIPS[version], backends=backends(1, version=version, **options))
    )
    if "source" in sent:
        sent = {"source": {4: "127.0.0.1", 6: "::1"}[version]}
    fields: dict[str, Any] = {"ttl": 1, **sent}
    assert balancer.send(frame(tcp(), destination=VIPS[version], **fields)).verdict is Verdict.DROP
    assert balancer.check().drops == {reason: 1}
