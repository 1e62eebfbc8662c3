# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrading a fleet: whom, whether enough others serve meanwhile, and whether it has worked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.filter.upgrade import (
    upgrade_doubts,
    upgrade_plan,
    upgrade_probes,
    withdrawn_by,
)

VIP, VIP6 = "192.0.2.10", "2001:db8:ffff::10"
Result = dict[str, Any]
GONE: Result = {"unreachable": True, "msg": "Connection timed out"}


def announcing(*vips: str, by: str = "", has: tuple[str, ...] = (VIP,)) -> Result:
    """A balancer that announces these of those that it has. by: who has withdrawn it."""
    found = {vip: {"announced": vip in vips, "reason": None, "withdrawn_by": by} for vip in has}
    for told in found.values() if not by else ():
        del told["withdrawn_by"]
    return {"ansible_facts": {"l4lb": {"eth0": {"services": [], "announcement": found}}}}


UP, DOWN = announcing(VIP), announcing()
WITHDRAWN, STOPPED = announcing(by="operator"), announcing(by="upgrade")
SILENT = announcing(has=())


def planned(*results: Result, changes: str = "", **options: Any) -> Result:
    """Of lb1 and so on. changes: a letter each, y where the role would change something; default:
    everywhere."""
    hosts = [f"lb{number}" for number in range(1, len(results) + 1)]
    those = [one == "y" for one in changes] or [True] * len(hosts)
    return upgrade_plan(dict(zip(hosts, results)), dict(zip(hosts, those)), **options)


def refusal(out: str, left: str) -> str:
    return f"with {out} withdrawn, {left} would be left that is known to announce {VIP}, and l4lb"


@pytest.mark.parametrize(
    ("results", "options", "told"),
    [
        ([UP, UP, UP], {}, ""),
        ([UP, UP], {"serial": 2}, refusal("lb1, lb2", "nobody")),
        ([UP, UP], {"serial": "50%"}, ""),
        ([UP, UP], {"serial": "100%", "changes": "yn"}, ""),
        ([UP], {}, refusal("lb1", "nobody")),
        ([UP], {"changes": "n"}, ""),
        ([UP], {"min_serving": 0}, ""),
        ([UP, UP], {"min_serving": "2"}, refusal("lb1", "lb2")),
        ([UP, UP, UP], {"min_serving": 2}, ""),
        ([UP, UP, UP], {"min_serving": 2, "serial": [1, 2]}, refusal("lb2, lb3", "lb1")),
        ([UP, DOWN], {}, refusal("lb1", "nobody")),
        ([UP, WITHDRAWN], {}, refusal("lb1", "nobody")),
        ([UP, SILENT], {}, refusal("lb1", "nobody")),
        ([SILENT, SILENT], {"serial": 2}, ""),
        ([UP, GONE], {}, "lb2 cannot be reached: Connection timed out; l4lb_skip_unreachable=true"),
        ([UP, GONE], {"skip_unreachable": True}, refusal("lb1", "nobody")),
        ([UP, UP, GONE], {"skip_unreachable": True}, ""),
        ([STOPPED, UP], {}, ""),
        ([UP, STOPPED], {}, ""),
        ([UP, STOPPED], {"serial": 2}, refusal("lb2, lb1", "nobody")),
        ([UP, STOPPED], {"changes": "ny"}, ""),
    ],
)
def test_enough_serve_meanwhile(results: list[Result], options: dict[str, Any], told: str) -> None:
    found = planned(*results, **options)["refusal"]
    assert found.startswith(told) if told else found == ""


def test_each_has_its_turn() -> None:
    found = planned(UP, STOPPED, UP, WITHDRAWN, SILENT, changes="nnyyy")
    assert found["lines"] == [
        "lb1 is as it should be",
        "lb2 was withdrawn by an upgrade that did not end, which goes on",
        "lb3 is withdrawn, upgraded, tried, and announced again",
        "lb4 is upgraded, and stays withdrawn by the operator",
        "lb5 is upgraded; it announces nothing that could be withdrawn",
    ]
    hosts = found["hosts"]
    assert [name for name, one in hosts.items() if one["due"]] == ["lb2", "lb3", "lb4", "lb5"]
    assert [name for name, one in hosts.items() if one["withdraws"]] == ["lb3"]
    assert [name for name, one in hosts.items() if one["announces"]] == ["lb2", "lb3"]
    assert [one["vips"] for one in hosts.values()] == [[], [VIP], [VIP], [], []]
    assert hosts["lb3"]["others"] == ["lb1", "lb2"]


