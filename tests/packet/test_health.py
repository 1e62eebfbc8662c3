# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on backends, carried out one after the other on maps that packets use."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict

from tests.packet.generator import verdict
from tests.packet.harness import VIP, Balancer, backends
from tests.packet.packets import ACK, SYN, frame, tcp

EVENTS = 1000
SERVICES: list[dict[str, Any]] = [
    {
        "name": f"s{number}",
        "address": VIP,
        "port": number,
        "protocol": "tcp",
        "scheduler": "maglev" if number == 3 else "jhash",
        "flow_table": number % 2 == 0,
        "check": {"type": "tcp"},
        "min_healthy": ["50%", 1, 0][number % 3],
        "backends": [
            {**one, "weight": 1 + place % 3, "backup": place > 9}
            for place, one in enumerate(backends(12))
        ],
    }
    for number in range(1, 7)
]
Event = tuple[str, Address, "Verdict | None"]
"""What is found about a backend of a service; None: it is healthy."""


def what_happens(rng: random.Random) -> list[list[Event]]:
    """By backend, what happens to it one after the other."""
    places = [
        (service["name"], ip_address(one["address"]))
        for service in SERVICES
        for one in service["backends"]
    ]
    events: dict[tuple[str, Address], list[Event]] = {place: [] for place in places}
    for _each in range(EVENTS):
        place = rng.choice(places)
        events[place].append((*place, verdict(rng) if rng.random() < 0.6 else None))
    return list(events.values())


def shuffled(rng: random.Random, lines: list[list[Event]]) -> Iterator[list[Event]]:
    """In any order that leaves each backend's own, several at a time, as a balancer may see it."""
    order = [line for line in lines for _event in line]
    rng.shuffle(order)
    left = {id(line): line[::-1] for line in lines}
    while order:
        count = rng.randint(1, 20)
        yield [left[id(line)].pop() for line in order[:count]]
        del order[:count]


def test_balancers_agree_in_whatever_order_they_learn_it(
    shipped: Balancer, filling: Balancer, rng: random.Random
) -> None:
    """A thousand events; and all the time the maps are what a deploy would write."""
    lines = what_happens(rng)
    found = []
    for balancer in (shipped, filling):
        balancer.configure(*SERVICES)
        known: dict[str, dict[Address, Verdict]] = {one["name"]: {} for one in SERVICES}
        for events in shuffled(rng, lines):
            for name, address, said in events:
                known[name].pop(address, None)
                if said:
                    known[name][address] = said
            balancer.hear({name: dict(known[name]) for name, _address, _said in events})
            assert balancer.differences() == []
        frames = [
            frame(tcp(source_port=port, port=1 + port % 6, flags=flags), destination=VIP)
            for port in range(2000, 2500)
            for flags in (SYN, ACK)
        ]
        balancer.send_all(frames)
        balancer.check()
        found.append((known, balancer.choices()))
    assert found[0] == found[1]
    known, choices = found[0]
    assert any(known.values())
    balancer.hear({name: {} for name in known})
    assert balancer.choices() != choices
