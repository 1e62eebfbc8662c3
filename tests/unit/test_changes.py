# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two states, in words, and the flows that move; pure, with a kernel that
holds just what the old state says. That the real one agrees is shown in tests/fleet/test_truth.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer import changes
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.changes import (
    Changes,
    Move,
    Observed,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import image, numbering
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.check import Check
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Backend,
    Config,
    Service,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import (
    Ingress,
    Receivers,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

REMEMBERED = 10
"""Flows of every backend in the flow table."""

PAGE = {"type": "http"}


def config(*services: dict[str, Any], **options: Any) -> Config:
    return parse_config({"interface": "eth0", "services": list(services), **options})


def web(*backends: int | dict[str, Any], **options: Any) -> dict[str, Any]:
    """A service; backends by their last byte."""
    listed = [one if isinstance(one, dict) else backend(one) for one in backends]
    defaults = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    return {**defaults, "backends": listed, **options}


def backend(number: int, **options: Any) -> dict[str, Any]:
    return {"address": f"10.0.0.{number}", **options}


def compare(before: Config, after: Config) -> Changes:
    manifest = numbering.place(before, {}, None, 4096)

    def slots(service: Service) -> Sequence[int]:
        numbers = manifest.numbers[service.name]
        length = 512 if service.scheduler == "jhash" else 65537
        table = array("H", image.lookup_table(service, before.hash_seed, numbers))
        return table[:length]

    def flows() -> Mapping[tuple[int, int], int]:
        return {
            (manifest.service_ids[service.name], number): REMEMBERED
            for service in before.services
            for number in manifest.numbers[service.name].values()
        }

    return changes.compare(Observed(manifest, slots, flows), after)


WORDS: dict[str, tuple[Config, Config, list[str]]] = {
    "nothing": (config(web(1)), config(web(1)), []),
    "a backend comes": (
        config(web(1, 2)),
        config(web(1, 2, 3)),
        ["web: 1 backend added (10.0.0.3), 33.3 % of new flows move, 0 established"],
    ),
    "a backend goes": (
        config(web(1, 2)),
        config(web(1)),
        ["web: 1 backend removed (10.0.0.2), 50.0 % of new flows move, 10 established"],
    ),
    "many come": (
        config(web(1)),
        config(web(1, 2, 3, 4, 5)),
        ["web: 4 backends added, 80.0 % of new flows move, 0 established"],
    ),
    "drained": (
        config(web(1, 2)),
        config(web(1, backend(2, state="drained"))),
        ["web: 1 backend drained (10.0.0.2), 50.0 % of new flows move, 0 established"],
    ),
    "disabled": (
        config(web(1, 2)),
        config(web(1, backend(2, state="disabled"))),
        ["web: 1 backend disabled (10.0.0.2), 50.0 % of new flows move, 10 established"],
    ),
    "disabled and then removed": (
        config(web(1, backend(2, state="disabled"))),
        config(web(1)),
        ["web: 1 backend removed (10.0.0.2), no flow moves"],
    ),
    "drained and then disabled": (
        config(web(1, backend(2, state="drained"))),
        config(web(1, backend(2, state="disabled"))),
        ["web: 1 backend disabled (10.0.0.2), 0 % of new flows move, 10 established"],
    ),
    "drained without a flow table": (
        config(web(1, 2, flow_table=False)),
        config(web(1, backend(2, state="drained"), flow_table=False)),
        ["web: 1 backend drained (10.0.0.2), 50.0 % of flows move, new or established"],
    ),
    "another weight": (
        config(web(1, 2)),
        config(web(1, backend(2, weight=3))),
        ["web: weight of 10.0.0.2 1 -> 3, 25.0 % of new flows move, 0 established"],
    ),
    "other weights of many, in the same proportion": (
        config(web(*range(1, 6))),
        config(web(*(backend(number, weight=2) for number in range(1, 6)))),
        ["web: weight of 5 backends changed, no flow moves"],
    ),
    "another MAC address": (
        config(web(1)),
        config(web(backend(1, mac="52:54:00:00:00:0b"))),
        ["web: MAC address of 10.0.0.1 none -> 52:54:00:00:00:0b, no flow moves"],
    ),
    "a backend is held in the state that it has": (
        config(web(backend(1, state="drained"))),
        config(web(backend(1, state="drained", held=True))),
        ["web: hold of 10.0.0.1 off -> on, no flow moves"],
    ),
    "a check comes": (
        config(web(1)),
        config(web(1, check=PAGE)),
        ["web: check added, no flow moves"],
    ),
    "a check goes": (
        config(web(1, check=PAGE, slow_start=30)),
        config(web(1)),
        ["web: check removed, slow start: 30 -> 0, no flow moves"],
    ),
    "another check": (
        config(web(1, check=PAGE)),
        config(web(1, check={**PAGE, "path": "/health", "interval": 5})),
        ["web: check changed (interval, path), no flow moves"],
    ),
    "a check of another type": (
        config(web(1, check={"type": "tcp"})),
        config(web(1, check={"type": "http"})),
        ["web: check changed (type, path, status), no flow moves"],
    ),
    "the same check in other words": (
        config(web(1, check=PAGE)),
        config(web(1, check={**PAGE, "port": "80", "path": "/", "timeout": 1.0, "verify": "no"})),
        [],
    ),
    "another minimum": (
        config(web(1, check=PAGE)),
        config(web(1, check=PAGE, min_healthy="50%")),
        ["web: minimum of healthy backends: 1 -> 50 %, no flow moves"],
    ),
    "what becomes of flows, and a slow start": (
        config(web(1, check=PAGE)),
        config(web(1, check=PAGE, on_unhealthy="keep", slow_start=30)),
        ["web: flows of unhealthy backends: auto -> keep, slow start: 0 -> 30, no flow moves"],
    ),
    "another encapsulation, without a flow table": (
        config(web(1, 2, flow_table=False)),
        config(web(1, 2, flow_table=False, encapsulation="gue")),
        ["web: encapsulation ipip -> gue, no flow moves"],
    ),
    "another hash": (
        config(web(1, 2)),
        config(web(1, 2, affinity="source")),
        ["web: affinity flow -> source, 50.0 % of new flows move, 0 established"],
    ),
    "another scheduler": (
        config(web(1, 2, 3, 4)),
        config(web(1, 2, 3, 4, scheduler="jhash")),
        ["web: scheduler maglev -> jhash, 75.0 % of new flows move, 0 established"],
    ),
    "another order where it matters": (
        config(web(1, 2, scheduler="jhash")),
        config(web(2, 1, scheduler="jhash")),
        ["web: backends in another order, 100 % of new flows move, 0 established"],
    ),
    "a flow table ends": (
        config(web(1, 2)),
        config(web(1, 2, flow_table=False)),
        [
            "web: flow table on -> off, 0 % of new flows move, established ones are treated as new",
        ],
    ),
    "a flow table begins": (
        config(web(1, 2, flow_table=False)),
        config(web(1, 2, 3)),
        [
            (
                "web: flow table off -> on, 1 backend added (10.0.0.3), "
                "33.3 % of flows move, new or established"
            )
        ],
    ),
    "a flow table of another size": (
        config(web(1)),
        config(web(1), flow_table_size=1 << 20),
        ["flow_table_size: 65536 -> 1048576", "flows remembered so far are forgotten"],
    ),
    "a flow table of the same size, rounded": (
        config(web(1)),
        config(web(1), flow_table_size=65000),
        ["flow_table_size: 65536 -> 65000"],
    ),
    "another seed": (
        config(web(1, 2)),
        config(web(1, 2), hash_seed=7),
        [
            "hash_seed: 0 -> set (5a1d)",
            "web: 50.0 % of new flows move, 0 established",
        ],
    ),
    "another seed where it is of no use": (
        config(web(1, 2, flow_table=False, scheduler="jhash")),
        config(web(1, 2, flow_table=False, scheduler="jhash"), hash_seed=7),
        ["hash_seed: 0 -> set (5a1d)"],
    ),
    "a seed after another": (
        config(web(1), hash_seed=7),
        config(web(1), hash_seed=8),
        ["hash_seed: set (5a1d) -> set (65cb)"],
    ),
    "an address and a prefix": (
        config(source_address="192.0.2.1"),
        config(source_address="192.0.2.0/28", mode="native"),
        ["mode: auto -> native", "source_address: 192.0.2.1 -> 192.0.2.0/28"],
    ),
    "another name": (
        config(web(1, 2)),
        config(web(1, 2, name="www")),
        ["www: renamed from web, no flow moves"],
    ),
    "names swapped": (
        config(web(1, name="a"), web(1, name="b", port=81)),
        config(web(1, name="b"), web(1, name="a", port=81)),
        ["a: renamed from b, no flow moves", "b: renamed from a, no flow moves"],
    ),
    "another address": (
        config(web(1, 2)),
        config(web(1, 2, address="192.0.2.11", port=81)),
        ["web: address 192.0.2.10 -> 192.0.2.11, port 80 -> 81, 20 established flows end"],
    ),
    "services come and go": (
        config(web(1, 2, name="a"), web(1, name="b", port=81, flow_table=False)),
        config(web(1, name="c", port=82)),
        ["a: removed, 20 established flows end", "b: removed", "c: added with 1 backend"],
    ),
    "a name given to another service": (
        config(web(1)),
        config(web(1, name="www"), web(2, 3, port=81)),
        ["web: added with 2 backends", "www: renamed from web, no flow moves"],
    ),
    "a port leaves a service of every port": (
        config(web(1, port=0)),
        config(web(1, port=0), web(2, name="tls", port=443)),
        ["tls: added with 1 backend, port 443 is taken over from web"],
    ),
    "a port returns to a service of every port": (
        config(web(1, port=0), web(2, name="tls", port=443, flow_table=False)),
        config(web(1, port=0)),
        ["tls: removed, port 443 is taken over by web"],
    ),
    "nobody left": (
        config(web(1)),
        config(web()),
        ["web: 1 backend removed (10.0.0.1), new flows are dropped, 10 established"],
    ),
    "the last one drained": (
        config(web(1, backend(2, state="disabled"))),
        config(web(backend(1, state="drained"), backend(2, state="disabled"))),
        ["web: 1 backend drained (10.0.0.1), new flows are dropped, 0 established"],
    ),
    "all disabled": (
        config(web(1, 2)),
        config(web(backend(1, state="disabled"), backend(2, state="disabled"))),
        ["web: 2 backends disabled (10.0.0.1, 10.0.0.2), new flows are dropped, 20 established"],
    ),
    "the last weight": (
        config(web(1, scheduler="jhash")),
        config(web(backend(1, weight=0), scheduler="jhash")),
        ["web: weight of 10.0.0.1 1 -> 0, new flows are dropped, 0 established"],
    ),
    "nobody left, without a flow table": (
        config(web(1, flow_table=False)),
        config(web(backend(1, state="drained"), flow_table=False)),
        ["web: 1 backend drained (10.0.0.1), flows are dropped, new or established"],
    ),
    "nobody left, and the flow table ends": (
        config(web(1)),
        config(web(backend(1, state="drained"), flow_table=False)),
        [
            (
                "web: flow table on -> off, 1 backend drained (10.0.0.1), new flows are dropped, "
                "established ones are treated as new"
            )
        ],
    ),
    "nobody there, as before": (
        config(web(backend(1, weight=0))),
        config(web(backend(1, weight=0), name="www")),
        ["www: renamed from web, no flow moves"],
    ),
    "somebody again": (
        config(web(backend(1, state="drained"))),
        config(web(1)),
        ["web: 1 backend enabled (10.0.0.1), 100 % of new flows move, 0 established"],
    ),
    "another port, and nobody": (
        config(web(1)),
        config(web(backend(1, state="drained"), port=81)),
        [
            (
                "web: port 80 -> 81, 1 backend drained (10.0.0.1), new flows are dropped, "
                "10 established flows end"
            )
        ],
    ),
    "a port goes to nobody": (
        config(web(1, port=0)),
        config(web(1, port=0), web(name="tls", port=443)),
        [("tls: added with 0 backends, new flows are dropped, port 443 is taken over from web")],
    ),
}


@pytest.mark.parametrize("before, after, steps", WORDS.values(), ids=WORDS)
def test_words(before: Config, after: Config, steps: list[str]) -> None:
    assert compare(before, after).steps == steps


def test_options_have_words_for_each_kind_of_value() -> None:
    before = config(web(1), own_macs=["02:00:00:00:00:01"])
    after = config(web(1), allow_own_address=True, echo_rate=0)
    assert compare(before, after).steps == [
        "own_macs: 02:00:00:00:00:01 -> none",
        "allow_own_address: off -> on",
        "echo_rate: 10000 -> 0",
    ]


def test_every_difference_has_words() -> None:
    """A field that has none would change without a word, or not at all."""
    one = config(web(1)).services[0]
    others: dict[str, Any] = {"name": "www", "port": 81, "flow_table": False}
    others |= {
        "address": IPv6Address("2001:db8::10"),
        "protocol": "udp",
        "scheduler": "jhash",
        "affinity": "source",
    }
    others |= {"encapsulation": "gue", "backends": ()}
    check = Check(type="tcp", via="tunnel", port=80, interval=2.0)
    others |= {"check": check, "on_unhealthy": "move", "min_healthy": 2, "slow_start": 30}
    others |= {"announce_when": "all"}
    assert others.keys() == Service.__dataclass_fields__.keys()
    for name, value in others.items():
        after = Config("eth0", services=(replace(one, **{name: value}),))
        assert compare(config(web(1)), after).steps != [], name
    options: dict[str, Any] = {
        "weight": 2,
        "state": "disabled",
        "mac": "52:54:00:00:00:0b",
        "mtu": 1400,
        "backup": True,
        "held": True,
        "configured_weight": 3,
    }
    assert {"address", *options} == Backend.__dataclass_fields__.keys()
    for name, value in options.items():
        changed = replace(one.backends[0], **{name: value})
        after = Config("eth0", services=(replace(one, backends=(changed,)),))
        assert compare(config(web(1)), after).steps != [], name


def test_what_an_empty_interface_gets() -> None:
    assert changes.additions(config(web(1, 2), web(name="other", port=81))) == Changes(
        ["other: added with 0 backends, new flows are dropped", "web: added with 2 backends"]
    )


def test_a_small_share_is_not_nothing() -> None:
    before = config(web(*(backend(number, weight=255) for number in range(1, 255))))
    after = config(web(*(backend(number, weight=255) for number in range(1, 255)), backend(255)))
    (move,) = compare(before, after).moves
    assert move.slots
    assert 0 < move.new_flows_percent < 0.1
    assert "less than 0.1 % of new flows move" in compare(before, after).steps[0]


MOVES = {
    "by slots": (
        config(web(1, 2)),
        config(web(1, 2, 3)),
        Move("web", 21851, 65537, 33.341, 0),
    ),
    "under jhash": (
        config(web(1, 2, scheduler="jhash")),
        config(web(1, backend(2, state="disabled"), scheduler="jhash")),
        Move("web", 256, 512, 50.0, 10),
    ),
    "by chance, where another hash leads to the slots": (
        config(web(1, 2, flow_table=False)),
        config(web(1, backend(2, weight=3), flow_table=False, affinity="source")),
        Move("web", None, 65537, 50.0, None),
    ),
}


@pytest.mark.parametrize("before, after, move", MOVES.values(), ids=MOVES)
def test_moves(before: Config, after: Config, move: Move) -> None:
    assert compare(before, after).moves == [move]


# What of the host is otherwise than at the last run.

MAC, OTHER, BRIDGE = (f"02:00:00:00:00:0{last}" for last in "123")


def source(mac: str = MAC, **receivers: Any) -> Ingress:
    return Ingress(None, mac, receivers=Receivers(**receivers))


WAS = source(macs=(BRIDGE,), by_vlan={0: 3}, by_mac={BRIDGE: 3})
OWN = f"own MAC addresses: {MAC}, {BRIDGE}"
DEVICES = "other devices receive what comes in by eth0"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        pytest.param(WAS, [], id="nothing"),
        pytest.param(
            replace(WAS, mac=OTHER), [f"{OWN} -> {OTHER}, {BRIDGE}"], id="another address"
        ),
        pytest.param(
            source(by_vlan={0: 2}), [f"{OWN} -> {MAC}", DEVICES], id="no port of a bridge any more"
        ),
        pytest.param(
            source(macs=(BRIDGE,), by_vlan={0: 3, 100: 4}, by_mac={BRIDGE: 3}),
            [DEVICES],
            id="a VLAN more",
        ),
        pytest.param(
            source(macs=(BRIDGE,), by_vlan={0: 3}, by_mac={BRIDGE: 4}), [DEVICES], id="made anew"
        ),
        pytest.param(
            source(macs=(BRIDGE, OTHER), by_vlan={0: 3}, by_mac={BRIDGE: 3, OTHER: 4}),
            [f"{OWN} -> {MAC}, {OTHER}, {BRIDGE}"],
            id="a macvlan more",
        ),
    ],
)
def test_what_an_interface_has_otherwise(now: Ingress, words: list[str]) -> None:
    assert changes.outdated(config(web(1)), WAS, now) == words


def test_another_mtu_counts_where_a_mac_is_given() -> None:
    """Else the data plane follows it by itself."""
    now = replace(WAS, mtu=1400)
    assert changes.outdated(config(web(1)), WAS, now) == []
    for wanted in (config(web(1), gateway_mac=OTHER), config(web(backend(1, mac=OTHER)))):
        assert changes.outdated(wanted, WAS, now) == ["MTU of eth0: 1500 -> 1400"]
        assert changes.outdated(wanted, WAS, WAS) == []
