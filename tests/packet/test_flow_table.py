# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flow table: a flow keeps its backend, whatever becomes of the lookup table."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from tests.packet.flows import Flow
from tests.packet.harness import VIP, VIPS, Balancer, backends, service
from tests.packet.model import Outcome
from tests.packet.packets import (
    ACK,
    CLIENT6,
    SYN,
    frame,
    random_flow,
    tcp,
    udp,
)
from tests.packet.test_icmp import error_about, quote_of

SIZE = 4096
TICK = 0.05
"""Longer than what the program can tell apart."""


def web(version: int = 4, **options: Any) -> dict[str, Any]:
    """A service that remembers flows."""
    return service(
        **{
            "address": VIPS[version],
            "flow_table": True,
            "backends": backends(10, version=version),
            **options,
        }
    )


def packets(version: int, count: int, **fields: Any) -> list[bytes]:
    """One packet of each of some flows."""
    fields = {"flags": ACK, **fields}
    return [
        frame(tcp(source_port=port, **fields), destination=VIPS[version])
        for port in range(1024, 1024 + count)
    ]


def chosen(outcomes: Sequence[Outcome], version: int = 4) -> list[str]:
    at = {4: slice(30, 34), 6: slice(38, 54)}[version]
    return [str(ip_address(outcome.frame[at])) for outcome in outcomes if outcome.frame]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("scheduler", ["jhash", "maglev"])
def test_remembered_when_backends_are_added(
    balancer: Balancer, version: int, scheduler: str
) -> None:
    balancer.configure(web(version, scheduler=scheduler), flow_table_size=SIZE)
    before = chosen(balancer.send_all(packets(version, 100)), version)
    assert balancer.check().flows == {"misses": 100}
    balancer.reconfigure(
        web(version, scheduler=scheduler, backends=backends(17, version=version)),
        flow_table_size=SIZE,
    )
    assert chosen(balancer.send_all(packets(version, 100)), version) == before
    assert balancer.check().flows == {"hits": 100}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("change", "keeps"),
    [
        pytest.param({"state": "drained"}, True, id="drained"),
        pytest.param({"weight": 0}, True, id="of weight 0"),
        pytest.param({"state": "drained", "weight": 0}, True, id="both"),
        pytest.param({"state": "disabled"}, False, id="disabled"),
        pytest.param({"weight": 255}, True, id="heavy"),
        pytest.param({"mac": "52:54:00:00:00:0b"}, True, id="with a MAC of its own"),
        pytest.param(None, False, id="gone"),
    ],
)
@pytest.mark.parametrize("scheduler", ["jhash", "maglev"])
def test_backend_that_has_changed(
    balancer: Balancer, version: int, change: dict[str, Any] | None, keeps: bool, scheduler: str
) -> None:
    listed = backends(4, version=version)
    balancer.configure(web(version, scheduler=scheduler, backends=listed), flow_table_size=SIZE)
    before = chosen(balancer.send_all(packets(version, 100)), version)
    changed = [] if change is None else [{**listed[0], **change}]
    balancer.reconfigure(
        web(version, scheduler=scheduler, backends=[*changed, *listed[1:]]), flow_table_size=SIZE
    )
    after = chosen(balancer.send_all(packets(version, 100)), version)
    affected = before.count(listed[0]["address"])
    assert affected > 0
    assert (listed[0]["address"] in after) is keeps
    flows = balancer.check().flows
    assert flows.get("misses", 0) == (0 if keeps else affected)
    balancer.send_all(packets(version, 100))
    assert balancer.check().flows["hits"] == flows["hits"] + 100


def test_a_backend_that_is_back(balancer: Balancer) -> None:
    """A flow that was moved stays where it was moved to."""
    two = backends(2)
    balancer.configure(web(backends=two), flow_table_size=SIZE)
    balancer.send_all(packets(4, 50))
    balancer.reconfigure(
        web(backends=[two[0], {**two[1], "state": "disabled"}]), flow_table_size=SIZE
    )
    moved = chosen(balancer.send_all(packets(4, 50)))
    balancer.reconfigure(web(backends=two), flow_table_size=SIZE)
    assert chosen(balancer.send_all(packets(4, 50))) == moved == [two[0]["address"]] * 50
    assert balancer.check().flows == {"hits": 50}


