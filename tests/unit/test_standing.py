# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How packets meet the backends of a service: what is configured, held, and found by checks."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Service
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import (
    NOT_CHECKED,
    Verdict,
    kept_verdicts,
    standing,
)

SILENT, ANSWERED = Verdict(answered=False), Verdict(answered=True)
NEW = Verdict(answered=True, reason=NOT_CHECKED)
E, D, X = "enabled", "drained", "disabled"


def service(*backends: dict[str, Any], **options: Any) -> Service:
    """With backends 10.0.0.1 and so on."""
    listed = [{"address": f"10.0.0.{n}", **one} for n, one in enumerate(backends, 1)]
    options = {"check": {"type": "tcp"}, **options}
    web = {"name": "web", "address": "192.0.2.1", "port": 80, "protocol": "tcp", **options}
    web["backends"] = listed
    (only,) = parse_config({"interface": "eth0", "services": [web]}).services
    return only


def backup(**options: Any) -> dict[str, Any]:
    return {"backup": True, **options}


# (backends, options of the service, unhealthy) -> the states that packets find, and who is among
# those to whom slots belong
CASES: dict[
    str, tuple[list[dict[str, Any]], dict[str, Any], dict[int, Verdict], list[str], set[int]]
]
CASES = {
    "all healthy": ([{}, {}], {}, {}, [E, E], {1, 2}),
    "silent: its flows move": ([{}, {}], {}, {1: SILENT}, [X, E], {1, 2}),
    "answered: they stay": ([{}, {}], {}, {1: ANSWERED}, [D, E], {1, 2}),
    "move, whatever it says": ([{}, {}], {"on_unhealthy": "move"}, {1: ANSWERED}, [X, E], {1, 2}),
    "keep, though it is silent": ([{}, {}], {"on_unhealthy": "keep"}, {1: SILENT}, [D, E], {1, 2}),
    "drained stays so": ([{"state": D}, {}, {}], {}, {}, [D, E, E], {2, 3}),
    "drained and silent": ([{"state": D}, {}, {}], {}, {1: SILENT}, [X, E, E], {2, 3}),
    "drained and answering": ([{"state": D}, {}, {}], {}, {1: ANSWERED}, [D, E, E], {2, 3}),
    "disabled is worst": ([{"state": X}, {}, {}], {}, {1: ANSWERED}, [X, E, E], {2, 3}),
    "weight 0 and silent": ([{"weight": 0}, {}, {}], {}, {1: SILENT}, [X, E, E], {2, 3}),
    "all silent: all are used": ([{}, {}], {}, {1: SILENT, 2: SILENT}, [E, E], {1, 2}),
    "all silent, but drained": (
        [{"state": D}, {}, {}],
        {},
        {1: SILENT, 2: SILENT, 3: SILENT},
        [X, E, E],
        {2, 3},
    ),
    "all silent, none needed": (
        [{}, {}],
        {"min_healthy": 0},
        {1: SILENT, 2: ANSWERED},
        [X, D],
        {1, 2},
    ),
    "fewer than needed": (
        [{}, {}, {}],
        {"min_healthy": 2},
        {1: SILENT, 2: SILENT},
        [E, E, E],
        {1, 2, 3},
    ),
    "half are enough": (
        [{}, {}, {}],
        {"min_healthy": "50 %"},
        {1: SILENT},
        [X, E, E],
        {1, 2, 3},
    ),
    "of three, half are two": (
        [{}, {}, {}],
        {"min_healthy": "50 %"},
        {1: SILENT, 3: SILENT},
        [E, E, E],
        {1, 2, 3},
    ),
    "a percentage of those that could": (
        [{"state": D}, {"state": D}, {}, {}],
        {"min_healthy": "50 %"},
        {3: SILENT},
        [D, D, X, E],
        {3, 4},
    ),
    "a backup waits": ([{}, backup()], {}, {}, [E, D], {1}),
    "a backup steps in": ([{}, backup()], {}, {1: SILENT}, [X, E], {2}),
    "and for drained ones": ([{"state": D}, backup()], {}, {}, [D, E], {2}),
    "not while another can": ([{}, {}, backup()], {}, {1: SILENT}, [X, E, D], {1, 2}),
    "backups share": ([{}, backup(), backup()], {}, {1: SILENT}, [X, E, E], {2, 3}),
    "one backup is down, too": (
        [{}, backup(), backup()],
        {},
        {1: SILENT, 2: SILENT},
        [X, X, E],
        {2, 3},
    ),
    "all are down": (
        [{}, backup()],
        {},
        {1: SILENT, 2: SILENT},
        [E, X],
        {1},
    ),
    "backups alone are down": (
        [{"state": D}, backup()],
        {},
        {2: SILENT},
        [D, E],
        {2},
    ),
    "a drained backup waits no less": ([{}, backup(state=D)], {}, {}, [E, D], {1}),
    "one that is new has no slots": ([{}, {}, {}], {}, {2: NEW}, [E, D, E], {1, 3}),
    "all others are down: it waits": ([{}, {}], {}, {1: SILENT, 2: NEW}, [E, D], {1}),
    "all are new": ([{}, {}], {}, {1: NEW, 2: NEW}, [E, E], {1, 2}),
    "none could take flows": ([{"state": D}], {}, {}, [D], set()),
    "no backends": ([], {}, {}, [], set()),
}


