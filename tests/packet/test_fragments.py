# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fragments: balanced where the choice takes no ports, else dropped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.packet.harness import VIP, VIP6, VIPS, Balancer, backends, service
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    ATOMIC,
    DESTINATION,
    FIRST_FRAGMENT,
    FRAGMENT,
    LAST_FRAGMENT,
    Extension,
    extension,
    fragment_header,
    frame,
    hop_by_hop,
    icmp,
    icmp6,
    ping,
    ping6,
    random_flow,
    random_flow6,
    tcp,
    udp,
)

STRANGERS = {4: "192.0.2.99", 6: "2001:db8::99"}

FRAGMENTS: dict[str, tuple[int, dict[str, Any]]] = {
    "IPv4 first": (4, {"flags": 0x2000}),
    "IPv4 middle": (4, {"flags": 0x2080}),
    "IPv4 last": (4, {"flags": 0x0080}),
    "IPv4 with options": (4, {"flags": 0x0080, "options": bytes(8)}),
    "IPv6 first": (6, {"extensions": [FIRST_FRAGMENT]}),
    "IPv6 middle": (6, {"extensions": [fragment_header(5, more=True)]}),
    "IPv6 last": (6, {"extensions": [LAST_FRAGMENT]}),
    "IPv6 behind options": (6, {"extensions": [hop_by_hop(), LAST_FRAGMENT]}),
    "IPv6 behind an atomic one": (6, {"extensions": [ATOMIC, LAST_FRAGMENT]}),
}


def every_port(name: str, version: int, **options: Any) -> dict[str, Any]:
    """A service that needs no ports to choose a backend."""
    return service(
        name,
        **{
            "address": VIPS[version],
            "port": 0,
            "affinity": "source",
            "backends": backends(5, version=version),
            **options,
        },
    )


@pytest.mark.parametrize(("version", "fields"), FRAGMENTS.values(), ids=FRAGMENTS)
@pytest.mark.parametrize(
    ("options", "fate"),
    [
        pytest.param({}, "balanced", id="every port, by source"),
        pytest.param({"scheduler": "maglev"}, "balanced", id="every port, by source, maglev"),
        pytest.param({"affinity": "flow"}, "dropped", id="every port, by flow"),
        pytest.param({"port": 443}, "dropped", id="one port, by source"),
        pytest.param({"port": 443, "affinity": "flow"}, "dropped", id="one port, by flow"),
        pytest.param({"protocol": "udp"}, "passed", id="another protocol"),
        pytest.param({"address": "elsewhere"}, "passed", id="another address"),
    ],
)
def test_fate(
    balancer: Balancer,
    version: int,
    fields: dict[str, Any],
    options: dict[str, Any],
    fate: str,
) -> None:
    if "address" in options:
        options = {"address": STRANGERS[version]}
    balancer.configure(every_port("some", version, **options))
    sent = frame(tcp(data=bytes(40)), destination=VIPS[version], **fields)
    verdict = balancer.send(sent).verdict
    assert (
        verdict is {"balanced": Verdict.TX, "dropped": Verdict.DROP, "passed": Verdict.PASS}[fate]
    )
    assert balancer.check().drops == ({"fragment": 1} if fate == "dropped" else {})


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("scheduler", ["jhash", "maglev"])
def test_all_fragments_and_whole_packets_of_a_client_go_one_way(
    balancer: Balancer, version: int, scheduler: str
) -> None:
    balancer.configure(
        every_port("some", version, scheduler=scheduler, backends=backends(50, version=version))
    )
    kinds = [fields for of, fields in FRAGMENTS.values() if of == version]
    outcomes = balancer.send_all(
        frame(tcp(port=port, source_port=port, data=bytes(40)), destination=VIPS[version], **fields)
        for port in (1, 443, 65535)
        for fields in [*kinds, {}]
    )
    at = {4: slice(30, 34), 6: slice(38, 54)}[version]
    assert len({outcome.frame[at] for outcome in outcomes if outcome.frame}) == 1
    assert len([outcome for outcome in outcomes if outcome.frame]) == 3 * (len(kinds) + 1)


