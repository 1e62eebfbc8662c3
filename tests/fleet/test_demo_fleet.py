# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo of a fleet, as someone runs it who has just cloned the repository, without the upgrade,
which is in bgp/test_upgrading.py; and its first act without BFD, in the same laboratory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from lab.fleet.acts import CUT
from lab.fleet.laboratory import WEB, Fleet
from lab.fleet.load import Load
from lab.host import CHECKOUT
from tests.fleet.rig.demo import assert_nothing_left, assert_shows, call, inodes, suggested

# Of this test run alone: other checkouts may be testing at the same time.
NAME = f"f{os.getpid()}"
DEMO = (".venv/bin/python", "-m", "lab.fleet")
DETECTION = 0.9
"""Seconds after which BFD notices: 300 ms x 3."""
HOLD_TIME = 3
ROW = re.compile(r"^(\S.*?) +(\d+\.\d) s +(\d+\.\d\d) s +(\d+) +(\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(NAME)
    yield fleet
    networks = inodes(fleet.lab) if fleet.lab.is_up else set()
    cleaned = call(NAME, *DEMO, "--clean")
    assert cleaned.stdout == f"{NAME}: down\n"
    assert_nothing_left(fleet.lab, networks)


@pytest.fixture(scope="module")
def shown(fleet: Fleet) -> str:
    """What it prints. The exit code says that clients noticed no more than they should."""
    done = call(fleet.lab.name, *DEMO, "--quick")
    assert done.returncode == 0, done.stdout
    print(done.stdout)
    return done.stdout


def acts(shown: str) -> list[tuple[float, int, int]]:
    """Of each: seconds until the last connection went on, connections lost, requests failed."""
    rows = ROW.findall(shown)
    return [(float(on), int(lost), int(failed)) for _title, _took, on, lost, failed in rows]


def test_nothing_is_lost_until_all_servers_are_gone(shown: str) -> None:
    *harmless, stop, start = acts(shown)
    assert [(lost, failed) for _on, lost, failed in harmless] == [(0, 0)] * 3
    # of another service, whose servers are well
    assert stop[1] == start[1] == 0
    assert stop[2] > 0
    assert re.search(r"^ +\d+ .*(unreachable|No route)", shown, re.MULTILINE)


def test_an_outage_shows(shown: str) -> None:
    """As long as BFD takes to notice, and TCP to try again."""
    on = acts(shown)[0][0]
    print(f"went on after {on} s, {on / DETECTION:.1f} times what BFD takes")
    assert DETECTION / 2 < on < 10 * DETECTION


def test_the_page_shows_what_it_prints(shown: str) -> None:
    assert_shows(CHECKOUT / "docs/fleet.md", "A CLIENT", shown, but="xdp.l4lb.upgrade")


def test_what_to_try_next_works(shown: str) -> None:
    commands = suggested(shown)
    assert commands.pop() == "make demo-clean"
    outputs = [call(NAME, "sh", "-c", command) for command in commands]
    assert [each.returncode for each in outputs] == [0] * len(commands), outputs
    route, known, sessions, request, out, back, verified, page, withdrawn, status, announced = (
        each.stdout for each in outputs
    )
    assert route.count("nexthop via") == 3
    assert known.count(f"{WEB[0]}/32") == 1 and known.count(" [lb") == 12
    assert len(re.findall(r" Up ", sessions)) == 6
    assert re.fullmatch(r"web[1-6]\n", request)
    for output in (out, back):
        assert len(re.findall(r"changed=1 ", output)) == 1, output
    assert "failed=0" in verified
    assert "failed=0" in page
    assert withdrawn.count("is withdrawn") == 4
    assert f"{WEB[0]} is not announced: withdrawn by the operator" in status
    assert announced.count("is announced") == 4


@pytest.mark.usefixtures("shown")
def test_without_bfd_the_hold_time_ends(fleet: Fleet) -> None:
    """It takes longer, and nothing is lost either."""
    fleet.deploy("bgp.yml", bgp_bfd=False, bgp_hold_time=HOLD_TIME)
    fleet.until_spread()
    with Load(fleet.host("client")) as load:
        took, noticed = CUT.play(fleet, load)
    print(f"route moved after {took:.1f} s, the last went on after {noticed.standstill:.1f} s")
    assert (noticed.lost, noticed.failed) == ({}, {})
    # a keepalive each third of it
    assert noticed.standstill > HOLD_TIME / 2
