# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ingress addresses that no host has: nothing from them is sent on, answered or remembered."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from tests.packet.harness import VIPS, Balancer, backends, service
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    FIRST_FRAGMENT,
    fragment_header,
    frame,
    hop_by_hop,
    tcp,
    udp,
)
from tests.packet.quotes import PINGS, STRANGERS, error_about, quote_of

OTHER_VIPS = {4: "192.0.2.30", 6: "2001:db8::30"}
CLASS_E = "240.0.0.1"
SERVICES = [
    made
    for version in (4, 6)
    for made in (
        service(
            f"web {version}",
            address=VIPS[version],
            flow_table=True,
            backends=backends(3, version=version),
        ),
        service(
            f"any {version}",
            address=OTHER_VIPS[version],
            port=0,
            affinity="source",
            backends=backends(3, version=version),
        ),
    )
] + [service("class E", address=CLASS_E, port=443)]

SOURCES: dict[str, bool] = {
    "0.0.0.0": False,  # noqa: S104 (nothing listens)
    "0.0.0.1": False,
    "0.255.255.255": False,
    "1.0.0.0": True,
    "1.0.0.127": True,
    "10.0.0.1": True,
    "126.255.255.255": True,
    "127.0.0.0": False,
    "127.0.0.1": False,
    "127.255.255.255": False,
    "128.0.0.0": True,
    "169.254.0.1": True,
    "198.51.100.127": True,
    "223.255.255.255": True,
    "224.0.0.0": False,
    "224.0.0.1": False,
    "239.255.255.255": False,
    "240.0.0.0": True,
    "255.0.0.0": True,
    "255.255.255.254": True,
    "255.255.255.255": False,
    VIPS[4]: False,
    OTHER_VIPS[4]: True,
    "192.0.2.11": True,
    "192.0.3.10": True,
    "::": False,
    "::1": False,
    "::2": True,
    "::100": True,
    "::1:0:0": True,
    "::198.51.100.7": True,
    "::fffe:ffff:ffff": True,
    "::ffff:0:0": False,
    "::ffff:198.51.100.7": False,
    "::ffff:ffff:ffff": False,
    "::1:0:0:0": True,
    "::1:ffff:198.51.100.7": True,
    "::ffff:0:198.51.100.7": True,
    "0:0:0:1::": True,
    "0:0:0:1::1": True,
    "1::": True,
    "1::ffff:198.51.100.7": True,
    "64:ff9b::198.51.100.7": True,
    "100::1": True,
    "fc00::1": True,
    "fe80::1": True,
    "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": True,
    "ff00::": False,
    "ff02::1": False,
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": False,
    VIPS[6]: False,
    OTHER_VIPS[6]: True,
    "2001:db8::11": True,
    "2001:db8:0:0:1::10": True,
    "2001:db9::10": True,
}
"""Address -> whether a host may have it, if the destination is VIPS."""


def with_header(version: int) -> dict[str, Any]:
    """What takes the way of odd packets."""
    return {"options": bytes(8)} if version == 4 else {"extensions": [hop_by_hop()]}


@pytest.mark.parametrize(("source", "good"), SOURCES.items(), ids=SOURCES)
def test_source(balancer: Balancer, source: str, good: bool) -> None:
    version = ip_address(source).version
    balancer.configure(*SERVICES)
    vip, elsewhere = VIPS[version], STRANGERS[version]
    to_service = {
        "TCP": frame(tcp(), source=source, destination=vip),
        "later": frame(tcp(flags=0x10), source=source, destination=vip),
        "odd": frame(tcp(), source=source, destination=vip, **with_header(version)),
        "tagged": frame(tcp(), source=source, destination=vip, tags=[5]),
        "ping": frame(PINGS[version](), source=source, destination=vip),
        "error": error_about(version, quote_of(version), source=source),
        "error about": error_about(version, quote_of(version, destination=source)),
    }
    fate = {name: balancer.send(sent).verdict for name, sent in to_service.items()}
    assert fate == dict.fromkeys(to_service, Verdict.TX if good else Verdict.DROP)
    counted = balancer.check()
    assert counted.drops == ({} if good else {"bad_source": len(to_service)})
    assert bool(counted.flows) is good

    to_nobody = [
        frame(tcp(), source=source, destination=elsewhere),
        frame(tcp(port=444), source=source, destination=vip),
        frame(udp(), source=source, destination=vip),
        frame(tcp(), source=source, destination=elsewhere, **with_header(version)),
        frame(PINGS[version](), source=source, destination=elsewhere),
        error_about(version, quote_of(version, tcp(source_port=444)), source=source),
        error_about(version, quote_of(version, tcp(source_port=444), destination=source)),
    ]
    assert balancer.send_all(to_nobody) == [Outcome(Verdict.PASS, sent) for sent in to_nobody]
    balancer.check()