def test_who_is_out_already_comes_first() -> None:
    """To serve when the others are withdrawn."""
    assert planned(UP, STOPPED, WITHDRAWN, UP)["order"] == ["lb2", "lb3", "lb1", "lb4"]
    assert planned(UP, UP, changes="nn")["order"] == []


def test_nobody_is_withdrawn_again() -> None:
    found = planned(UP, WITHDRAWN, changes="nn")
    assert not any(one["due"] for one in found["hosts"].values())
    (_first, second) = planned(UP, GONE, changes="n", skip_unreachable=True)["lines"]
    assert second == "lb2 cannot be reached, and is left out"


def test_some_of_very_many_are_asked_again() -> None:
    """Those that have to serve, and two more, however many there are."""
    two = announcing(VIP, VIP6, has=(VIP, VIP6))
    found = planned(*[two] * 50, serial=10, min_serving=3)
    assert found["refusal"] == ""
    assert found["hosts"]["lb1"]["others"] == ["lb11", "lb12", "lb13", "lb14", "lb15"]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("serial", "many", "l4lb_serial: 'many': give how many at a time, a number or"),
        ("serial", [], "l4lb_serial: []: give how many at a time"),
        ("min_serving", -1, "l4lb_min_serving: -1: give a whole number, 0 or more"),
        ("min_serving", True, "l4lb_min_serving: True: give a whole number"),
        ("wait_timeout", "soon", "l4lb_wait_timeout: 'soon': give a whole number"),
    ],
)
def test_wrong_options_are_one_refusal(option: str, value: object, told: str) -> None:
    options: dict[str, Any] = {option: value}
    assert upgrade_plan({"lb1": UP}, {}, **options)["refusal"].startswith(told)


def test_who_has_withdrawn() -> None:
    assert withdrawn_by(UP) == withdrawn_by(SILENT) == withdrawn_by(GONE) == ""
    assert withdrawn_by(WITHDRAWN) == "operator"
    assert withdrawn_by(STOPPED) == "upgrade"


# Whether it works


def service(name: str = "web", vip: str = VIP, *backends: Result, **more: Any) -> Result:
    there = {"name": name, "address": vip, "port": 80, "protocol": "tcp"}
    return {
        **there,
        "backends": [{"state": "enabled", "weight": 1, **one} for one in backends],
    } | more


def asked(*services: Result) -> Result:
    return {"ansible_facts": {"l4lb": {"eth0": {"services": [*services]}}}}


def checked(*healthy: bool, fails_open: bool = False) -> Result:
    backends = [{"healthy": one} for one in healthy]
    return service("web", VIP, *backends, fails_open=fails_open)


def test_a_flow_for_each_service() -> None:
    found = upgrade_probes(
        asked(
            service("web", VIP, {}),
            service("dns", VIP6, {}, protocol="udp", port=0),
            service("none", VIP),
            service("out", VIP, {"state": "drained"}, {"weight": 0}),
        ),
        asked(),
    )
    assert [one["service"] for one in found] == ["web", "dns"]
    assert found[0]["arguments"] == [
        *("tcp", "198.51.100.1:40000", f"{VIP}:80", "--interface", "eth0")
    ]
    assert found[1]["arguments"][:3] == ["udp", "[2001:db8::1]:40000", f"[{VIP6}]:9"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([checked(True)], checked(True, False), [True]),
        ([], checked(True), [True]),
        ([checked(False)], checked(True), [False]),
        ([checked(False, fails_open=True)], checked(False, fails_open=True), [False]),
        ([checked(True)], checked(False), []),
        ([service("web", VIP, {})], service("web", VIP, {}), [False]),
    ],
)
def test_a_check_is_to_be_passed_where_one_was(
    before: list[Result], after: Result, expected: list[bool]
) -> None:
    found = upgrade_probes(asked(after), asked(*before))
    assert [one["checked"] for one in found] == expected


