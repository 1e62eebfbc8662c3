# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long packets may be on their way to backends, and what of that is told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Address,
    Backend,
    Config,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Ingress
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.routes import (
    Hop,
    RouteEntry,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.rtnetlink import LinkEntry
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.routing import path_mtu
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.routing.path_mtu import Limit

UNICAST = 1
A, B, C, D, E = (ip_address(f"10.0.0.{n}") for n in range(1, 6))


def way(index: int = 2, mtu: int = 0) -> RouteEntry:
    return RouteEntry(UNICAST, (Hop(index),), mtu)


def link(index: int, mtu: int) -> LinkEntry:
    return LinkEntry(index, f"eth{index}", 0, bytes(6), mtu, 0, 0)


@pytest.mark.parametrize(
    ("option", "interface", "route", "expected"),
    [
        (None, 1500, 0, Limit(1500, "interface")),
        (None, 1500, 1400, Limit(1400, "route")),
        (None, 1500, 1500, Limit(1500, "interface")),
        (None, 1500, 9000, Limit(1500, "interface")),
        (1300, 1500, 0, Limit(1300, "option")),
        (1300, 1500, 1400, Limit(1300, "option")),
        (1400, 1500, 1300, Limit(1300, "route")),
        (9000, 1500, 0, Limit(1500, "interface")),
    ],
)
def test_the_least_of_what_was_configured_counts(
    option: int | None, interface: int, route: int, expected: Limit
) -> None:
    assert path_mtu.limit(Backend(A, mtu=option), interface, route) == expected


def test_routes_without_an_mtu_say_nothing() -> None:
    ways = {A: way(), B: way(mtu=1400), C: None, D: None}
    assert path_mtu.of_routes(ways, {A: 1300, C: 1200, E: 1100}) == {B: 1400, C: 1200}


def test_what_differs_is_told() -> None:
    """Of backends that both states have."""
    before = {A: 1400, B: 1400, C: 1400}
    after = {B: 1300, D: 1300}
    assert path_mtu.differences(before, after, [A, B, A]) == [
        "MTU of the route to 10.0.0.1 1400 -> none",
        "MTU of the route to 10.0.0.2 1400 -> 1300",
    ]
    assert path_mtu.differences({}, {A: 1, B: 1, C: 1}, [C, B, A]) == [
        "MTU of the route to 10.0.0.3, 10.0.0.2, 10.0.0.1 none -> 1",
    ]
    assert path_mtu.differences({}, {A: 1, B: 1, C: 1, D: 1}, [A, B, C, D]) == [
        "MTU of the route to 4 backends none -> 1",
    ]
    assert path_mtu.differences(before, dict(before), [A, B, C]) == []


def config(vip: str, *backends: dict[str, Any], **options: Any) -> Config:
    service = {"name": "web", "address": vip, "port": 80, "protocol": "tcp", "backends": backends}
    encapsulation = {"encapsulation": options.pop("encapsulation", "ipip")}
    return parse_config({"interface": "eth2", "services": [service | encapsulation], **options})


NARROW = "services[web]: on the way to {}, packets of {} bytes do not fit with their outer header"


@pytest.mark.parametrize(
    ("vip", "backend", "encapsulation", "interface", "narrow"),
    [
        ("2001:db8::10", "10.0.0.1", "ipip", 1300, False),
        ("2001:db8::10", "10.0.0.1", "ipip", 1299, True),
        ("2001:db8::10", "fd00::1", "gue", 1328, False),
        ("2001:db8::10", "fd00::1", "gue", 1327, True),
        ("2001:db8::10", "fd00::1", "l2", 1280, False),
        ("2001:db8::10", "fd00::1", "l2", 1279, True),
        ("192.0.2.10", "10.0.0.1", "gre", 600, False),
        ("192.0.2.10", "10.0.0.1", "gre", 599, True),
    ],
)
@pytest.mark.parametrize("given", ["interface", "route", "option", "mac"])
def test_ways_that_are_too_narrow_are_warned_of(
    vip: str, backend: str, encapsulation: str, interface: int, narrow: bool, given: str
) -> None:
    address: Address = ip_address(backend)
    options: dict[str, Any] = {"address": backend}
    if given == "option":
        options["mtu"] = max(interface, 576)
    if given == "mac":
        options["mac"] = "52:54:00:00:00:0b"
    ways = {address: way(mtu=interface if given == "route" else 0)}
    own = interface if given == "mac" else 1500
    source = Ingress(None, "02:00:00:00:00:01", mtu=own)
    route_mtus = path_mtu.of_routes(ways, {})
    desired = config(vip, options, encapsulation=encapsulation)
    links = [link(2, interface if given == "interface" else 1500)]
    found = path_mtu.warnings(desired, path_mtu.limits(desired, source, ways, route_mtus, links))
    assert [warning.partition(", and hosts")[0] for warning in found] == (
        [NARROW.format(backend, 1280 if ":" in vip else 576)] if narrow else []
    )


def test_a_backend_without_a_way_has_no_limit() -> None:
    desired = config("2001:db8::10", {"address": "10.0.0.1"})
    source = Ingress(None, "02:00:00:00:00:01", mtu=600)
    limit_of = path_mtu.limits(desired, source, {A: None}, {}, [])
    assert limit_of(desired.services[0].backends[0]) is None
    assert path_mtu.warnings(desired, limit_of) == []