@pytest.mark.parametrize(
    ("flags", "anew"),
    [
        pytest.param(SYN, True, id="SYN"),
        pytest.param(SYN | 0xC0, True, id="SYN with ECE and CWR"),
        pytest.param(SYN | 0x01, True, id="SYN and FIN"),
        pytest.param(SYN | ACK, False, id="SYN and ACK"),
        pytest.param(ACK, False, id="ACK"),
        pytest.param(0x04, False, id="RST"),
        pytest.param(0x11, False, id="FIN and ACK"),
        pytest.param(0x00, False, id="no flag"),
        pytest.param(0xFD, False, id="every flag but SYN"),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_chooses_anew(balancer: Balancer, version: int, flags: int, anew: bool) -> None:
    balancer.configure(web(version), flow_table_size=SIZE)
    balancer.send_all(packets(version, 50))
    other = {4: "10.9.9.9", 6: "2001:db8:9::9"}[version]
    drained = backends(10, version=version, state="drained")
    balancer.reconfigure(
        web(version, backends=[*drained, {"address": other}]), flow_table_size=SIZE
    )
    first = chosen(balancer.send_all(packets(version, 50, flags=flags)), version)
    assert (set(first) == {other}) is anew
    second = chosen(balancer.send_all(packets(version, 50)), version)
    assert second == first
    misses = {"misses": 50} if anew else {}
    assert balancer.check().flows == {"hits": 50 if anew else 100, **misses}


def test_port_of_a_udp_packet_is_no_tcp_flag(balancer: Balancer) -> None:
    """Where TCP has its flags, UDP has data."""
    balancer.configure(web(protocol="udp", port=53), flow_table_size=SIZE)
    for _ in range(2):
        balancer.send_all(
            frame(udp(data=bytes([byte]) * 20), destination=VIP) for byte in range(256)
        )
    assert balancer.check().flows == {"misses": 1, "hits": 511}


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_silent_flows(shipped: Balancer, protocol: str) -> None:
    """UDP knows no end of a flow, so silence is one."""
    options: dict[str, Any] = {"flow_table_size": SIZE, "udp_timeout": 1}
    shipped.configure(web(protocol=protocol, port=443), **options)
    segment = udp(port=443) if protocol == "udp" else tcp(flags=ACK)
    sent = frame(segment, destination=VIP)
    shipped.send_all([sent, sent])
    assert shipped.check().flows == {"misses": 1, "hits": 1}
    time.sleep(2.1)
    shipped.send_all([sent, sent])
    silent = protocol == "udp"
    assert shipped.check().flows == {"misses": 1 + silent, "hits": 3 - silent}


def test_packets_keep_a_udp_flow_alive(shipped: Balancer) -> None:
    options: dict[str, Any] = {"flow_table_size": SIZE, "udp_timeout": 2}
    shipped.configure(web(protocol="udp", port=443), **options)
    sent = frame(udp(port=443), destination=VIP)
    for _ in range(6):
        shipped.send(sent)
        time.sleep(0.5)
    shipped.send(sent)
    shipped.check()


def test_another_timeout_at_once(shipped: Balancer) -> None:
    """It is the configuration's, not the flow's."""
    name = web(protocol="udp", port=443)
    shipped.configure(name, flow_table_size=SIZE, udp_timeout=60)
    sent = frame(udp(port=443), destination=VIP)
    shipped.send(sent)
    time.sleep(2.1)
    shipped.reconfigure(name, flow_table_size=SIZE, udp_timeout=1)
    shipped.send(sent)
    assert shipped.check().flows == {"misses": 1}


@pytest.mark.parametrize(
    ("service_options", "options"),
    [
        pytest.param({"flow_table": False}, {}, id="of the service"),
        pytest.param({}, {"flow_table_size": 0}, id="of the balancer"),
    ],
)
def test_switched_off(
    balancer: Balancer, service_options: dict[str, Any], options: dict[str, Any]
) -> None:
    other = service("other", port=80, flow_table=True)
    balancer.configure(web(**service_options), other, **{"flow_table_size": SIZE, **options})
    balancer.send_all(packets(4, 20) * 2)
    assert balancer.check().flows == {}


def test_services_do_not_share_flows(balancer: Balancer) -> None:
    """The same ports of the same client at another address, or over another protocol."""
    balancer.configure(
        web(name="one"),
        web(name="two", address="192.0.2.11", backends=backends(10)[::-1]),
        web(name="three", protocol="udp"),
        flow_table_size=SIZE,
    )
    frames = [
        frame(segment, destination=destination)
        for port in range(2000, 2050)
        for destination, segment in (
            (VIP, tcp(source_port=port, flags=ACK)),
            ("192.0.2.11", tcp(source_port=port, flags=ACK)),
            (VIP, udp(source_port=port, port=443)),
        )
    ]
    balancer.send_all(frames)
    assert balancer.check().flows == {"misses": 150}
    balancer.send_all(frames)
    assert balancer.check().flows == {"misses": 150, "hits": 150}


@pytest.mark.parametrize("version", [4, 6])
def test_every_part_of_a_flow_counts(balancer: Balancer, rng: random.Random, version: int) -> None:
    """Any other client, client's port or port is another flow."""
    balancer.configure(web(version, port=0), flow_table_size=SIZE, hash_seed=7)
    source, port = ip_address({4: "10.1.2.3", 6: CLIENT6}[version]), rng.getrandbits(16)
    flows = [(source, port, 443), (source, port ^ 1, 443), (source, port, 444), (source, 443, port)]
    flows += [
        (type(source)(int(source) ^ 1 << bit), port, 443) for bit in range(source.max_prefixlen)
    ]
    for _ in range(2):
        balancer.send_all(
            frame(
                tcp(source_port=mine, port=other, flags=ACK),
                source=client,
                destination=VIPS[version],
            )
            for client, mine, other in flows
        )
    assert balancer.check().flows == {"misses": len(flows), "hits": len(flows)}


def test_by_source_flows_are_remembered_apart(balancer: Balancer) -> None:
    """So that one SYN moves one flow, not all of a client."""
    balancer.configure(web(affinity="source"), flow_table_size=SIZE)
    first = chosen(balancer.send_all(packets(4, 20)))
    assert len(set(first)) == 1
    assert balancer.check().flows == {"misses": 20}


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_errors_follow_what_is_remembered_and_leave_it(
    balancer: Balancer, version: int
) -> None:
    listed = backends(10, version=version)
    balancer.configure(web(version, backends=listed), flow_table_size=SIZE)
    first = chosen(balancer.send_all(packets(version, 20)), version)
    balancer.reconfigure(web(version, backends=listed[::-1]), flow_table_size=SIZE)
    errors = [
        error_about(version, quote_of(version, tcp(source_port=443, port=port)))
        for port in range(1024, 1064)
    ]
    outcomes = chosen(balancer.send_all(errors), version)
    assert outcomes[:20] == first
    assert balancer.check().flows == {"hits": 20, "misses": 20}
    balancer.send_all(errors)
    assert balancer.check().flows == {"hits": 40, "misses": 40}


def test_icmp_errors_do_not_keep_a_flow_alive(shipped: Balancer) -> None:
    shipped.configure(web(protocol="udp", port=443), flow_table_size=SIZE, udp_timeout=2)
    shipped.send(frame(udp(port=443, source_port=9999), destination=VIP))
    error = error_about(4, quote_of(4, udp(source_port=443, port=9999)))
    for _ in range(3):
        time.sleep(1.1)
        shipped.send(error)
    assert shipped.check().flows == {"misses": 3, "hits": 1}


def test_without_backend_nothing_is_remembered(balancer: Balancer) -> None:
    balancer.configure(web(backends=backends(3, state="drained")), flow_table_size=SIZE)
    balancer.send_all(packets(4, 10))
    counted = balancer.check()
    assert counted.drops == {"no_backend": 10}
    assert counted.flows == {"misses": 10}
    balancer.reconfigure(web(backends=backends(3)), flow_table_size=SIZE)
    balancer.send_all(packets(4, 10))
    assert balancer.check().flows == {"misses": 10}


def test_what_is_too_big_is_remembered_all_the_same(balancer: Balancer) -> None:
    """Its sender will try again, with less."""
    balancer.configure(web(), flow_table_size=SIZE, mtu=1000)
    sent = frame(tcp(flags=ACK, data=bytes(1000)), destination=VIP)
    balancer.send_all([sent, sent])
    assert balancer.check().flows == {"misses": 1, "hits": 1}


def test_fragments_are_remembered(balancer: Balancer) -> None:
    balancer.configure(web(port=0, affinity="source"), flow_table_size=SIZE)
    fields: list[dict[str, Any]] = [{"flags": 0x2000}, {"flags": 0x0010}]
    balancer.send_all(frame(tcp(flags=SYN), destination=VIP, **some) for some in fields * 2)
    assert balancer.check().flows == {"misses": 1, "hits": 3}


def in_set(number: int, sets: int, count: int, seed: int = 0) -> list[bytes]:
    """Packets of flows that belong into one set of the table."""
    client = ip_address("198.51.100.7")
    found = []
    for port in range(65536):
        if Flow(client, port, 443).hash(seed) & (sets - 1) == number:
            found.append(frame(tcp(source_port=port, flags=ACK), destination=VIP))
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize(("size", "sets"), [(1, 256), (1025, 512), (5000, 2048)])
def test_a_full_set_forgets_the_longest_unseen(shipped: Balancer, size: int, sets: int) -> None:
    shipped.configure(web(), flow_table_size=size)
    assert shipped.model.flows.sets == sets
    flows = in_set(sets - 1, sets, 6)
    for sent in flows[:4]:
        shipped.send(sent)
        time.sleep(TICK)
    shipped.send(flows[0])
    time.sleep(TICK)
    assert shipped.check().flows == {"misses": 4, "hits": 1}
    shipped.send(flows[4])
    time.sleep(TICK)
    assert shipped.check().flows == {"misses": 5, "hits": 1, "replacements": 1}
    for sent in (flows[0], flows[2], flows[3], flows[4]):
        shipped.send(sent)
        time.sleep(TICK)
    assert shipped.check().flows == {"misses": 5, "hits": 5, "replacements": 1}
    shipped.send(flows[1])
    assert shipped.check().flows == {"misses": 6, "hits": 5, "replacements": 2}


def test_a_syn_takes_its_own_place(shipped: Balancer) -> None:
    shipped.configure(web(), flow_table_size=1)
    flows = in_set(0, 256, 4)
    for sent in flows:
        shipped.send(sent)
        time.sleep(TICK)
    again = bytearray(flows[2])
    again[14 + 20 + 13] = SYN
    shipped.send(bytes(again))
    assert shipped.check().flows == {"misses": 5}
    shipped.send_all(flows)
    assert shipped.check().flows == {"misses": 5, "hits": 4}


def test_sets_are_apart(shipped: Balancer) -> None:
    """As many flows as fit, four to a set: none is forgotten."""
    sets = 256
    shipped.configure(web(), flow_table_size=4 * sets, hash_seed=3)
    flows = [sent for number in range(sets) for sent in in_set(number, sets, 4, seed=3)]
    shipped.send_all(flows)
    shipped.send_all(flows)
    assert shipped.check().flows == {"misses": 4 * sets, "hits": 4 * sets}


def test_a_flood_counts_exactly_however_small_the_table(
    balancer: Balancer, rng: random.Random
) -> None:
    """Which flow is forgotten may depend on the clock; how many are does not."""
    balancer.configure(web(), flow_table_size=1)
    frames = []
    for _ in range(3000):
        source, port = random_flow(rng)
        frames.append(frame(tcp(source_port=port), source=source, destination=VIP))
    balancer.send_all(frames)
    flows = balancer.check().flows
    assert flows["misses"] == 3000
    assert flows["replacements"] >= 3000 - 1024