PROBE = {"interface": "eth0", "service": "web", "arguments": [], "checked": True}


def flow(fate: str = "sent", reason: str = "", **more: Any) -> Result:
    told = {"service": "web", "new": {"fate": fate, "reason": reason}, "other_sources": False}
    return {"item": PROBE, "stdout": json.dumps({**told, **more})}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (flow(), []),
        (
            flow("dropped", "no_neighbour"),
            ["web: a new flow is dropped: no_neighbour. The next hop does not answer ARP"],
        ),
        (flow("passed", service=None), ["web: its packets are not taken for it"]),
        (flow(other_sources=True), ["web: the program at work is not the one of this collection"]),
        (
            {"item": PROBE, "stdout": "", "stderr": "l4lb: no bcc"},
            ["web: l4lb flow cannot tell: l4lb: no bcc"],
        ),
    ],
)
def test_what_becomes_of_a_flow(result: Result, told: list[str]) -> None:
    found = upgrade_doubts([PROBE], [result])
    assert len(found) == len(told)
    assert all(one.startswith(start) for one, start in zip(found, told))


def metrics(made: int, failed: int = 0, name: str = "web") -> Result:
    of = f'{{interface="eth0",service="{name}"'
    samples = [
        f"l4lb_service_check_duration_seconds_sum{of}}} 1.5",
        f"l4lb_service_check_duration_seconds_count{of}}} {made}",
        f'l4lb_service_check_failures_total{of},reason="refused"}} {failed}',
        f'l4lb_service_check_failures_total{of},reason="no_answer"}} {failed}',
    ]
    return {"status": 200, "content": "\n".join(samples) + "\n"}


@pytest.mark.parametrize(
    ("before", "now", "is_passed"),
    [
        (metrics(7, 1), metrics(7, 1), False),
        (metrics(7, 1), metrics(8, 1), True),
        (metrics(7, 1), metrics(9, 2), False),
        (metrics(7), metrics(1), True),
        (metrics(7), metrics(0), False),
        ({"msg": "refused"}, metrics(1), True),
        ({"msg": "refused"}, metrics(0), False),
    ],
)
def test_a_check_was_passed(before: Result, now: Result, is_passed: bool) -> None:
    told = [] if is_passed else ["web: no check of it has been passed since"]
    assert upgrade_doubts([PROBE], metrics=[before, now]) == told


def test_names_that_need_to_be_escaped() -> None:
    name = 'a "b" \\'
    escaped = 'a \\"b\\" \\\\'
    probe = {**PROBE, "service": name}
    now = metrics(1, name=escaped)
    assert upgrade_doubts([probe], metrics=[metrics(0, name=escaped), now]) == []


def test_an_agent_that_does_not_tell() -> None:
    silent = {"status": -1, "msg": "refused", "url": "http://127.0.0.1:9942/metrics"}
    (told,) = upgrade_doubts([PROBE], metrics=[silent, silent])
    assert told.startswith("the agent does not tell of checks at http://127.0.0.1:9942/metrics: r")
    assert upgrade_doubts([{**PROBE, "checked": False}], metrics=[silent, silent]) == []


def test_vips_that_are_not_back() -> None:
    assert upgrade_doubts([], vips=[VIP], asked=UP) == []
    (told,) = upgrade_doubts([], vips=[VIP], asked=DOWN)
    assert told == f"{VIP} is not announced (for no known reason)"
    assert upgrade_doubts([], vips=[VIP], asked=STOPPED) == [told]
    assert upgrade_doubts([], vips=[VIP], asked=WITHDRAWN) == []  # meanwhile, by an operator
    assert upgrade_doubts([], vips=[VIP6], asked=UP) == []  # no service has it any more
    assert upgrade_doubts([], vips=[VIP], asked=GONE) == [
        "it cannot be reached: Connection timed out"
    ]
