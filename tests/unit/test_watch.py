# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When backends are checked, and how balancers follow; the kernel's part is a stand-in here."""

from __future__ import annotations

import asyncio
import gc
import selectors
import socket
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.journal import Journal
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import (
    Answer,
    CannotProbe,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.watch import Watch
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.check import Check
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Address, Service
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import (
    NOT_CHECKED,
    Verdict,
    Verdicts,
)

pytestmark = pytest.mark.timeout(60)
GOOD = Answer(True, True, "", 0.0)
SILENT = Answer(False, False, "timeout after 1 s", 0.0)
INTERVAL = 0.1


def manifest(
    count: int,
    verdicts: Mapping[str, Verdicts] | None = None,
    services: Sequence[str] = ("web",),
    **check: Any,
) -> Manifest:
    """Of these services, each with as many backends: 10.0.0.1 and so on."""
    check = {"type": "tcp", "via": "address", "interval": INTERVAL, "timeout": 0.05, **check}
    backends = [{"address": f"10.0.0.{n}"} for n in range(1, count + 1)]
    web = {"address": "192.0.2.1", "protocol": "tcp", "check": check, "backends": backends}
    listed = [{**web, "name": name, "port": port} for port, name in enumerate(services, 80)]
    config = parse_config({"interface": "eth0", "services": listed})
    return Manifest(config, verdicts=verdicts or {})


class Kernel:
    """Stands in for a judge."""

    def __init__(self, state: Manifest) -> None:
        self.state = state
        self.busy = 0
        self.orders: list[Mapping[str, Verdicts]] = []

    def look(self) -> Manifest:
        return self.state

    def follow(self, verdicts: Mapping[str, Verdicts]) -> Manifest:
        if self.busy:
            self.busy -= 1
            raise HostError("another run is busy")
        self.orders.append(verdicts)
        self.state = self.state.judged(verdicts)
        return self.state


class Scene:
    """A watch over a kernel, with backends that answer as they are told."""

    def __init__(self, state: Manifest) -> None:
        self.kernel = Kernel(state)
        self.lines: list[str] = []
        self.answers: dict[Address, Answer | Exception] = {}
        self.asked: Counter[Address] = Counter()
        self.watch = Watch(self.kernel, self.probe, Journal(self.lines.append))  # type: ignore[arg-type]

    async def probe(self, _service: Service, _check: Check, address: Address) -> Answer:
        self.asked[address] += 1
        answer = self.answers.get(address, GOOD)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.005)

    async def until_said(self, words: str) -> None:
        await self.until(lambda: any(words in line for line in self.lines))

    @property
    def unhealthy(self) -> set[str]:
        return {str(one) for one in self.kernel.state.verdicts.get("web", {})}


ONE, TWO = ip_address("10.0.0.1"), ip_address("10.0.0.2")


def play(scene: Scene, act: Callable[[Scene], Any]) -> None:
    async def both() -> None:
        scene.watch.look()
        try:
            await act(scene)
        finally:
            await scene.watch.close()

    asyncio.run(both())


def test_a_backend_that_fails_and_returns() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[ONE] = SILENT
        await scene.until(lambda: scene.unhealthy == {"10.0.0.1"})
        assert scene.kernel.state.verdicts["web"][ONE].reason == "timeout after 1 s"
        scene.answers[ONE] = GOOD
        await scene.until(lambda: not scene.unhealthy)
        assert scene.watch.counts() == (3, 0)

    scene = Scene(manifest(3))
    play(scene, act)
    assert scene.lines == [
        "web: 10.0.0.1 is unhealthy: timeout after 1 s",
        "web: 10.0.0.1 is healthy again",
    ]


def test_failures_of_one_moment_are_one_order() -> None:
    async def act(scene: Scene) -> None:
        scene.answers.update(
            dict.fromkeys((ip_address(f"10.0.0.{n}") for n in range(1, 41)), SILENT)
        )
        await scene.until(lambda: len(scene.unhealthy) == 40)

    scene = Scene(manifest(40, fall=1))
    play(scene, act)
    assert len(scene.kernel.orders) < 40


