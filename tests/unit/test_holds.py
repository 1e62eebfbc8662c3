# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator changes of a backend, and what a new configuration keeps of it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.edits import (
    change_backend,
    keep_holds,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

A, B, C = (ip_address(f"10.0.0.{n}") for n in (1, 2, 3))


def service(name: str, port: int, *backends: str, **options: dict[str, Any]) -> dict[str, Any]:
    """options: of backends by the end of their address, as in b2={"weight": 2}."""
    return {
        "name": name,
        "address": "192.0.2.10",
        "port": port,
        "protocol": "tcp",
        "backends": [
            {"address": f"10.0.0.{end}", **options.get(f"b{end}", {})} for end in backends
        ],
    }


def config(*services: dict[str, Any]) -> Config:
    return parse_config({"interface": "eth0", "services": list(services)})


WEB, API = service("web", 80, "1", "2"), service("api", 8080, "2", "3")
BOTH = config(WEB, API)


def states(of: Config) -> dict[str, list[str]]:
    """By service; with a * if held, and the weight if it is not 1."""
    return {
        each.name: [
            one.state + "*" * one.held + (f" {one.weight}" if one.weight != 1 else "")
            for one in each.backends
        ]
        for each in of.services
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"address": A, "state": "drained"}, {"web": ["drained*", "enabled"]}),
        (
            {"address": B, "state": "disabled"},
            {"web": ["enabled", "disabled*"], "api": ["disabled*", "enabled"]},
        ),
        ({"address": B, "state": "drained", "service": "api"}, {"api": ["drained*", "enabled"]}),
        ({"address": C, "weight": 7}, {"api": ["enabled", "enabled 7"]}),
        ({"address": C, "weight": 0, "state": "drained"}, {"api": ["enabled", "drained* 0"]}),
        ({"address": C}, {}),
    ],
)
def test_change(change: dict[str, Any], expected: dict[str, list[str]]) -> None:
    assert states(change_backend(BOTH, **change)) == {**states(BOTH), **expected}


def test_only_enabling_lifts_a_hold() -> None:
    drained = change_backend(BOTH, A, state="drained")
    assert states(change_backend(drained, A, weight=3))["web"] == ["drained* 3", "enabled"]
    assert states(change_backend(drained, A, state="disabled"))["web"] == ["disabled*", "enabled"]
    assert change_backend(drained, A, state="enabled") == BOTH


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([{"weight": 7}], (7, 1)),
        ([{"weight": 7}, {"weight": 0}], (0, 1)),
        ([{"weight": 1}], (1, 1)),
        ([{"weight": 7}, {"state": "drained"}], (7, 1)),
        ([{"weight": 7}, {"state": "enabled"}], (1, None)),
        ([{"weight": 7}, {"state": "enabled", "weight": 5}], (5, 1)),
    ],
)
def test_a_weight_is_held_until_the_backend_is_enabled(
    orders: list[dict[str, Any]], expected: tuple[int, int | None]
) -> None:
    changed = BOTH
    for order in orders:
        changed = change_backend(changed, A, **order)
    (backend, _other) = changed.services[1].backends
    assert (backend.weight, backend.configured_weight) == expected


def test_a_hold_of_what_is_configured_so() -> None:
    drained = config(service("web", 80, "1", b1={"state": "drained"}))
    assert states(change_backend(drained, A, state="drained")) == {"web": ["drained*"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "down"}, "state: 'down': choose one of enabled, drained, disabled"),
        ({"weight": 256}, "weight: 256: give a whole number from 0 to 255"),
        ({"weight": -1}, "weight: -1: give a whole number from 0 to 255"),
        ({"service": "www"}, "service: 'www': eth0 has no such service, but api, web"),
        (
            {"address": ip_address("10.0.0.9")},
            "address: '10.0.0.9': eth0 has no such backend, but 10.0.0.1, 10.0.0.2, 10.0.0.3",
        ),
        (
            {"service": "api"},
            "address: '10.0.0.1': service api on eth0 has no such backend, but 10.0.0.2, 10.0.0.3",
        ),
    ],
)
def test_no_such_thing(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        change_backend(BOTH, **{"address": A, **change})
    assert str(raised.value) == message


@pytest.mark.parametrize("change", [{"address": A}, {"address": A, "service": "nobody"}])
def test_an_error_does_not_list_thousands(change: dict[str, Any]) -> None:
    services = [
        {**service(f"{n:063}", n, "2"), "backends": [{"address": f"10.1.{n}.{i}"} for i in OCTETS]}
        for n in range(200)
    ]
    with pytest.raises(ConfigError) as raised:
        change_backend(config(*services), **change)
    assert len(str(raised.value)) < 700
    assert str(raised.value).endswith(" more")


OCTETS = range(1, 200)


# A new configuration.

HELD = config(service("web", 80, "1", "2", b1={"state": "drained", "held": True}))


@pytest.mark.parametrize(
    ("wanted", "expected", "warned"),
    [
        pytest.param(WEB, ["drained*", "enabled"], True, id="the same"),
        pytest.param(
            service("web", 80, "1", "3", b1={"weight": 5}),
            ["drained* 5", "enabled"],
            True,
            id="another weight",
        ),
        pytest.param(
            service("web", 80, "1", b1={"state": "drained"}), ["drained*"], False, id="no other"
        ),
        pytest.param(
            service("web", 80, "1", b1={"state": "disabled"}), ["drained*"], True, id="disabled"
        ),
        pytest.param(service("web", 80, "2"), ["enabled"], False, id="without the backend"),
        pytest.param(
            service("web", 81, "1", "2"), ["enabled", "enabled"], False, id="another service"
        ),
    ],
)
def test_keep(wanted: dict[str, Any], expected: list[str], warned: bool) -> None:
    kept, warnings = keep_holds(config(wanted), HELD)
    assert states(kept) == {"web": expected}
    assert bool(warnings) == warned


WEIGHED = change_backend(config(WEB), A, weight=0)


@pytest.mark.parametrize(
    ("wanted", "configured", "warning"),
    [
        ({}, 1, "1 as configured"),
        ({"weight": 5}, 5, "5 as configured"),
        ({"weight": 0}, 0, None),
        ({"weight": 0, "configured_weight": 4}, 4, None),
    ],
)
def test_keep_a_weight(wanted: dict[str, Any], configured: int, warning: str | None) -> None:
    kept, warnings = keep_holds(config(service("web", 80, "1", "2", b1=wanted)), WEIGHED)
    backend = kept.services[0].backends[0]
    assert (backend.weight, backend.configured_weight, backend.held) == (0, configured, False)
    expected = f"keeps the weight 0, as an operator set, and not {warning}; run l4lb_backend with"
    assert [expected in one for one in warnings] == [True] * bool(warning)


def test_a_service_is_known_by_its_address() -> None:
    kept, _warnings = keep_holds(config(service("www", 80, "1")), HELD)
    assert states(kept) == {"www": ["drained*"]}


def test_a_removed_backend_comes_back_without_a_hold() -> None:
    without, _warnings = keep_holds(config(service("web", 80, "2")), HELD)
    again, warnings = keep_holds(config(WEB), without)
    assert states(again) == {"web": ["enabled", "enabled"]}
    assert warnings == []


def test_the_warning_names_all() -> None:
    (warning,) = keep_holds(config(WEB), HELD)[1]
    assert warning == (
        "web: backend 10.0.0.1 stays drained, as an operator set, and is not enabled as "
        "configured; run l4lb_backend with state: enabled to lift the hold"
    )
