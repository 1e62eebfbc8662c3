# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of the tunnel: who has which, and that no answer counts without one. That packets get
where they should is shown in tests/packet/test_probe.py and tests/fleet/test_probes.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes import tunnel as tunnels
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import CannotProbe
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.prober import Prober
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.tunnel import Tunnel
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.probe_record import (
    NO_PROBE,
    PROBE_SIZE,
    REFUSALS,
    Count,
    pack_probe,
)

from tests.backends import check, hang, tcp

ROOM = 8
ROUTER = "the backend is behind a router, which l2 cannot pass"


@dataclass
class Program:
    """As much of the real one as is asked for."""

    room: int = ROOM
    records: dict[int, bytes] = field(default_factory=dict)
    written: int = 0
    counts: dict[int, Count] = field(default_factory=dict)

    def write(self, records: Mapping[int, bytes]) -> None:
        self.records.update(records)
        self.written += len(records)

    def erase(self, index: int) -> None:
        del self.records[index]

    def count(self, index: int) -> Count:
        return self.counts.get(index, Count(0, 0, 0))


def record(number: int, interface: int = 3) -> tuple[bytes, int]:
    return bytes([number]) * 64, interface


def opened() -> tuple[Tunnel, Program]:
    program: Any = Program()
    return Tunnel(program), program


def test_each_has_a_record_of_its_own_and_keeps_it() -> None:
    tunnel, program = opened()
    first = tunnel.place({"a": record(1), "b": record(2)})
    assert program.records == {
        first["a"]: pack_probe(*record(1)),
        first["b"]: pack_probe(*record(2)),
    }
    again = tunnel.place({"c": record(3), "b": record(2), "a": record(1)})
    assert {**again, **first} == again
    assert len({*again.values()}) == 3
    assert program.written == 3, "what stays as it is is not written again"


def test_a_record_that_changes() -> None:
    tunnel, program = opened()
    index = tunnel.place({"a": record(1)})["a"]
    assert tunnel.place({"a": record(2, 4)}) == {"a": index}
    assert program.records == {index: pack_probe(*record(2, 4))}


def test_whose_record_is_gone_has_none_and_it_is_long_until_another_has_it() -> None:
    """A packet that is late must not get to somebody else."""
    tunnel, program = opened()
    used = []
    for number in range(ROOM):
        (index,) = tunnel.place({number: record(number)}).values()
        used.append(index)
        assert [*program.records] == [index]
    assert len({*used}) == ROOM
    assert tunnel.place({}) == {}
    assert program.records == {}


def test_there_is_room_for_as_many_as_it_was_made_for() -> None:
    tunnel, program = opened()
    tunnel.place({number: record(number) for number in range(3)})
    all_of_them = {number: record(number) for number in range(1, ROOM + 1)}
    assert sorted(tunnel.place(all_of_them).values()) == [*range(ROOM)]
    with pytest.raises(L4lbError, match="room for 8 backends, not 9"):
        tunnel.place({**all_of_them, "one more": record(9)})
    assert len(program.records) == ROOM


def test_the_size_of_no_record() -> None:
    assert len(NO_PROBE) == PROBE_SIZE == len(pack_probe(*record(1)))


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (Count(6, 0, 0), None),
        (Count(5, 0, 0), "no packet came to the tunnel"),
        (Count(5, 1, REFUSALS.index(ROUTER)), ROUTER),
    ],
)
def test_no_answer_counts_whose_question_was_not_sent(after: Count, reason: str | None) -> None:
    """Though somebody has answered: that was some other backend."""
    if os.geteuid():
        pytest.skip("cannot run here: such priorities take root")
    tunnel, program = opened()
    index = tunnel.place({"a": record(1)})["a"]
    program.counts[index] = Count(5, 0, 0)

    async def trial() -> str | None:
        prober = Prober(tunnel=tunnel)
        try:
            async with tcp(hang) as backend:
                task = asyncio.ensure_future(
                    prober.probe(check("tcp", expect="x", timeout=0.2), replace(backend, index=0))
                )
                await asyncio.sleep(0.05)
                program.counts[index] = after
                await task
        except CannotProbe as e:
            return e.reason
        finally:
            prober.close()
        return None

    while (found := asyncio.run(trial())) and "late by" in found:  # a busy machine
        program.counts[index] = Count(5, 0, 0)
    assert found == reason


def test_without_a_tunnel() -> None:
    async def trial() -> None:
        prober = Prober()
        try:
            async with tcp(hang) as backend:
                await prober.probe(check("tcp"), replace(backend, index=0))
        finally:
            prober.close()

    with pytest.raises(CannotProbe, match="there is no tunnel"):
        asyncio.run(trial())


@pytest.mark.parametrize(
    ("encapsulation", "service", "backend", "size"),
    [("ipip", 4, 4, 1440), ("gue", 6, 6, 1392), ("gre", 4, 6, 1416), ("l2", 6, 4, 1440)],
)
def test_segments_that_need_no_fragments(
    encapsulation: str, service: int, backend: int, size: int
) -> None:
    assert tunnels.segment_size(1500, encapsulation, service, backend) == size


def test_problems_in_words() -> None:
    one, two, three = map(ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::1"))
    assert tunnels.told({one: "gone", two: "no route", three: "gone"}) == [
        "gone (192.0.2.1, 2001:db8::1)",
        "no route (192.0.2.2)",
    ]