def test_checks_are_spread_over_the_interval() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(0)
        await scene.until(lambda: scene.asked)
        assert len(scene.asked) < 5
        await scene.until(lambda: len(scene.asked) == 10)

    play(Scene(manifest(10, interval=2)), act)


def test_verdicts_that_are_there_are_taken_over() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[ONE] = SILENT
        await scene.until(lambda: scene.asked[ONE] > 4)
        assert not scene.kernel.orders
        scene.answers[ONE] = GOOD
        await scene.until(lambda: not scene.unhealthy)

    play(Scene(manifest(2, {"web": {ONE: Verdict(False, "refused", 7)}})), act)


def test_what_cannot_be_checked_keeps_its_verdict_and_is_an_alarm() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[ONE] = CannotProbe("no route to 192.0.2.1")
        await scene.until(lambda: scene.asked[ONE] > 6)
        scene.answers[ONE] = GOOD
        await scene.until(lambda: scene.asked[ONE] > 8)
        assert not scene.kernel.orders

    scene = Scene(manifest(2))
    play(scene, act)
    assert scene.lines == [
        "web: not all backends can be checked: 10.0.0.1: no route to 192.0.2.1",
        "web: not all backends can be checked: over",
    ]


def test_most_backends_of_several_services_at_once_are_an_alarm() -> None:
    """It names the balancer, and ends with what it is about."""

    async def act(scene: Scene) -> None:
        scene.answers = dict.fromkeys(map(ip_address, ("10.0.0.1", "10.0.0.2")), SILENT)
        await scene.until_said("at once")
        (said,) = [line for line in scene.lines if "at once" in line]
        assert f"due to {socket.gethostname()} (eth0): mail, web" in said
        scene.answers.clear()
        await scene.until(lambda: any(line.endswith(": over") for line in scene.lines))

    play(Scene(manifest(3, services=("web", "mail"))), act)


def test_the_alarm_comes_while_verdicts_cannot_be_carried_out() -> None:
    async def act(scene: Scene) -> None:
        scene.kernel.busy = 1_000_000
        scene.answers = dict.fromkeys((ONE, TWO), SILENT)
        await scene.until_said("verdicts cannot be carried out")
        assert not any("at once" in line for line in scene.lines)
        await scene.until_said("at once")

    play(Scene(manifest(3, services=("web", "mail"), interval=1, fall=1)), act)


def test_the_alarm_ends_with_what_is_deployed_no_more() -> None:
    async def act(scene: Scene) -> None:
        scene.answers = dict.fromkeys(map(ip_address, ("10.0.0.1", "10.0.0.2")), SILENT)
        await scene.until_said("at once")
        state = scene.kernel.state
        scene.kernel.state = replace(manifest(1, services=("web", "mail")), verdicts=state.verdicts)
        scene.watch.look()
        assert scene.lines[-1].endswith(": over")

    play(Scene(manifest(3, services=("web", "mail"))), act)


@pytest.mark.parametrize(
    ("services", "count", "apart"),
    [
        pytest.param(("web",), 3, False, id="one service"),
        pytest.param(("web", "mail"), 1, False, id="one backend"),
        pytest.param(("web", "mail"), 3, True, id="one after the other"),
    ],
)
def test_what_is_no_such_alarm(services: tuple[str, ...], count: int, apart: bool) -> None:
    async def act(scene: Scene) -> None:
        for number in range(1, count + 1):
            scene.answers[ip_address(f"10.0.0.{number}")] = SILENT
            if apart:
                await scene.until_said(f"10.0.0.{number} is unhealthy")
                await asyncio.sleep(2 * INTERVAL)
        await scene.until(lambda: len(scene.unhealthy) == count)
        await asyncio.sleep(INTERVAL)
        assert not any("at once" in line for line in scene.lines)

    play(Scene(manifest(count, services=services)), act)


