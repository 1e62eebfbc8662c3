# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as text; what the kernel has counted is a stand-in here."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import Answer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import flows
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.flow_table import (
    FLOW_BLOCK_SIZE,
    FLOW_TAKEN,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import (
    ANSWERS,
    DROPS,
    FLOW_EVENTS,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics import families
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics import seen as seeing
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.checks import CheckCounts
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.exposition import (
    wants_openmetrics,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.families import FAMILIES
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.samples import Host
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.seen import Kept, Seen
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.text import Metrics
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Address, Service
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict

USE: Any = flows.use
ONE, TWO = ip_address("10.0.0.1"), ip_address("2001:db8::2")
WEB: dict[str, Any] = {
    "name": "web",
    "address": "192.0.2.10",
    "port": 80,
    "protocol": "tcp",
    "check": {"type": "tcp"},
    "backends": [
        {"address": str(ONE), "weight": 3},
        {"address": str(TWO), "state": "drained", "held": True},
    ],
}
DNS: dict[str, Any] = {**WEB, "name": "dns", "port": 53, "protocol": "udp", "check": None}
AGENT = {
    families.LOOP_LAG: 0.25,
    families.TROUBLES: 1,
    families.STARTED: 1795699317.5,
    families.MEMORY: 30797824,
    families.CPU: 0.5,
}
HOST = Host("1.2.3", (2, 1), AGENT)
HOSTILE = [
    "quotes \" and ' and `",
    "a back\\slash at the end\\",
    "<script>alert(1)</script>",
    "{}=,#",
    '\\n\\"',
    "ü" * 31,
    "\N{GRINNING FACE}" * 15,
    "\N{ARABIC LETTER ALEF}\N{HEBREW LETTER ALEF}",
]


class Maps:
    """Stands in for a data path; see `counted`."""

    flows = object()


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the backend with the number n, 100 n packets of 10 bytes; and the number 9 is what former
    backends of web have."""

    def totals(_data_path: object) -> Iterator[tuple[list[int], list[int]]]:
        for numbers in (range(5), range(5, 10)):
            yield [100 * n for n in numbers], [1000 * n for n in numbers]

    def events(_data_path: object) -> tuple[dict[str, int], ...]:
        return tuple(
            {name: at for at, name in enumerate(all_)} for all_ in (DROPS, ANSWERS, FLOW_EVENTS)
        )

    monkeypatch.setattr(seeing.counters, "totals", totals)
    monkeypatch.setattr(seeing.counters, "events", events)
    monkeypatch.setattr(seeing.flows, "use", lambda _table: (7, 1024))


def manifest(*services: dict[str, Any], **options: Any) -> Manifest:
    """Of services, whose backends have numbers from 1 on."""
    config = parse_config({"interface": "eth0", "services": services, **options})
    numbers, past, following = {}, {}, 1
    for service in config.services:
        numbers[service.name] = {
            one.address: number for number, one in enumerate(service.backends, following)
        }
        following += len(service.backends)
        past[service.name] = 9 if service.name == "web" else 0
    return Manifest(config, {"sources": "abc"}, 5, numbers=numbers, past=past)


def seen(*services: dict[str, Any], **options: Any) -> Seen:
    """A balancer of these, attached and checked."""
    found = manifest(*services, **options)
    good, bad = CheckCounts(), CheckCounts()
    good.count(0.25, "")
    bad.count(1.5, "timeout")
    bad.fail("cannot_check")

    def checks(service: Service) -> Mapping[Address, CheckCounts]:
        return {ONE: good, TWO: bad} if service.check else {}

    data_path: Any = Maps()
    announced = [ip_address(WEB["address"])]
    return Seen("eth0", "native", False, data_path, found, announced, checks, Kept(2, False))


def text(*balancers: Seen, openmetrics: bool = False, per_backend: bool = True) -> str:
    metrics = Metrics(per_backend)
    return b"".join(metrics.text(HOST, metrics.know(balancers), openmetrics)).decode()


def samples(*balancers: Seen, **options: bool) -> dict[str, float]:
    """Name and labels, as they are written -> value."""
    lines = (line for line in text(*balancers, **options).splitlines() if line[:1] != "#")
    return {name: float(value) for name, _space, value in (line.rpartition(" ") for line in lines)}


def test_services_and_backends() -> None:
    found = samples(seen(WEB, DNS))
    web = 'interface="eth0",service="web"'
    one, two = (f'{web},backend="{address}"' for address in (ONE, TWO))
    expected = {
        f"l4lb_service_packets_total{{{web}}}": 300 + 400 + 900,
        f"l4lb_service_sent_bytes_total{{{web}}}": 16_000,
        f"l4lb_service_backends{{{web}}}": 2,
        f"l4lb_service_backends_usable{{{web}}}": 1,
        f"l4lb_service_backends_unhealthy{{{web}}}": 0,
        f"l4lb_service_check_duration_seconds_sum{{{web}}}": 1.75,
        f"l4lb_service_check_duration_seconds_count{{{web}}}": 2,
        f'l4lb_service_check_failures_total{{{web},reason="timeout"}}': 1,
        f'l4lb_service_check_failures_total{{{web},reason="no_answer"}}': 0,
        f"l4lb_backend_packets_total{{{one}}}": 300,
        f"l4lb_backend_sent_bytes_total{{{two}}}": 4_000,
        f"l4lb_backend_weight{{{one}}}": 3,
        f'l4lb_backend_state{{{one},state="enabled",held="false"}}': 1,
        f'l4lb_backend_state{{{two},state="drained",held="true"}}': 1,
        f"l4lb_backend_healthy{{{one}}}": 1,
        f"l4lb_backend_check_duration_seconds_sum{{{two}}}": 1.5,
        f'l4lb_backend_check_failures_total{{{two},reason="cannot_check"}}': 1,
        'l4lb_service_packets_total{interface="eth0",service="dns"}': 300,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert 'l4lb_backend_healthy{interface="eth0",service="dns"' not in str(found)


def test_health() -> None:
    balancer = seen(WEB)
    assert balancer.manifest
    judged = balancer.manifest.judged({"web": {ONE: Verdict(False, "timeout", 1)}})
    found = samples(replace(balancer, manifest=judged))
    web = 'interface="eth0",service="web"'
    assert found[f'l4lb_backend_healthy{{{web},backend="{ONE}"}}'] == 0
    assert found[f"l4lb_service_backends_unhealthy{{{web}}}"] == 1
    assert found[f"l4lb_service_fails_open{{{web}}}"] == 1


def test_a_balancer() -> None:
    found = samples(seen(WEB))
    assert found['l4lb_attached{interface="eth0"}'] == 1
    assert found['l4lb_paused{interface="eth0"}'] == 0
    assert found['l4lb_configuration_generation{interface="eth0"}'] == 5
    assert found['l4lb_drops_total{interface="eth0",reason="fragment"}'] == 1
    assert found['l4lb_answers_total{interface="eth0",kind="packet_too_big"}'] == 1
    assert found['l4lb_flow_table_evictions_total{interface="eth0"}'] == 3
    assert found['l4lb_flow_table_entries{interface="eth0"}'] == 7
    assert found['l4lb_repairs_total{interface="eth0"}'] == 2
    assert found['l4lb_generic_fallback{interface="eth0"}'] == 0
    assert found['l4lb_next_hops{resolved="false"}'] == 1
    assert found["l4lb_agent_loop_lag_seconds_total"] == 0.25
    assert found['l4lb_build_info{version="1.2.3"}'] == 1


def test_one_that_fell_back_to_generic() -> None:
    found = samples(replace(seen(WEB), mode="generic"))
    assert found['l4lb_generic_fallback{interface="eth0"}'] == 1
    found = samples(replace(seen(WEB, mode="generic"), mode="generic"))
    assert found['l4lb_generic_fallback{interface="eth0"}'] == 0


def test_one_that_is_not_there() -> None:
    found = samples(Seen("eth1"), seen(WEB))
    assert [name for name in found if "eth1" in name] == [
        'l4lb_attached{interface="eth1"}',
        'l4lb_paused{interface="eth1"}',
    ]


def test_without_those_of_backends() -> None:
    found = text(seen(WEB), per_backend=False)
    assert "l4lb_service_packets_total" in found
    assert "backend=" not in found


@pytest.mark.parametrize("openmetrics", [False, True])
def test_each_family_is_told_once_and_as_it_is_declared(openmetrics: bool) -> None:
    found = text(seen(WEB, DNS, announce=True), Seen("eth1"), openmetrics=openmetrics)
    told = re.findall(r"^# TYPE (\S+) (\S+)$", found, re.MULTILINE)
    assert [name for name, _kind in told] == [
        one.name if openmetrics else one.sample for one in FAMILIES
    ]
    kinds = {kind for _name, kind in told}
    assert kinds == {"counter", "gauge", "summary", *(["info"] if openmetrics else [])}
    for family in FAMILIES:
        pattern = rf"^{family.sample}(?:_sum|_count)?(?:{{(.*)}})? \S+$"
        (labels, *_others) = re.findall(pattern, found, re.MULTILINE)
        assert tuple(re.findall(r'(\w+)="', labels)) == family.labels, family.name
    assert found.endswith("\n# EOF\n") == openmetrics


def test_names_have_the_units_that_they_say() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"l4lb(_[a-z]+)+", family.name)
        assert family.help.endswith(".")
        assert not family.name.endswith(("_total", "_info", "_count", "_sum"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(name: str) -> None:
    found = text(seen({**WEB, "name": name}))
    values = set(re.findall(r'service="((?:[^"\\\n]|\\.)*)"', found))
    (value,) = values
    plain = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), value)
    assert plain == name
    assert "\n\n" not in found


@pytest.mark.skipif(not shutil.which("promtool"), reason="cannot run here: there is no promtool")
def test_promtool_has_nothing_to_say() -> None:
    services = [
        {**WEB, "name": name, "address": f"192.0.2.{at}"} for at, name in enumerate(HOSTILE, 1)
    ]
    found = text(*(replace(seen(one), interface=f"eth{at}") for at, one in enumerate(services)))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=found, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5", True),
        ("text/plain;q=0.9, APPLICATION/OPENMETRICS-TEXT;q=0.4", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        ("application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5,*/*;q=0.1", True),
    ],
)
def test_who_prefers_openmetrics(accept: str, openmetrics: bool) -> None:
    assert wants_openmetrics(accept) == openmetrics


def digest(*services: dict[str, Any], **options: Any) -> str:
    (found,) = re.findall(r'digest="(\w+)"', text(seen(*services, **options)))
    return str(found)


def test_the_digest_is_that_of_others_of_the_same_configuration() -> None:
    usual = digest(WEB, DNS)
    assert digest(DNS, WEB, source_address="192.0.2.2") == usual
    assert digest(WEB) != usual


def test_what_is_the_same_is_found_out_once_and_follows_a_change() -> None:
    metrics, balancer = Metrics(), seen(WEB)
    (first,) = metrics.know([balancer])
    (again,) = metrics.know([balancer])
    assert again.known is first.known
    (other,) = metrics.know([seen(WEB, DNS)])
    assert other.known.services.keys() == {"web", "dns"}


def test_announcement() -> None:
    other = {**DNS, "address": "192.0.2.11"}
    name = 'l4lb_service_announced{{interface="eth0",service="{}"}}'.format
    found = samples(seen(WEB, other, announce=True))
    assert (found[name("web")], found[name("dns")]) == (1, 0)
    assert name("web") not in samples(seen(WEB, other))


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (Answer(True, True, "", 0.1), ""),
        (Answer(False, False, "timeout after 1 s", 1.0, timed_out=True), "timeout"),
        (Answer(False, True, "HTTP 503", 0.1), "wrong_answer"),
        (Answer(False, False, "connection refused", 0.1), "no_answer"),
    ],
)
def test_why_a_check_failed(answer: Answer, failure: str) -> None:
    assert answer.failure == failure
    assert not failure or failure in families.FAILURES


def test_how_many_flows_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 blocks on four CPUs the first 8 are looked at, in each of which 3 places are taken."""
    monkeypatch.setattr(flows, "possible_cpus", lambda: 4)
    taken = struct.pack("=QIHH", 2**64 - 1, 7, 1, FLOW_TAKEN | 5)
    block = (taken * 3).ljust(4 * FLOW_BLOCK_SIZE, b"\0")
    table = SimpleNamespace(shape=SimpleNamespace(max_entries=64), read=lambda n: block * n)
    assert USE(table) == (3 * 64, 64 * 4 * 1024)
