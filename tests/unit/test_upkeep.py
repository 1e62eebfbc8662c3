# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the agent looks after balancers, what it does then, and what it says; what a look finds is
a stand-in here."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent import record as records
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent import upkeep
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.journal import Journal
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.record import Record, read
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.upkeep import Upkeep
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import (
    BusyError,
    HostError,
    L4lbError,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import lock
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations import repair
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.repair import Found

pytestmark = pytest.mark.timeout(60)
STATE, LATER = (7, 70), (7, 71)
WELL = Found(STATE, STATE, "native")
GONE = replace(WELL, mode=None, detached=("eth0",))
BACK = replace(WELL, repaired=("attach the program to eth0, mode auto",))
SET = "set net.ipv4.conf.lo.forwarding to 1"
AGAIN = "eth0 lost its program again, which is left so"


def heard(*looks: tuple[float, Found]) -> Record:
    """A record after looks at these moments, and whether each was to attach what had gone."""
    record = Record()
    for now, found in looks:
        record.hear(found, record.attaches(now), now, 1000 + now)
        record.looked(None, now, 0.1)
    return record


def test_a_program_is_left_for_a_while() -> None:
    record = heard((0, WELL), (5, GONE))
    assert (
        record.problem == "eth0 lost its program; it is attached again if nobody does within 10 s"
    )
    assert not record.attaches(14.9)
    assert not record.is_due(None, 14.9)
    assert record.is_due(None, 15) and record.attaches(15)


ONCE = ((0, WELL), (5, GONE), (15, BACK))


def test_it_is_attached_again_once() -> None:
    record = heard(*ONCE)
    assert (record.problem, record.repairs, record.at) == ("", 1, 1015)
    assert record.done == "attach the program to eth0, mode auto"
    record = heard(*ONCE, (20, GONE), (31, GONE), (300, GONE))
    assert record.problem.startswith(AGAIN)
    assert not record.attaches(1000)


def test_a_pause_lasts() -> None:
    """However long, and whatever was before."""
    paused = replace(GONE, paused=True, detached=())
    record = heard(*ONCE, *((20.0 + hour * 3600, paused) for hour in range(100)))
    assert not record.attaches(1e6)
    assert (record.problem, record.repairs) == ("", 1)


ENDS = {
    "a deploy": (30, Found(LATER, LATER, "native")),
    "a pause": (30, replace(GONE, paused=True, detached=())),
    "somebody who attaches it": (30, WELL),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_somebody_sees_to_it(end: tuple[float, Found]) -> None:
    record = heard(*ONCE, (20, GONE), end)
    assert record.problem == ""
    state = end[1].state
    gone = replace(GONE, state=state, before=state)
    record.hear(gone, False, 40, 1040)
    assert "within 10 s" in record.problem
    assert record.attaches(50)


def test_its_own_repairs_end_nothing() -> None:
    """As they make another state, too."""
    moved = Found(LATER, STATE, "native", repaired=("MTU of eth0: 1500 -> 1400",))
    gone = replace(GONE, state=LATER, before=LATER)
    assert heard(*ONCE, (20, moved), (30, gone)).problem.startswith(AGAIN)


def test_a_program_that_cannot_be_attached() -> None:
    record = heard((0, WELL), (5, GONE))
    record.fail("native: no room", attached=True)
    record.hear(GONE, False, 16, 1016)
    assert record.problem == (
        "eth0 lost its program, and could not get it back: native: no room; run l4lb restore"
    )
    assert not record.attaches(100)


def test_what_an_agent_that_was_killed_knew() -> None:
    record = heard(*ONCE, (20, GONE))
    (loaded,) = read(_noted(record), 5)[1].values()
    assert loaded.dump() == record.dump()
    loaded.hear(GONE, loaded.attaches(3), 3, 2003)
    assert loaded.problem.startswith(AGAIN)
    for text in (b"", b"{", b"[]", b"null", b'{"since": 1, "balancers": {"eth0": {}}}'):
        assert read(text, 5) == (5, {})


def _noted(record: Record) -> bytes:
    return json.dumps({"since": 1, "balancers": {"eth0": record.dump()}}).encode()


def test_it_looks_when_something_changes_but_not_all_the_time() -> None:
    record = Record()
    assert record.is_due("a", 100)
    record.looked("a", 100, seconds=0.5)
    assert not record.is_due("a", 111)
    assert not record.is_due("b", 109)  # 5 % of a CPU
    assert record.is_due("b", 111)
    assert record.is_due("a", 160)
    record.wait(160)
    assert not record.is_due("b", 161)


def test_what_is_said() -> None:
    known = {"eth0": (heard(*ONCE, (20, GONE)), 900.0)}
    (line,) = records.troubles(known)
    assert line.startswith(f"eth0 is not as it should be: {AGAIN}")
    (line,) = records.lines(known)
    assert line.startswith("The agent has repaired eth0 once since ")
    assert line.endswith(": attach the program to eth0, mode auto")
    assert [*records.troubles({"eth0": (heard((0, WELL)), 900.0)})] == []
    assert [*records.lines({"eth0": (heard((0, WELL)), 900.0)})] == []


# The loop


class Heard:
    """Stands in for what the kernel tells."""

    def __init__(self) -> None:
        self.socket, self.kernel = socket.socketpair()
        self.socket.setblocking(False)

    def heard(self) -> bool:
        return bool(self.socket.recv(1))


class Scene:
    """An agent that looks after eth0, whose looks find what they are told."""

    def __init__(self, paths: Paths, held: lock.Held, changes: Heard) -> None:
        self.paths, self.changes = paths, changes
        self.lines: list[str] = []
        self.finds = WELL
        self.problem: L4lbError | None = None
        self.looks: list[tuple[str, bool, str | None]] = []
        self.upkeep = Upkeep(Journal(self.lines.append), held, paths, self.look)

    def look(self, interface: str, attach: bool, mode: str | None) -> tuple[Found, float]:
        self.looks.append((interface, attach, mode))
        if self.problem:
            raise self.problem
        return self.finds, 0.0

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.005)

    def plays(self, story: Callable[[], Awaitable[None]]) -> None:
        """While the agent is at work."""

        async def both() -> None:
            at_work = asyncio.create_task(self.upkeep.run())
            await story()
            at_work.cancel()

        asyncio.run(both())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    paths = Paths(run=tmp_path / "run", etc=tmp_path / "etc", sysctl=tmp_path / "sys")
    changes = Heard()
    monkeypatch.setattr(upkeep.here, "balancing", lambda: ["eth0"])
    monkeypatch.setattr(upkeep.neighbours, "changes", lambda: changes)
    monkeypatch.setattr(upkeep.rtnetlink, "links", list)
    monkeypatch.setattr(upkeep, "_PAUSE", 0.01)
    with lock.of_agent(paths) as held:
        yield Scene(paths, held, changes)


def test_it_looks_when_it_hears_something(scene: Scene) -> None:
    async def story() -> None:
        await scene.until(lambda: scene.looks)
        await asyncio.sleep(0.1)
        assert scene.looks == [("eth0", False, None)]
        scene.finds = replace(WELL, repaired=(SET,))
        scene.changes.kernel.send(b"!")
        await scene.until(lambda: scene.lines)
        assert scene.looks == [("eth0", False, None), ("eth0", False, "native")]

    scene.plays(story)
    (line,) = scene.lines
    assert line == f"eth0 was found otherwise than it was left, and repaired: {SET}"


def test_what_is_wrong_is_said_once_and_when_it_is_over(scene: Scene) -> None:
    async def story() -> None:
        for finds in (replace(WELL, problem="it is"), replace(WELL, problem="it is"), WELL):
            seen, scene.finds = len(scene.looks), finds
            scene.changes.kernel.send(b"!")
            await scene.until(lambda seen=seen: len(scene.looks) > seen)  # type: ignore[misc]
            await asyncio.sleep(0.05)

    scene.plays(story)
    trouble = "eth0 is not as it should be"
    assert scene.lines == [f"{trouble}: it is", f"{trouble}: over"]


def test_another_run_is_let_alone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_BUSY", 0.05)

    async def story() -> None:
        scene.problem = BusyError("held")
        await scene.until(lambda: len(scene.looks) > 1)
        scene.problem = HostError("no root")
        await scene.until(lambda: scene.lines)

    scene.plays(story)
    assert scene.lines == ["eth0 is not as it should be: no root"]


def test_others_see_what_it_knows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is there, and has the balancer."""
    names = ["eth0"]
    monkeypatch.setattr(upkeep.here, "balancing", lambda: names)

    def known() -> dict[str, str]:
        return {name: one.problem for name, (one, _since) in records.noted(scene.paths).items()}

    async def story() -> None:
        scene.finds = replace(WELL, problem="it is")
        await scene.until(lambda: known() == {"eth0": "it is"})
        names.clear()
        await scene.until(lambda: known() == {})

    scene.plays(story)
    assert scene.lines[-1] == "eth0 is not as it should be: over"


def test_next_hops_of_both_families_have_an_order() -> None:
    """The kernel forgets all of them when a link was down."""
    hops = {(2, ip_address(one)) for one in ("2001:db8:2::21", "203.0.113.21", "203.0.113.22")}
    seen = SimpleNamespace(missing=SimpleNamespace(hops=hops))
    plan = SimpleNamespace(steps=[repair.KEEP_RESOLVED])
    told = repair._told(seen, plan)  # type: ignore[arg-type]
    assert told == ["have the kernel keep 203.0.113.21, 203.0.113.22, 2001:db8:2::21 resolved"]