@pytest.mark.parametrize("version", [4, 6])
def test_one_port_and_every_port_of_an_address(balancer: Balancer, version: int) -> None:
    """A fragment may belong to any port: the service of every port takes them all."""
    one = service("one", address=VIPS[version], port=443, backends=backends(2, version=version))
    balancer.configure(one, every_port("every", version))
    fields = next(fields for of, fields in FRAGMENTS.values() if of == version)
    balancer.send(frame(tcp(), destination=VIPS[version], **fields))
    balancer.send(frame(udp(), destination=VIPS[version], **fields))
    assert set(balancer.check().services) == {"every"}


def test_a_fragment_is_too_short_for_nothing(balancer: Balancer) -> None:
    """What a fragment holds need not be a transport header."""
    balancer.configure(every_port("four", 4), every_port("six", 6))
    for vip, fields in ((VIP, {"flags": 0x2000}), (VIP6, {"extensions": [FIRST_FRAGMENT]})):
        outcomes = balancer.send_all(
            frame(bytes(length), protocol=6, destination=vip, **fields) for length in range(24)
        )
        assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
    balancer.check()


@pytest.mark.parametrize(
    ("protocol", "destination", "verdict"),
    [
        pytest.param(DESTINATION, VIP6, Verdict.DROP, id="options follow in another fragment"),
        pytest.param(FRAGMENT, VIP6, Verdict.DROP, id="a fragment of a fragment"),
        pytest.param(DESTINATION, STRANGERS[6], Verdict.PASS, id="to another address"),
        pytest.param(50, VIP6, Verdict.PASS, id="ESP"),
        pytest.param(17, VIP6, Verdict.PASS, id="UDP"),
        pytest.param(6, VIP6, Verdict.TX, id="TCP"),
    ],
)
def test_protocol_of_an_ipv6_fragment(
    balancer: Balancer, protocol: int, destination: str, verdict: Verdict
) -> None:
    balancer.configure(every_port("tcp", 6))
    for part in (FIRST_FRAGMENT, LAST_FRAGMENT):
        sent = frame(bytes(tcp()), protocol=protocol, destination=destination, extensions=[part])
        assert balancer.send(sent).verdict is verdict
    balancer.check()


def test_fragments_of_icmp_pass(balancer: Balancer) -> None:
    balancer.configure(every_port("four", 4), every_port("six", 6))
    quote = frame(tcp(source_port=1, port=2), source=VIP, destination="198.51.100.7")[14:]
    quote6 = frame(tcp(source_port=1, port=2), source=VIP6, destination="2001:db8::1")[14:]
    frames = [
        frame(message, destination=VIP, flags=flags)
        for message in (ping(), icmp(3, data=quote))
        for flags in (0x2000, 0x0010)
    ] + [
        frame(message, destination=VIP6, extensions=[part])
        for message in (ping6(), icmp6(1, data=quote6))
        for part in (FIRST_FRAGMENT, LAST_FRAGMENT)
    ]
    assert balancer.send_all(frames) == [Outcome(Verdict.PASS, sent) for sent in frames]
    balancer.check()


def test_an_atomic_fragment_is_whole(balancer: Balancer) -> None:
    """RFC 6946; the fragment header's reserved bits and identification do not matter."""
    balancer.configure(service(address=VIP6, backends=backends(2, version=6)))
    for part in (ATOMIC, fragment_header(reserved=3), Extension(FRAGMENT, bytes(7))):
        for chain in ([part], [hop_by_hop(), part], [part, extension(DESTINATION)], [part, part]):
            sent = frame(tcp(), destination=VIP6, extensions=chain)
            assert balancer.send(sent).verdict is Verdict.TX
    balancer.check()


def test_many(balancer: Balancer, rng: Any) -> None:
    balancer.configure(
        every_port("four", 4, backends=backends(30)),
        every_port("six", 6, backends=backends(30, version=6), scheduler="maglev"),
        hash_seed=12345,
    )
    frames = []
    for version, fields in FRAGMENTS.values():
        for _turn in range(100):
            source, port = (random_flow if version == 4 else random_flow6)(rng)
            segment = tcp(source_port=port, port=rng.getrandbits(16))
            frames.append(frame(segment, source=source, destination=VIPS[version], **fields))
    outcomes = balancer.send_all(frames)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
    balancer.check()
