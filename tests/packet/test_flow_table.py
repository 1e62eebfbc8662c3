# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flow table: a flow keeps its backend, whatever becomes of the lookup table."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf

from tests.packet.flows import Flow
from tests.packet.harness import VIP, VIPS, Balancer, backends, service
from tests.packet.model import Outcome
from tests.packet.packets import (
    ACK,
    CLIENT6,
    RST,
    SEGMENTS,
    SYN,
    frame,
    random_flow,
    tcp,
    udp,
)
from tests.packet.quotes import error_about, quote_of

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


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("scheduler", ["jhash", "maglev"])
def test_a_forged_syn_moves_no_flow(balancer: Balancer, version: int, scheduler: str) -> None:
    """Anyone can send one, so it changes nothing while the backend takes new flows."""
    balancer.configure(web(version, scheduler=scheduler), flow_table_size=SIZE)
    first = chosen(balancer.send_all(packets(version, 400)), version)
    balancer.reconfigure(
        web(version, scheduler=scheduler, backends=backends(20, version=version)),
        flow_table_size=SIZE,
    )
    balancer.send_all(packets(version, 400, flags=SYN))
    assert chosen(balancer.send_all(packets(version, 400)), version) == first
    assert balancer.check().flows == {"hits": 800}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": "drained"}, id="drained"),
        pytest.param({"weight": 0}, id="of weight 0"),
        pytest.param({"state": "disabled"}, id="disabled"),
        pytest.param(None, id="gone"),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_leaves_a_backend_that_takes_no_new_flows(
    balancer: Balancer, version: int, change: dict[str, Any] | None
) -> None:
    """A client that uses the same port again opens a new flow, and such a backend gets none."""
    old, *others = backends(4, version=version)
    balancer.configure(web(version, backends=[old, *others]), flow_table_size=SIZE)
    first = chosen(balancer.send_all(packets(version, 100)), version)
    changed = [] if change is None else [{**old, **change}]
    balancer.reconfigure(web(version, backends=[*changed, *others]), flow_table_size=SIZE)
    second = chosen(balancer.send_all(packets(version, 100, flags=SYN)), version)
    assert old["address"] not in second
    kept = [backend for backend in first if backend != old["address"]]
    assert [b for a, b in zip(first, second) if a != old["address"]] == kept
    assert chosen(balancer.send_all(packets(version, 100)), version) == second
    moved = 100 - len(kept)
    assert balancer.check().flows == {"hits": len(kept) + 100, "misses": moved}


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
def test_a_syn_on_a_flow_of_a_drained_backend(
    balancer: Balancer, version: int, flags: int, anew: bool
) -> None:
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
    for _turn in range(2):
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
    for _turn in range(6):
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
    for _turn in range(2):
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


@pytest.fixture
def other_cpu() -> int:
    """One that packets do not run on otherwise."""
    _first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        pytest.skip("cannot run here: there is a single CPU")
    if not bpf.has_helper(bpf.MAP_LOOKUP_PERCPU_ELEM):
        pytest.skip("cannot run here: the kernel lets no CPU read what others have")
    return others[-1]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_icmp_errors_find_flows_of_other_cpus(
    balancer: Balancer, version: int, protocol: str, other_cpu: int
) -> None:
    """A network card cannot tell to which flow an error belongs."""
    segment = SEGMENTS[protocol]
    few, many = (
        web(version, protocol=protocol, backends=backends(n, version=version)) for n in (10, 20)
    )
    balancer.configure(few, flow_table_size=65536)
    ports = range(1024, 1224)
    sent = [frame(segment(source_port=port, port=443), destination=VIPS[version]) for port in ports]
    first = chosen(balancer.send_all(sent), version)
    balancer.reconfigure(many, flow_table_size=65536)
    errors = [
        error_about(version, quote_of(version, segment(source_port=443, port=port)))
        for port in ports
    ]
    for cpu in (other_cpu, None):
        assert chosen(balancer.send_all(errors, cpu), version) == first
    assert balancer.check().flows == {"hits": 400}


