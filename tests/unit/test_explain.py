# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that are tried, what is read from the frames that come of them, and how that is told."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.main import main
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import DROPS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Backend,
    Config,
    Service,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import (
    Verdict as Health,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import standing
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.explanation import (
    Explanation,
    Memory,
    Outcome,
    Server,
    Slot,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.finding import Finding
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.flow import Flow
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.outer import (
    Outer,
    outer,
    told_mtu,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.packet import (
    ERRORS,
    TCP_FLAGS,
    Packet,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.run import Verdict
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.ways import (
    Gateway,
    Way,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.trial.words import told
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import COLUMNS, wrapped
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.probe import checksum, ip
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.routing.path_mtu import Limit

CHECKOUT = Path(__file__).resolve().parents[2]
MAC = "02:00:00:00:00:01"
CLIENT, VIP = ip_address("198.51.100.2"), ip_address("192.0.2.10")
CLIENT6, VIP6 = ip_address("2001:db8:1::2"), ip_address("2001:db8:ffff::10")
FLOW = Flow("tcp", CLIENT, 40000, VIP, 80)
FLOWS = {
    "tcp4": (FLOW, 40),
    "udp4": (Flow("udp", CLIENT, 40000, VIP, 80), 28),
    "tcp6": (Flow("tcp", CLIENT6, 40000, VIP6, 80), 60),
    "udp6": (Flow("udp", CLIENT6, 40000, VIP6, 80), 48),
}


# What is tried


@pytest.mark.parametrize(("flow", "least"), FLOWS.values(), ids=FLOWS)
@pytest.mark.parametrize("more", [0, 1, 1400])
def test_a_packet_is_as_long_as_it_says(flow: Flow, least: int, more: int) -> None:
    packet = Packet(flow, more and least + more)
    frame = packet.frame(MAC)
    assert packet.length == least + more == len(frame) - 14
    assert frame[:6].hex(":") == MAC
    if flow.source.version == 4:
        assert struct.unpack_from("!H", frame, 16) == (least + more,)
        assert checksum(frame[14:34]) == 0
    else:
        assert struct.unpack_from("!H", frame, 18) == (least + more - 40,)
    if flow.protocol == "udp":
        head = least - 8
        assert struct.unpack_from("!H", frame, 14 + head + 4) == (least + more - head,)


def test_flags_are_those_of_the_segment() -> None:
    flags = TCP_FLAGS["syn"] | TCP_FLAGS["ack"]
    assert Packet(FLOW, flags=flags).frame(MAC)[14 + 20 + 13] == 0x12
    assert Packet(FLOW).frame(MAC)[14 + 20 + 13] == 0x10


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("flow", "least"), FLOWS.values(), ids=FLOWS)
def test_an_error_quotes_an_answer(flow: Flow, least: int, error: str) -> None:
    reporter = ip_address("203.0.113.1" if flow.source.version == 4 else "2001:db8::1")
    frame = Packet(flow, error=error, reporter=reporter).frame(MAC)
    packet, length = frame[14:], 20 if flow.source.version == 4 else 40
    icmp, quoted = packet[length:], packet[length + 8 :]
    assert reporter.packed in packet[:length] and flow.destination.packed in packet[:length]
    assert tuple(icmp[:2]) == ERRORS[error][flow.source.version]
    assert len(quoted) == least
    answer = Flow(
        flow.protocol, flow.destination, flow.destination_port, flow.source, flow.source_port
    )
    assert quoted == Packet(answer).frame(MAC)[14:]
    if flow.source.version == 4:
        assert checksum(icmp) == 0
    else:
        ends = reporter.packed + flow.destination.packed
        assert checksum(ends + struct.pack("!II", len(icmp), 58) + icmp) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": 39}, "--size: 39: give the bytes of the IP packet, 40 to "),
        ({"size": 1 << 20}, "--size: 1048576: give the bytes"),
        ({"reporter": CLIENT6}, "--from: '2001:db8:1::2': not of the IP version of 198.51.100.2"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Packet(FLOW, **options)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--size", "20"), "--size: 20: give the bytes of the IP packet, 40 to "),
        (("--size", "0"), "--size: 0: give the bytes of the IP packet"),
        (("--flags", "syn,x"), "--flags: 'syn,x': give some of fin, syn, "),
        (("--from", "203.0.113.1"), "--from: '203.0.113.1': only with --error"),
        (("--error", "too-big", "--size", "99"), "--size: 99: of no use with --error"),
        (("--error", "too-big", "--flags", "syn"), "--flags: 'syn': of no use with --error"),
        (("--error", "too-big", "--from", "x"), "--from: 'x': "),
    ],
)
def test_what_is_wrong_is_one_error(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    assert main("1", ["explain", "tcp", "198.51.100.2:1", "192.0.2.10:80", *options]) == 1
    assert capsys.readouterr().err.startswith(f"l4lb: {told}")


# What is read from frames

INNER = b"\x45" + bytes(39)
HERE, THERE = ip_address("203.0.113.11"), ip_address("203.0.113.21")
HERE6, THERE6 = ip_address("2001:db8:2::11"), ip_address("2001:db8:2::21")
MACS = bytes(12)


@pytest.mark.parametrize(
    ("frame", "encapsulation", "expected"),
    [
        (
            MACS + b"\x08\x00" + ip(HERE, THERE, 4, INNER),
            "ipip",
            Outer((), HERE, THERE, 64, 0, None, True, 20),
        ),
        (
            MACS
            + bytes.fromhex("88a80002 8100000a 0800")
            + ip(HERE, THERE, 17, struct.pack("!4H", 50000, 6080, 48, 0) + INNER),
            "gue",
            Outer((2, 10), HERE, THERE, 64, 0, (50000, 6080), True, 28),
        ),
        (
            MACS + b"\x86\xdd" + ip(HERE6, THERE6, 47, bytes(4) + INNER),
            "gre",
            Outer((), HERE6, THERE6, 64, 0, None, True, 44),
        ),
        (MACS + b"\x08\x00" + INNER, "l2", Outer(())),
    ],
)
def test_outer_headers_are_read(frame: bytes, encapsulation: str, expected: Outer) -> None:
    assert outer(frame, encapsulation) == expected


def test_the_dscp_is_read() -> None:
    packet = bytearray(ip(HERE, THERE, 4, INNER))
    packet[1] = 46 << 2 | 1
    assert outer(MACS + b"\x08\x00" + packet, "ipip").dscp == 46
    packet = bytearray(ip(HERE6, THERE6, 41, INNER))
    packet[:2] = (6 << 12 | (46 << 2) << 4).to_bytes(2, "big")
    assert outer(MACS + b"\x86\xdd" + packet, "ipip").dscp == 46


def test_the_mtu_of_an_answer_is_read() -> None:
    four = ip(VIP, CLIENT, 1, struct.pack("!BBHHH", 3, 4, 0, 0, 1480))
    six = ip(VIP6, CLIENT6, 58, struct.pack("!BBHI", 2, 0, 0, 1460))
    assert told_mtu(MACS + b"\x08\x00" + four, 4) == 1480
    assert told_mtu(MACS + b"\x81\x00\x00\x05\x86\xdd" + six, 6) == 1460


# How it is told

CHECKED = {"check": {"type": "http"}}
SENT = MACS + b"\x08\x00" + ip(HERE, THERE, 4, INNER)
UNHEALTHY = Health(answered=False, reason="connection refused", since=0)


def config(**service: Any) -> Config:
    backends = [{"address": "203.0.113.21"}, {"address": "203.0.113.22"}]
    there = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    return parse_config(
        {"interface": "eth0", "services": [{**there, "backends": backends, **service}]}
    )


def by_route(backend: Backend, state: str = "reachable") -> Way:
    mac = "02:00:cb:00:71:15" if state == "reachable" else None
    gateway = Gateway("eth0", backend.address, mac, state, True)
    return Way(None, "203.0.113.0/24 dev eth0", (gateway,))


def explanation(**changes: Any) -> Explanation:
    """A packet that is sent, as the lookup table says; its only service has two backends."""
    given = changes.pop("config", config())
    (service,) = given.services
    first = service.backends[0]
    health = changes.pop("health", {})
    stands = standing(service, health)
    verdict = changes.pop(
        "verdict",
        Verdict("sent", None, first, 1, "02:00:cb:00:71:15", 2, Limit(1500, "interface"), SENT),
    )
    servers = tuple(
        Server(
            one, number, stands.backends[number - 1].state, health.get(one.address), by_route(one)
        )
        for number, one in enumerate(changes.pop("servers", (first,)), 1)
    )
    found = Explanation(
        "eth0",
        "native",
        Packet(FLOW),
        given,
        Finding(service, verdict, 7),
        (Outcome((0, 1), verdict, first),),
        {2: "eth0"},
        2,
        remembers=True,
        slot=Slot(7, 65537, first.address, first.address),
        servers=servers,
        standing=stands,
        watched=True,
    )
    return replace(found, **changes)


def lines(found: Explanation) -> dict[str, str]:
    """The last of each label."""
    return dict(told(found))


def test_the_whole_way() -> None:
    assert told(explanation()) == [
        (
            "packet",
            "tcp 198.51.100.2:40000 to 192.0.2.10:80, ACK, 40 bytes; in by eth0 (native)",
        ),
        ("service", "web, 192.0.2.10 tcp 80, ipip"),
        ("flow table", "none of 2 CPUs remembers the flow"),
        ("scheduler", "maglev, slot 7 of 65537: 203.0.113.21"),
        ("result", "sent to 203.0.113.21 (number 1), as the lookup table says"),
        ("backend", "203.0.113.21, weight 1, enabled"),
        ("health", "not checked; counts as healthy"),
        (
            "next hop",
            (
                "02:00:cb:00:71:15: the backend itself on eth0, reachable, kept resolved; route "
                "203.0.113.0/24 dev eth0"
            ),
        ),
        ("MTU", "1500, of the device eth0; this packet has 40, 60 with the outer header: fits"),
        (
            "outer",
            "IPv4 203.0.113.11 to 203.0.113.21, IPv4 inside, TTL 64, DSCP 0, DF; 20 bytes more",
        ),
    ]


def test_cpus_that_differ_are_told_apart() -> None:
    (service,) = config().services
    first, second = service.backends
    sent = explanation().outcomes[0].verdict
    found = lines(
        explanation(
            outcomes=(
                Outcome((1,), replace(sent, backend=second, number=2), second),
                Outcome((0,), sent, first),
            ),
            servers=(second, first),
            memory={1: Memory(second.address, 3.4, False, True)},
        )
    )
    assert found["flow table"] == (
        "CPU 1 remembers 203.0.113.22, last seen 3 s ago, of a single packet so far; 1 other does "
        "not"
    )
    assert found["on CPU 1"] == "sent to 203.0.113.22 (number 2), as the flow table says"
    assert found["on CPU 0"] == "sent to 203.0.113.21 (number 1), as the lookup table says"


def test_health_moves_slots() -> None:
    checked = config(**CHECKED)
    first, second = checked.services[0].backends
    sent = replace(explanation().outcomes[0].verdict, backend=second, number=2)
    found = lines(
        explanation(
            config=checked,
            health={first.address: UNHEALTHY},
            servers=(first, second),
            slot=Slot(7, 65537, first.address, second.address),
            outcomes=(Outcome((0, 1), sent, second),),
            memory={0: Memory(first.address, 61.0, True, False)},
            watched=False,
        )
    )
    assert found["flow table"].startswith(
        "CPU 0 remembers 203.0.113.21, which takes it no more, last seen 61 s ago; 1 other"
    )
    assert found["scheduler"] == (
        "maglev, slot 7 of 65537: 203.0.113.22 for now; by weight it is of 203.0.113.21"
    )
    assert found["health"] == "healthy; no agent is at work, so this is what was known"
    assert found["aside"].startswith(
        "203.0.113.21, weight 1, enabled, but disabled for its health; unhealthy since "
    )
    assert ": connection refused; no agent" in found["aside"]


def test_holds_are_told() -> None:
    (service,) = config().services
    held = replace(service.backends[0], state="drained", held=True, configured_weight=3)
    verdict = replace(explanation().outcomes[0].verdict, backend=held)
    server = Server(held, 1, "drained", None, by_route(held))
    found = explanation(outcomes=(Outcome((0, 1), verdict, held),))
    assert lines(replace(found, servers=(server,)))["backend"] == (
        "203.0.113.21, weight 1 held by an operator, 3 as configured, drained held by an operator"
    )


@pytest.mark.parametrize("reason", DROPS)
def test_a_drop_is_told_with_its_remedy(reason: str) -> None:
    first = config().services[0].backends[0]
    verdict = Verdict("dropped", reason)
    server = Server(first, 1, "enabled", None, by_route(first, "does not answer"))
    found = explanation(outcomes=(Outcome((0, 1), verdict, first),))
    seen = lines(replace(found, servers=(server,)))
    assert seen["result"] == f"dropped as {reason}, for 203.0.113.21. {DROPS[reason]}"
    assert seen["next hop"].startswith("not found: the backend itself on eth0, does not answer, ")
    assert "outer" not in seen


@pytest.mark.parametrize(
    ("only", "told"),
    [
        (ip_address("203.0.113.22"), "all new flows go to 203.0.113.22"),
        (None, "nobody takes new flows"),
    ],
)
def test_new_flows_need_no_slot(only: Any, told: str) -> None:
    assert lines(explanation(slot=None, only=only))["scheduler"] == told


def test_no_route_is_told() -> None:
    first = config().services[0].backends[0]
    found = explanation(outcomes=(Outcome((0, 1), Verdict("dropped", "no_route"), first),))
    server = Server(first, 1, "enabled", None, Way(None))
    assert lines(replace(found, servers=(server,)))["next hop"] == "none: no route to 203.0.113.21"


def test_what_is_too_long_is_told_with_what_fits() -> None:
    first = config().services[0].backends[0]
    answer = MACS + b"\x08\x00" + ip(VIP, CLIENT, 1, struct.pack("!BBHHH", 3, 4, 0, 0, 1480))
    verdict = Verdict("answered", "packet_too_big", frame=answer)
    found = explanation(packet=Packet(FLOW, 1500), outcomes=(Outcome((0, 1), verdict, first),))
    seen = lines(found)
    assert seen["result"].endswith("The client is told to send at most 1480 bytes.")
    assert seen["MTU"].endswith("this packet has 1500, 1520 with the outer header: does not fit")


@pytest.mark.parametrize(
    ("origin", "given", "told"),
    [
        ("interface", None, "1500, of the device eth0; "),
        ("interface", "mac", "1500, of the device eth0 as it was at the last run; "),
        ("route", None, "1500, of the route; "),
        ("option", "gateway_mac", "1500, of the backend's option mtu; "),
    ],
)
def test_an_mtu_is_told_with_its_origin(origin: str, given: str | None, told: str) -> None:
    first = config().services[0].backends[0]
    verdict = replace(explanation().outcomes[0].verdict, limit=Limit(1500, origin))
    way = Way(given) if given else by_route(first)
    found = replace(explanation(verdict=verdict), servers=(Server(first, 1, "enabled", None, way),))
    seen = lines(found)
    assert seen["MTU"].startswith(told)
    if given:
        expected = f"02:00:cb:00:71:15, by the interface it came by, as the option {given} says"
        assert seen["next hop"] == expected


def test_an_error_goes_to_who_sent_what_it_quotes() -> None:
    first = config().services[0].backends[0]
    packet = Packet(FLOW, error="too-big", reporter=ip_address("203.0.113.1"))
    memory = {0: Memory(first.address, 1.0, True, True)}
    seen = lines(explanation(packet=packet, memory=memory))
    assert seen["packet"].startswith("ICMP error too-big from 203.0.113.1, about an answer of tcp ")
    assert seen["result"] == (
        "sent to 203.0.113.21 (number 1), which sent what it is about: the flow table knows the "
        "flow"
    )
    assert "scheduler" not in seen


def test_no_service_is_told_with_those_that_there_are() -> None:
    given = config()
    passed = Verdict("passed")
    found = explanation(
        found=Finding(None, passed),
        outcomes=(Outcome((0, 1), passed, None),),
        servers=(),
        slot=None,
        standing=None,
        others=given.services,
    )
    assert told(found)[1:] == [
        ("service", "none; 192.0.2.10 has web (tcp 80)"),
        ("result", "passes to the host, untouched and not counted"),
    ]
    stranger = replace(found, others=())
    assert lines(stranger)["service"] == "none; 192.0.2.10 is no service's address"


def test_the_page_shows_it() -> None:
    shown = [
        line
        for label, text in told(explanation())
        for line in wrapped(text, f"{label + ':':12}", " " * 12)
    ]
    block = "\n".join(shown)
    assert f"```text\n{block}\n```\n" in (CHECKOUT / "docs/looking.md").read_text()


def test_hostile_names_are_shown_as_text_in_80_columns() -> None:
    hostile = Service(
        "\x1b[31m<b>\n" + "網" * 17, VIP, 80, "tcp", backends=config().services[0].backends
    )
    found = explanation()
    found = replace(found, found=replace(found.found, service=hostile))
    shown = [line for label, text in told(found) for line in wrapped(text, f"{label}: ", "  ")]
    assert all(line.isprintable() for line in shown)
    assert "service: \\x1b[31m<b>\\n" in "\n".join(shown)
    assert all(len(line) <= COLUMNS for line in shown)
