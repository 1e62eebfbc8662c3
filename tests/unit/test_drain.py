# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a wait for a drain ends, by a clock of its own."""

from __future__ import annotations

import itertools
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, Callable, cast

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.flows import Silences
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations import drain
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.drain import (
    Watch,
    wait_until_quiet,
)

KEY = (ip_address("192.0.2.10"), 80, "tcp")
Sent = Callable[[float], "int | None"]
"""Seconds since the start -> packets so far; None if no more can be sent."""
Flows = Callable[[float], "Silences | None"]
"""Seconds since the start -> what the flow table knows; None if there is none."""


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
    flows: Flows,
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
            silences=lambda: {KEY: flows(clock.now - 1000.0)},
        ),
    )


def until(end: float) -> Sent:
    """Ten packets a second until then."""
    return lambda now: int(10 * min(now, end))


def nothing(_now: float) -> int:
    return 7


def busy(end: float) -> Flows:
    """An established flow that sends something until then."""
    return lambda now: Silences([max(0.0, now - end)])


def silent(*seconds: float) -> Flows:
    """Established flows that have sent nothing for so long, and go on doing so."""
    return lambda now: Silences([before + now for before in seconds])


def unknown(_now: float) -> None:
    return None


def handshake(end: float) -> Flows:
    """A flow whose first packet came just before, another after a second, and more until then."""
    return lambda now: Silences([], [now]) if now < 1 else Silences([max(0.0, now - end)])


def attempt(now: float) -> Silences:
    """Somebody sends packets, far apart from each other, of flows that are none."""
    return Silences([60.0 + now], [now % 10, 30.0 + now])


@pytest.mark.parametrize(
    ("sent", "flows", "seconds", "quiet"),
    [
        pytest.param(nothing, silent(), 0, True, id="no flows"),
        pytest.param(nothing, silent(60.0, 10.0), 0, True, id="quiet before"),
        pytest.param(nothing, silent(60.0, 4.0), 6, True, id="quiet for a while"),
        pytest.param(nothing, unknown, 10, True, id="who knows"),
        pytest.param(until(5), unknown, 15, True, id="who knows, until it ends"),
        pytest.param(until(5), busy(5), 15, True, id="until it ends"),
        pytest.param(until(9999), busy(9999), 30, False, id="never"),
        pytest.param(until(25), busy(25), 30, False, id="not in time"),
        pytest.param(until(7), handshake(7), 17, True, id="a handshake"),
        pytest.param(until(9999), attempt, 5, True, id="packets of no flow"),
        pytest.param(until(9999), silent(8.0), 2, True, id="ICMP errors"),
        pytest.param(lambda _now: None, busy(9999), 0, True, id="dead"),
        pytest.param(lambda now: 7 if now < 3 else None, busy(9999), 3, True, id="dies"),
    ],
)
def test_a_wait_ends(clock: Clock, sent: Sent, flows: Flows, seconds: float, quiet: bool) -> None:
    waited = wait_until_quiet([watch(clock, sent, flows)], 10, 30)
    assert waited.quiet == quiet
    assert waited.seconds == clock.now - 1000.0
    assert waited.seconds == pytest.approx(seconds, abs=0.3)


def test_one_forged_packet_now_and_then_holds_nothing_up(clock: Clock) -> None:
    """However short the time that a backend shall be quiet, or long."""
    for quiet in (1, 5, 10, 600):
        begun = clock.now
        forged = watch(clock, lambda now: int(now / 10), attempt)
        assert wait_until_quiet([forged], quiet, 3600).quiet
        assert clock.now - begun <= 5.3 or quiet == 600


def test_it_returns_at_once_from_what_is_quiet(clock: Clock) -> None:
    assert wait_until_quiet([watch(clock, nothing, silent())], 10, 30).seconds == 0
    assert wait_until_quiet([], 10, 30).quiet


def test_all_of_them_must_be_quiet(clock: Clock) -> None:
    watches = [
        watch(clock, nothing, silent()),
        watch(clock, until(5), busy(5), interface="eth1"),
        watch(clock, lambda _now: None, busy(9999), interface="eth2"),
    ]
    assert wait_until_quiet(watches, 10, 30).seconds == pytest.approx(15, abs=0.3)


def test_reachable_again_counts_as_a_packet(clock: Clock) -> None:
    """While another service still sends, one may be dead and come back."""
    other = watch(clock, until(4), busy(4), interface="eth1")
    flapping = watch(clock, lambda now: None if now < 8 else 7, silent())
    assert wait_until_quiet([other, flapping], 10, 30).seconds == pytest.approx(18, abs=0.3)


def test_costly_samples_are_rare(clock: Clock) -> None:
    samples = itertools.count()
    costly = watch(clock, lambda _now: 7 * next(samples), busy(9999), cost=1.0)
    assert not wait_until_quiet([costly], 10, 100).quiet
    assert next(samples) <= 12