class Hurry(asyncio.SelectorEventLoop):
    """Where nothing is to be waited for but time, it passes at once."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = selectors.SelectSelector()
        select = selector.select

        def hurry(timeout: float | None = None) -> list[Any]:
            self.now += timeout or 0
            return select(0)

        selector.select = hurry  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def test_hours_of_flaps_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four hours in which all backends fail and return again and again, two at other times than the
    others, while deploys add one and take it away."""
    loop = Hurry()
    monkeypatch.setattr(time, "monotonic", loop.time)
    scene = Scene(manifest(8, interval=4, timeout=1))
    first, more = scene.kernel.state, manifest(9, interval=4, timeout=1)
    everyone = [backend.address for backend in more.config.services[0].backends]

    async def hours() -> list[int]:
        scene.watch.look()
        sizes = []
        for minute in range(240):
            bad = everyone if minute % 2 else everyone[:2]
            scene.answers = {} if minute % 5 == 4 else dict.fromkeys(bad, SILENT)
            deployed = more if minute % 7 == 6 else first
            verdicts = scene.kernel.state.verdicts
            scene.kernel.state = replace(deployed, verdicts=verdicts)
            scene.watch.look()
            await asyncio.sleep(60)
            if minute % 60 == 59:
                scene.kernel.orders.clear()
                scene.lines.clear()
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        await scene.watch.close()
        return sizes

    tracemalloc.start()
    try:
        after_one, *_others, after_four = loop.run_until_complete(hours())
    finally:
        tracemalloc.stop()
        loop.close()
    assert scene.asked[everyone[0]] > 3500
    assert after_four - after_one < 4096, "bytes"


def test_a_run_that_holds_the_lock_delays_a_verdict_and_no_more() -> None:
    async def act(scene: Scene) -> None:
        scene.kernel.busy = 3
        scene.answers[ONE] = SILENT
        await scene.until(lambda: scene.unhealthy == {"10.0.0.1"})

    play(Scene(manifest(2)), act)


def test_a_deploy_keeps_what_is_known_of_backends_that_stay() -> None:
    async def act(scene: Scene) -> None:
        scene.answers[ONE] = SILENT
        await scene.until(lambda: scene.unhealthy == {"10.0.0.1"})
        # what a run does: it keeps verdicts
        scene.kernel.state = manifest(3, scene.kernel.state.verdicts, fall=5)
        scene.watch.look()
        await scene.until(lambda: scene.asked[ip_address("10.0.0.3")] > 1)
        assert scene.unhealthy == {"10.0.0.1"}
        scene.answers[ONE] = GOOD
        await scene.until(lambda: not scene.unhealthy)
        scene.kernel.state = manifest(1)
        scene.watch.look()
        asked = scene.asked[TWO]
        await asyncio.sleep(3 * INTERVAL)
        assert scene.asked[TWO] == asked
        assert scene.watch.counts() == (1, 0)

    play(Scene(manifest(2)), act)


def test_a_backend_that_went_and_came_between_two_looks() -> None:
    """To the run that added it, it was new; the agent has never missed it."""

    async def act(scene: Scene) -> None:
        scene.answers[TWO] = SILENT
        await scene.until(lambda: scene.unhealthy == {"10.0.0.2"} and scene.asked[ONE] > 1)
        new = Verdict(True, NOT_CHECKED, 7)
        scene.kernel.state = manifest(2, {"web": {ONE: new, TWO: new}})
        scene.watch.look()
        await scene.until(lambda: scene.unhealthy == {"10.0.0.2"})
        assert scene.kernel.state.verdicts["web"][TWO].reason == "timeout after 1 s"
        orders = len(scene.kernel.orders)
        scene.watch.look()
        await scene.until(lambda: scene.asked[TWO] > 6)
        assert len(scene.kernel.orders) == orders

    play(Scene(manifest(2)), act)


def test_a_service_without_a_check_is_left_alone() -> None:
    state = manifest(2)
    (web,) = state.config.services
    bare = parse_config(
        {
            "interface": "eth0",
            "services": [{**web.options, "check": None, "backends": [{"address": "10.0.0.1"}]}],
        }
    )

    async def act(scene: Scene) -> None:
        await asyncio.sleep(2 * INTERVAL)
        assert not scene.asked

    play(Scene(Manifest(bare)), act)
