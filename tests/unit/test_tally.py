# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From answers to verdicts: a backend that fails, returns, and flaps."""

from __future__ import annotations

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import Answer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.tally import Tally
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.check import Check
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict

CHECK = Check("tcp", "address", 80, interval=2.0, rise=2, fall=3)
CLOCK = 1_000_000.0
KINDS = {
    "+": Answer(True, True, "", 0.0),
    "a": Answer(False, True, "HTTP 503", 0.0),
    "s": Answer(False, False, "timeout after 1 s", 0.0),
}


def hear(tally: Tally, kinds: str, start: float = 0.0) -> str:
    """A letter after each answer, one an interval: h healthy, A unhealthy though it answers, S
    silent; upper case where packets notice a change, as told by `Tally.hear`."""
    found = ""
    for turn, kind in enumerate(kinds):
        now = start + turn * CHECK.interval
        changed = tally.hear(KINDS[kind], now, CLOCK + now)
        verdict = tally.verdict
        letter = "h" if verdict is None else "a" if verdict.answered else "s"
        found += letter.upper() if changed else letter
    return found


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("+++", "hhh"),
        ("sss", "hhS"),
        ("aaa", "hhA"),
        ("ss+sss", "hhhhhS"),
        ("ssa", "hhA"),
        ("ass", "hhA"),
        ("assss", "hhASs"),
        ("aaasss", "hhAaaS"),
        ("sssa", "hhSA"),
        ("sssasss", "hhSAaaS"),
        ("sss+s++", "hhSsssH"),
        ("sss++", "hhSsH"),
    ],
)
def test_verdicts(kinds: str, expected: str) -> None:
    assert hear(Tally(CHECK), kinds) == expected


def test_what_is_taken_over_needs_fresh_answers_to_change() -> None:
    down = Tally(CHECK, Verdict(False, "timeout after 1 s", 7))
    assert hear(down, "s+s++") == "ssssH"
    assert hear(Tally(CHECK, None), "ss") == "hh"


def test_a_verdict_says_why_and_since_when() -> None:
    tally = Tally(CHECK)
    hear(tally, "sss")
    assert tally.verdict == Verdict(False, "timeout after 1 s", int(CLOCK + 4))
    hear(tally, "a", start=100)
    assert tally.verdict == Verdict(True, "HTTP 503", int(CLOCK + 4))


def test_who_flaps_is_held_back_longer_each_time_up_to_a_minute() -> None:
    tally, now, waits = Tally(CHECK), 0.0, []
    for _failure in range(7):
        hear(tally, "sss", now)
        now += 3 * CHECK.interval
        turns = 0
        while tally.verdict:
            turns += 1
            hear(tally, "+", now)
            now += CHECK.interval
        waits.append((turns - 1) * CHECK.interval)
    assert waits == [2.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert tally.flaps(now)
    assert not tally.flaps(now + 601.0)
    hear(tally, "sss++", now + 700.0)
    assert tally.verdict is None


def test_a_share_grows_in_steps() -> None:
    tally = Tally(CHECK, slow_start=20)
    hear(tally, "sss++")
    shares = []
    for turn in range(5, 17):
        shares.append(tally.verdict.share if tally.verdict else 100)
        hear(tally, "+", turn * CHECK.interval)
    assert shares == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100, 100]


def test_who_fails_while_its_share_grows_is_unhealthy_again() -> None:
    tally = Tally(CHECK, slow_start=20)
    hear(tally, "sss++++")
    assert tally.verdict and tally.verdict.share == 30
    assert not tally.is_unhealthy
    hear(tally, "sss", 7 * CHECK.interval)
    assert tally.is_unhealthy


def test_after_a_restart_a_share_goes_on_to_grow() -> None:
    tally = Tally(CHECK, Verdict(True, "", 0, share=90), slow_start=20)
    hear(tally, "++", 100.0)
    assert tally.verdict is None
    hear(quick := Tally(CHECK, Verdict(True, "", 0, share=90)), "+", 100.0)
    assert quick.verdict is None