def test_of_two_cpus_the_one_that_saw_a_flow_last_knows_better(
    shipped: Balancer, other_cpu: int
) -> None:
    """A flow may have changed the CPU, and its backend at that moment."""
    shipped.configure(web(), flow_table_size=65536)
    sent, ports = packets(4, 50), range(1024, 1074)
    errors = [error_about(4, quote_of(4, tcp(source_port=443, port=port))) for port in ports]
    shipped.send_all(sent)
    shipped.reconfigure(web(backends=backends(20)[10:]), flow_table_size=65536)
    time.sleep(TICK)
    second = chosen(shipped.send_all(sent, other_cpu))
    shipped.reconfigure(web(backends=backends(20)), flow_table_size=65536)
    for cpu in (other_cpu, None):
        assert chosen(shipped.send_all(errors, cpu)) == second


def test_errors_that_ask_other_cpus_are_limited(shipped: Balancer, other_cpu: int) -> None:
    """They can be forged, and asking takes long where there are many CPUs."""
    shipped.configure(web(), flow_table_size=65536)
    shipped.send(frame(tcp(source_port=1024, flags=ACK), destination=VIP))
    error = error_about(4, quote_of(4, tcp(source_port=443, port=1024)))
    time.sleep(1.1)  # another second than that of an earlier test
    begun = time.monotonic()
    with shipped.namespace.on(other_cpu):
        shipped.namespace.call(shipped._run_all, [error] * 20_000)
    seconds = time.monotonic() - begun
    flows = shipped.counted().flows
    assert flows["hits"] + flows["misses"] == 20_001
    assert 1000 <= flows["hits"] <= 1000 * (2 + int(seconds))


def test_icmp_errors_do_not_keep_a_flow_alive(shipped: Balancer) -> None:
    shipped.configure(web(protocol="udp", port=443), flow_table_size=SIZE, udp_timeout=2)
    shipped.send(frame(udp(port=443, source_port=9999), destination=VIP))
    error = error_about(4, quote_of(4, udp(source_port=443, port=9999)))
    for _turn in range(3):
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


def in_set(balancer: Balancer, number: int, count: int) -> list[bytes]:
    """Packets of flows that belong into one set of the table."""
    client, flows = ip_address("198.51.100.7"), balancer.model.flows
    found = []
    for port in range(65536):
        fingerprint = Flow(client, port, 443).fingerprint(ip_address(VIP), 6, flows.secret)
        if fingerprint * flows.sets >> 64 == number:
            found.append(frame(tcp(source_port=port, flags=ACK), destination=VIP))
        if len(found) == count:
            break
    return found


def flagged(sent: bytes, flags: int) -> bytes:
    """The same TCP packet with other flags."""
    at = 14 + 20 + 13
    return sent[:at] + bytes([flags]) + sent[at + 1 :]


def flood(rng: random.Random, count: int, *flags: int) -> list[bytes]:
    """Packets with these flags, one after the other, of each of many flows from anywhere."""
    frames = []
    for _turn in range(count):
        source, port = random_flow(rng)
        sent = frame(tcp(source_port=port), source=source, destination=VIP)
        frames += [flagged(sent, each) for each in flags]
    return frames


def test_idle_flows_outlive_a_flood(shipped: Balancer, rng: random.Random) -> None:
    """Whose packets are the only ones of their flows, twice as many as the table has room for."""
    shipped.configure(web(), flow_table_size=65536)
    idle = packets(4, 40, flags=ACK)
    shipped.send_all(flagged(sent, flags) for sent in idle for flags in (SYN, ACK))
    time.sleep(TICK)
    shipped.send_all(flood(rng, 131_072, SYN))
    shipped.send_all(idle)
    flows = shipped.check().flows
    assert (flows["hits"], flows["misses"]) == (80, 40 + 131_072)
    assert "evictions" not in flows


