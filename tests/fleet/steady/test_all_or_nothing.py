# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that fails, or is killed, wherever that strikes it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, leftovers, traces
from tests.fleet.rig.clients import SEED, THOROUGH, traffic
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import OTHER_VIP, WEB, background, echoes, second, wanted
from tests.fleet.there import accidents, strikes
from tests.fleet.there.strikes import FAILED, KILLED, SURVIVED, UNHURT

HOW = ["fails", "late", "interrupted", "killed"]


def checked(how: str, found: list[Any]) -> list[Any]:
    """After a failure all is as it was before, or done, if somebody pressed Ctrl-C at the end; and
    in any case the next run completes what is left. These calls are all that there are."""
    for at, status, message, changed, repaired, again, *_times in found:
        harm = {KILLED} if how == "killed" else {FAILED, SURVIVED}
        assert status in {UNHURT, *harm}, (at, status, message)
        if status == FAILED:
            assert message
            done = how == "interrupted" and repaired.get("steps") == []
            assert done or changed == {}, (at, message)
        assert "error" not in repaired, (at, message, repaired)
        assert again.get("steps") == [], (at, message, again)
    outcomes = Counter(status for _at, status, *_rest in found)
    print(f"{len(found)} calls, {outcomes[FAILED]} failed, {outcomes[SURVIVED]} survived")
    assert outcomes[UNHURT] == 1
    return found


def struck(
    host: Host,
    how: str,
    *configs: dict[str, Any],
    calls: Iterable[int],
    weights: Iterable[int] = (),
    anew: bool = False,
) -> list[Any]:
    """Apply these in turns, or give web2 these weights, and be struck at these calls into the
    kernel; anew: on a host without a balancer."""
    found = python(
        host,
        strikes.changes,
        how=how,
        configs=configs,
        calls=list(calls),
        orders=[{"address": WEB["web2"], "weight": weight} for weight in weights],
        anew=anew,
    )
    return checked(how, found)


def sampled(every: int, thoroughly: int = 1) -> Iterable[int]:
    """The numbers of some calls, others each time. thoroughly: which part is taken instead where
    time does not matter."""
    print(f"seed {SEED}")
    step = thoroughly if THOROUGH else every
    return range(1 + random.Random(SEED).randrange(step), 1000, step)


@pytest.mark.parametrize("how", HOW)
def test_a_change_is_struck(lab: Lab, lb1: Host, how: str) -> None:
    configs = [
        wanted(*echoes("web1", "web2", "web3", web3={"weight": 5})),
        wanted(*echoes(*WEB), {**background(random.Random(1), 3), "scheduler": "maglev"}),
    ]
    apply(lb1, configs[1])
    with traffic(lab) as running:
        found = struck(lb1, how, *configs, calls=sampled(6))
        running.taken += [(start, end, {"web4"}) for *_outcome, start, end in found]
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("how", HOW)
def test_a_change_of_the_mode_is_struck(lb1: Host, how: str) -> None:
    """And of the backends in the same run."""
    configs = [
        wanted(*echoes("web1", "web2"), mode="generic"),
        wanted(*echoes("web3", "web4"), mode="native"),
    ]
    apply(lb1, configs[1])
    struck(lb1, how, *configs, calls=sampled(6))
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("how", HOW)
def test_an_order_for_two_interfaces_is_struck(lab: Lab, lb1: Host, how: str) -> None:
    """Both are changed, or none."""
    apply(lb1, wanted(*echoes(*WEB)), second(*WEB))
    with traffic(lab), traffic(lab, OTHER_VIP):
        struck(lb1, how, calls=sampled(24), weights=[2, 3])
    assert leftovers(lb1, "eth0", "eth1") == []


@pytest.mark.parametrize("how", HOW)
def test_a_removal_is_struck(lab: Lab, lb1: Host, how: str) -> None:
    """Beside another balancer. Where none is there after it one must be made first."""
    apply(lb1, wanted(*echoes("web1", "web2")), second("web2", "web3"))
    calls = sampled(48, thoroughly=10) if how == "killed" else sampled(12)
    keep = wanted(*echoes("web1", "web2"))
    with traffic(lab, OTHER_VIP):
        found = python(lb1, strikes.removals, how=how, keep=keep, calls=list(calls))
    checked(how, found)
    assert leftovers(lb1, "eth1") == []


# Where a program is compiled each time, not every call is struck even then.


@pytest.mark.parametrize("how", ["fails", "killed"])
def test_a_replacement_is_struck(lb1: Host, how: str) -> None:
    """With other features, another mode and other backends."""
    configs = [
        wanted(*echoes("web1", "web2", encapsulation="gue"), mode="generic"),
        wanted(*echoes("web2", "web3"), mode="native"),
    ]
    apply(lb1, configs[1])
    struck(lb1, how, *configs, calls=sampled(60, thoroughly=12))
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("how", ["fails", "killed"])
def test_a_first_run_is_struck(lb1: Host, how: str) -> None:
    struck(lb1, how, wanted(*echoes("web1", "web2")), calls=sampled(60, thoroughly=12), anew=True)
    assert traces(lb1) == []


def test_kills_at_any_moment(lab: Lab, lb1: Host) -> None:
    """Changes and replacements alike; traffic goes on, and the next run repairs what is left."""
    print(f"seed {SEED}")
    changes = [wanted(*echoes(*WEB, web3={"weight": n})) for n in range(1, 60 if THOROUGH else 20)]
    others = [{"scheduler": "jhash"}, {"encapsulation": "gue"}, {}]
    replacements = [wanted(*echoes(*WEB, **others[n % 3])) for n in range(12 if THOROUGH else 4)]
    apply(lb1, wanted(*echoes(*WEB)))
    with traffic(lab) as running:
        for configs in (changes, replacements):
            done = python(lb1, accidents.killed_at_any_moment, configs=configs, seed=SEED)
            print(f"{sum(killed for killed, *_rest in done)} of {len(done)} killed")
            for killed, repaired, again in done:
                assert "error" not in repaired, repaired
                assert killed or repaired["steps"] == []
                assert again["steps"] == []
    assert running.connections.broken == {}
    assert leftovers(lb1, "eth0") == []