@pytest.mark.parametrize(
    ("backends", "options", "unhealthy", "states", "members"), CASES.values(), ids=CASES
)
def test_standing(
    backends: list[dict[str, Any]],
    options: dict[str, Any],
    unhealthy: dict[int, Verdict],
    states: list[str],
    members: set[int],
) -> None:
    web = service(*backends, **options)
    verdicts = {ip_address(f"10.0.0.{n}"): one for n, one in unhealthy.items()}
    found = standing(web, verdicts)
    assert [one.state for one in found.backends] == states
    assert {place + 1 for place in found.members} == members
    assert set(found.absent) | (set(found.usable) & set(found.members)) == set(found.members)
    assert set(found.usable) <= set(found.members)


def test_who_is_back_has_a_part_of_its_share() -> None:
    web = service({}, {}, {})
    one, two, _three = (backend.address for backend in web.backends)
    back = Verdict(answered=True, share=30)
    found = standing(web, {one: back, two: SILENT})
    assert [backend.state for backend in found.backends] == [E, X, E]
    assert found.partly == {0: 30}
    assert not found.is_settled
    alone = standing(service({}, min_healthy=1), {one: back})
    assert alone.is_settled
    all_down = standing(web, {two: SILENT, one: SILENT, _three: SILENT})
    assert all_down.fails_open and not all_down.partly


def test_flows_that_no_healthy_one_takes_are_said_to_fail_open() -> None:
    web = service({}, {})
    one, two = (backend.address for backend in web.backends)
    assert not standing(web, {one: SILENT}).fails_open
    assert standing(web, {one: SILENT, two: SILENT}).fails_open


def test_a_service_with_one_usable_backend_is_settled() -> None:
    web = service({}, {})
    assert not standing(web).is_settled
    assert standing(web, {web.backends[0].address: SILENT}).is_settled


def test_the_weights_are_those_of_the_members() -> None:
    web = service({"weight": 3}, {"weight": 5}, backup(weight=7))
    one, two, _three = (backend.address for backend in web.backends)
    assert standing(web).shares(web) == [3, 5, 0]
    assert standing(web, {one: SILENT}).shares(web) == [3, 5, 0]
    assert standing(web, {one: SILENT, two: SILENT}).shares(web) == [0, 0, 7]


def test_verdicts_of_what_is_not_checked_do_not_last() -> None:
    web = service({})
    there, gone = web.backends[0].address, ip_address("10.0.0.9")
    assert kept_verdicts(web, {there: SILENT, gone: SILENT}) == {there: SILENT}
    assert kept_verdicts(service({}, check=None), {there: SILENT}) == {}