@pytest.mark.parametrize(
    ("flags", "confirms"),
    [
        pytest.param([SYN, ACK], True, id="a handshake"),
        pytest.param([SYN, SYN, SYN, ACK], True, id="a slow one"),
        pytest.param([ACK, ACK], True, id="in the middle"),
        pytest.param([ACK, 0x11], True, id="at the end"),
        pytest.param([SYN], False, id="SYN"),
        pytest.param([ACK], False, id="ACK"),
        pytest.param([SYN, SYN, SYN], False, id="SYN again and again"),
        pytest.param([ACK, SYN], False, id="SYN later"),
        pytest.param([SYN, SYN | ACK], False, id="SYN and ACK"),
        pytest.param([SYN, RST], False, id="reset"),
        pytest.param([SYN, RST | ACK], False, id="reset, acknowledged"),
    ],
)
def test_what_confirms_a_flow(shipped: Balancer, flags: list[int], confirms: bool) -> None:
    """What is confirmed outlives what is not, though that came later."""
    shipped.configure(web(), flow_table_size=1)
    first, *others = in_set(shipped, 0, 5)
    shipped.send_all(flagged(first, each) for each in flags)
    for sent in others:
        time.sleep(TICK)
        shipped.send(sent)
    assert shipped.check().flows["replacements"] == 1
    shipped.send(first)
    assert shipped.check().flows["misses"] == (5 if confirms else 6)


def test_icmp_errors_confirm_no_flow(shipped: Balancer) -> None:
    """Those are as easy to forge as the first packet is."""
    shipped.configure(web(), flow_table_size=1)
    first, *others = in_set(shipped, 0, 5)
    port = int.from_bytes(first[34:36], "big")
    error = error_about(4, quote_of(4, tcp(source_port=443, port=port)))
    shipped.send_all([first, error, error])
    for sent in [*others, first]:
        time.sleep(TICK)
        shipped.send(sent)
    assert shipped.check().flows == {"hits": 2, "misses": 6, "replacements": 2}


@pytest.mark.parametrize("seconds", [0, 5.5])
def test_a_second_packet_of_udp_confirms_if_it_comes_soon(
    shipped: Balancer, seconds: float
) -> None:
    shipped.configure(web(protocol="udp"), flow_table_size=1)
    client, flows = ip_address("198.51.100.7"), shipped.model.flows
    first, *others = [
        frame(udp(source_port=port, port=443), destination=VIP)
        for port in range(65536)
        if not Flow(client, port, 443).fingerprint(ip_address(VIP), 17, flows.secret) >> 56
    ][:5]
    for pause, sent in [(0, first), (seconds, first), *((TICK, other) for other in others)]:
        time.sleep(pause)
        shipped.send(sent)
    shipped.send(first)
    soon = seconds < 5
    assert shipped.check().flows == {
        "hits": 1 + soon,
        "misses": 6 - soon,
        "replacements": 2 - soon,
    }


def test_a_flow_stays_confirmed_when_its_backend_goes(shipped: Balancer) -> None:
    """It has another one then; a SYN begins anew."""
    two = backends(2)
    shipped.configure(web(backends=two[:1]), flow_table_size=1)
    confirmed, opened, *others = in_set(shipped, 0, 6)
    shipped.send_all([confirmed, confirmed, opened, opened])
    shipped.reconfigure(web(backends=two[1:]), flow_table_size=1)
    shipped.send_all([confirmed, flagged(opened, SYN)])
    for sent in others:
        time.sleep(TICK)
        shipped.send(sent)
    assert shipped.check().flows == {"misses": 6, "replacements": 2}
    shipped.send(confirmed)
    assert shipped.check().flows["hits"] == 1
    shipped.send(opened)
    assert shipped.check().flows["misses"] == 7


def test_what_a_stranger_can_compute_evicts_nobody(shipped: Balancer) -> None:
    """Flows that share a set by the hash that picks backends, which has no secret."""
    shipped.configure(web(), flow_table_size=1)
    client, sets = ip_address("198.51.100.7"), shipped.model.flows.sets
    ports = [port for port in range(65536) if Flow(client, port, 443).hash(0) % sets == 0][:5]
    victim, *crafted = (frame(tcp(source_port=port, flags=ACK), destination=VIP) for port in ports)
    shipped.send(victim)
    time.sleep(TICK)
    shipped.send_all(crafted)
    shipped.send(victim)
    assert shipped.check().flows == {"misses": 5, "hits": 1}


