# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a wait for a drain ends, by a clock of its own."""

from __future__ import annotations

import itertools
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, Callable, cast

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils import drain
from ansible_collections.xdp.l4lb.plugins.module_utils.drain import Watch, wait_until_quiet

KEY = (ip_address("192.0.2.10"), 80, "tcp")
Sent = Callable[[float], "int | None"]
"""Seconds since the start -> packets so far; None if no more can be sent."""


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(drain, "time", clock)
    return clock


def watch(
    clock: Clock,
    sent: Sent,
    silences: list[float] | None,
    cost: float = 0.0,
    interface: str = "eth0",
) -> Watch:
    """cost: seconds that a sample takes."""

    def packets() -> dict[Any, int]:
        clock.sleep(cost)
        count = sent(clock.now - 1000.0)
        return {} if count is None else {KEY: count}

    return cast(
        Watch,
        SimpleNamespace(
            balancer=SimpleNamespace(interface=interface),
            packets=packets,
            silences=lambda: {KEY: silences},
        ),
    )


def until(end: float) -> Sent:
    """Ten packets a second until then."""
    return lambda now: int(10 * min(now, end))


def nothing(_now: float) -> int:
    return 7


@pytest.mark.parametrize(
    ("sent", "silences", "seconds", "quiet"),
    [
        pytest.param(nothing, [], 0, True, id="no flows"),
        pytest.param(nothing, [60.0, 10.0], 0, True, id="quiet before"),
        pytest.param(nothing, [60.0, 4.0], 6, True, id="quiet for a while"),
        pytest.param(nothing, None, 10, True, id="who knows"),
        pytest.param(until(5), [0.0], 15, True, id="until it ends"),
        pytest.param(until(9999), [0.0], 30, False, id="never"),
        pytest.param(until(25), [0.0], 30, False, id="not in time"),
        pytest.param(lambda _now: None, [0.0], 0, True, id="dead"),
        pytest.param(lambda now: 7 if now < 3 else None, [0.0], 3, True, id="dies"),
    ],
)
def test_a_wait_ends(
    clock: Clock, sent: Sent, silences: list[float] | None, seconds: float, quiet: bool
) -> None:
    waited = wait_until_quiet([watch(clock, sent, silences)], 10, 30)
    assert waited.quiet == quiet
    assert waited.seconds == clock.now - 1000.0
    assert waited.seconds == pytest.approx(seconds, abs=0.3)


def test_it_returns_at_once_from_what_is_quiet(clock: Clock) -> None:
    assert wait_until_quiet([watch(clock, nothing, [])], 10, 30).seconds == 0
    assert wait_until_quiet([], 10, 30).quiet


def test_all_of_them_must_be_quiet(clock: Clock) -> None:
    watches = [
        watch(clock, nothing, []),
        watch(clock, until(5), [0.0], interface="eth1"),
        watch(clock, lambda _now: None, [], interface="eth2"),
    ]
    assert wait_until_quiet(watches, 10, 30).seconds == pytest.approx(15, abs=0.3)


def test_reachable_again_counts_as_a_packet(clock: Clock) -> None:
    """While another service still sends, one may be dead and come back."""
    other = watch(clock, until(4), [0.0], interface="eth1")
    flapping = watch(clock, lambda now: None if now < 8 else 7, [])
    assert wait_until_quiet([other, flapping], 10, 30).seconds == pytest.approx(18, abs=0.3)


def test_costly_samples_are_rare(clock: Clock) -> None:
    samples = itertools.count()
    costly = watch(clock, lambda _now: 7 * next(samples), [0.0], cost=1.0)
    assert not wait_until_quiet([costly], 10, 100).quiet
    assert next(samples) <= 12