@pytest.mark.parametrize(("source", "good"), SOURCES.items(), ids=SOURCES)
def test_fragments(balancer: Balancer, source: str, good: bool) -> None:
    """Those that are balanced; others are dropped as fragments anyway."""
    version = ip_address(source).version
    good = (good and source != OTHER_VIPS[version]) or source == VIPS[version]
    balancer.configure(*SERVICES)
    for offset in (0, 1):
        fields: dict[str, Any] = (
            {"flags": 0x2000 | offset}
            if version == 4
            else {"extensions": [fragment_header(offset, more=True)]}
        )
        balancer.send(frame(tcp(), source=source, destination=OTHER_VIPS[version], **fields))
    assert balancer.check().drops == ({} if good else {"bad_source": 2})


def test_a_service_of_class_e_and_its_own_address(balancer: Balancer) -> None:
    balancer.configure(*SERVICES)
    for source, verdict in ((CLASS_E, Verdict.DROP), ("240.0.0.2", Verdict.TX)):
        assert balancer.send(frame(tcp(), source=source, destination=CLASS_E)).verdict is verdict
    assert balancer.check().drops == {"bad_source": 1}


@pytest.mark.parametrize("version", [4, 6])
def test_every_first_byte(balancer: Balancer, version: int) -> None:
    balancer.configure(*SERVICES)
    size = {4: 4, 6: 16}[version]
    balancer.send_all(
        frame(tcp(), source=ip_address(bytes([first, *rest])), destination=VIPS[version])
        for first in range(256)
        for rest in (bytes(size - 1), b"\xff" * (size - 1), bytes(size - 2) + b"\1")
    )
    balancer.check()


@pytest.mark.parametrize("version", [4, 6])
def test_every_bit_of_a_bad_source_counts(balancer: Balancer, version: int) -> None:
    """Also those of the service's own address, which is the only bad one of its kind."""
    balancer.configure(*SERVICES)
    bits = {4: 32, 6: 128}[version]
    bad = [source for source, good in SOURCES.items() if not good]
    numbers = [int(ip_address(source)) for source in bad if ip_address(source).version == version]
    kind = type(ip_address(VIPS[version]))
    balancer.send_all(
        frame(tcp(), source=kind(number ^ 1 << bit), destination=VIPS[version])
        for number in numbers
        for bit in range(bits)
    )
    balancer.check()


@pytest.mark.parametrize("version", [4, 6])
def test_what_does_not_fit_is_not_answered_either(balancer: Balancer, version: int) -> None:
    balancer.configure(*SERVICES, mtu=1400)
    bad = {4: "127.0.0.1", 6: "::1"}[version]
    sent = frame(tcp(data=bytes(1400)), source=bad, destination=VIPS[version])
    assert balancer.send(sent).verdict is Verdict.DROP
    assert balancer.check().drops == {"bad_source": 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"source": "127.0.0.1", "total_length": 20}, "malformed", id="malformed"),
        pytest.param({"source": "127.0.0.1", "flags": 0x2000}, "fragment", id="fragment"),
        pytest.param({"source": "::1", "payload_length": 0}, "malformed", id="malformed 6"),
        pytest.param(
            {"source": "::1", "extensions": [FIRST_FRAGMENT]}, "fragment", id="fragment 6"
        ),
    ],
)
def test_what_parsing_drops_comes_first(
    balancer: Balancer, fields: dict[str, Any], reason: str
) -> None:
    balancer.configure(*SERVICES)
    vip = VIPS[ip_address(fields["source"]).version]
    assert balancer.send(frame(tcp(), destination=vip, **fields)).verdict is Verdict.DROP
    assert balancer.check().drops == {reason: 1}