def test_a_client_s_ports_do_not_share_a_set_in_all_services(shipped: Balancer) -> None:
    """Else packets to the others would evict a flow of one."""
    others = [f"192.0.2.{number}" for number in range(20, 40)]
    shipped.configure(
        web(), *(web(name=address, address=address) for address in others), flow_table_size=1
    )
    victim = frame(tcp(flags=ACK), destination=VIP)
    shipped.send(victim)
    time.sleep(TICK)
    shipped.send_all(frame(tcp(flags=ACK), destination=address) for address in others)
    shipped.send(victim)
    assert shipped.check().flows == {"misses": 21, "hits": 1}


GOLDEN_RATIO = 0x9E3779B97F4A7C15


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_two_flows_of_one_network_are_two(balancer: Balancer, seed: int) -> None:
    """Interface identifiers and ports whose differences cancelled out, whatever the seed."""
    balancer.configure(
        web(6, port=443, backends=backends(100, version=6)), flow_table_size=SIZE, hash_seed=seed
    )
    client, port = ip_address("2001:db8:c::1234"), 40000
    relatives = []
    for other in range(50000, 50100):
        difference = (
            Flow(client, port, 443).ports * GOLDEN_RATIO
            ^ Flow(client, other, 443).ports * GOLDEN_RATIO
        ) & (2**64 - 1)
        relative = bytearray(client.packed)
        relative[8:] = (int.from_bytes(relative[8:], "little") ^ difference).to_bytes(8, "little")
        relatives.append((ip_address(bytes(relative)), other))
    outcomes = balancer.send_all(
        frame(tcp(source_port=mine, flags=ACK), source=source, destination=VIPS[6])
        for source, mine in [(client, port), *relatives]
    )
    assert balancer.check().flows == {"misses": 101}
    assert len(set(chosen(outcomes, 6))) > 40  # of 100


@pytest.mark.parametrize(("size", "sets"), [(1, 256), (1025, 512), (5000, 2048)])
def test_a_full_set_forgets_the_longest_unseen(shipped: Balancer, size: int, sets: int) -> None:
    shipped.configure(web(), flow_table_size=size)
    assert shipped.model.flows.sets == sets
    flows = in_set(shipped, sets - 1, 6)
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
    assert shipped.check().flows == {"misses": 6, "hits": 5, "replacements": 2, "evictions": 1}


def test_a_syn_takes_its_own_place(shipped: Balancer) -> None:
    shipped.configure(web(), flow_table_size=1)
    flows = in_set(shipped, 0, 4)
    for sent in flows:
        shipped.send(sent)
        time.sleep(TICK)
    shipped.send(flagged(flows[2], SYN))
    assert shipped.check().flows == {"misses": 4, "hits": 1}
    shipped.send_all(flows)
    assert shipped.check().flows == {"misses": 4, "hits": 5}


def test_sets_are_apart(shipped: Balancer) -> None:
    """As many flows as fit, four to a set: none is forgotten."""
    sets = 256
    shipped.configure(web(), flow_table_size=4 * sets)
    flows = [sent for number in range(sets) for sent in in_set(shipped, number, 4)]
    shipped.send_all(flows)
    shipped.send_all(flows)
    assert shipped.check().flows == {"misses": 4 * sets, "hits": 4 * sets}


def test_a_flood_counts_exactly_however_small_the_table(
    balancer: Balancer, rng: random.Random
) -> None:
    """Which flow is forgotten may depend on the clock; how many are does not."""
    balancer.configure(web(), flow_table_size=1)
    balancer.send_all(flood(rng, 3000, SYN))
    flows = balancer.check().flows
    assert flows["misses"] == 3000
    assert flows["replacements"] >= 3000 - 1024
