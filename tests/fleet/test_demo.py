# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo, as someone runs it who has just cloned the repository: what it shows is true, what it
suggests works, and nothing is left of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from lab import Lab
from lab.host import CHECKOUT
from tests.fleet.rig.demo import (
    assert_nothing_left,
    assert_shows,
    call,
    environment,
    inodes,
    suggested,
)
from tests.interruptible import interruptible

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = CHECKOUT / "lab/demo"
SEED = CHECKOUT / "lab/demo.d/seed.yml"
FRAME = 74  # what hping3 sends, 54 bytes, and the outer header

ROW = re.compile(
    r"  (?P<label>\S+) +(?P<packets>\d+) pkts \( +(?P<pps>\d+) pps \)"
    r" +(?P<kbytes>\d+) Kbytes \( +(?P<mbits>\d+) Mbits/s \)"
)
# Of this test run alone: other checkouts may be testing at the same time.
NAME = f"d{os.getpid()}"


def flooding(lab: Lab) -> bool:
    """Whether hping3 runs in its client."""
    for pid in lab.host("client").others():
        with contextlib.suppress(OSError):  # ended meanwhile
            if Path(f"/proc/{pid}/comm").read_text() == "hping3\n":
                return True
    return False


@pytest.fixture(scope="module")
def shown() -> Iterator[str]:
    """What the demo prints, run where one was before; and the end of it."""
    lab = Lab(NAME)
    lab.up()
    done = call(lab.name, DEMO)
    try:
        assert done.returncode == 0, done.stdout
        yield done.stdout
        networks = inodes(lab)
    finally:
        cleaned = call(lab.name, DEMO, "clean")
    assert cleaned.stdout == f"{lab.name}: down\n"
    assert_nothing_left(lab, networks)


def tables(shown: str) -> list[list[dict[str, str]]]:
    """The rows of every table."""
    result: list[list[dict[str, str]]] = []
    for line in shown.splitlines():
        if re.match(r"  \S+ on eth0 \(native\), 192\.0\.2\.10 tcp ", line):
            result.append([])
        elif row := ROW.fullmatch(line):
            result[-1].append(row.groupdict())
    return result


def test_readme_shows_what_it_prints(shown: str) -> None:
    assert_shows(CHECKOUT / "README.md", "A CLIENT", shown)


def answers(shown: str) -> list[dict[str, int]]:
    """Who answered how many of a thousand requests, each time."""
    blocks = shown.split("  who answered\n")[1:]
    rows = (re.findall(r"^ +(\d+) (web\d|in all)$", block, re.M) for block in blocks)
    return [{name: int(number) for number, name in found} for found in rows]


def test_every_server_answers(shown: str) -> None:
    first, _without, again = answers(shown)
    for found in (first, again):
        assert found.pop("in all") == 1000
        assert found.keys() == {"web1", "web2", "web3", "web4"}
        assert sum(found.values()) == 1000
        # Four shares of 250 by chance, with a standard deviation of 14.
        assert all(170 < number < 330 for number in found.values())


def test_nobody_misses_a_server_that_is_dead(shown: str) -> None:
    _first, without, _again = answers(shown)
    assert without.pop("in all") == 1000
    assert without.keys() == {"web1", "web3", "web4"}
    assert all(230 < number < 430 for number in without.values())


def test_totals_agree(shown: str) -> None:
    assert len(tables(shown)) == 3
    for *rows, total in tables(shown):
        assert total["label"] == "total"
        assert int(total["packets"]) == sum(int(row["packets"]) for row in rows)
        assert 0 <= int(total["pps"]) - sum(int(row["pps"]) for row in rows) < len(rows) + 1
        assert all(int(row["pps"]) > 0 for row in rows)


def test_both_balancers_serve_four(shown: str) -> None:
    expected = ["203.0.113.21", "203.0.113.22", "203.0.113.23", "203.0.113.24", "total"]
    for table in tables(shown)[:2]:
        assert [row["label"] for row in table] == expected


def test_the_scenario_it_started_from(shown: str) -> None:
    table = tables(shown)[2]
    backends = yaml.safe_load(SEED.read_text())["l4lb_services"][0]["backends"]
    assert len(backends) == 32
    assert [row["label"] for row in table] == [*(each["address"] for each in backends), "total"]
    for row in table:
        assert int(row["kbytes"]) == int(row["packets"]) * FRAME // 1000
    shares = [int(row["packets"]) for row in table[:-1]]
    assert min(shares) > 0.7 * max(shares)


def test_what_prometheus_is_told_agrees_with_the_client(shown: str) -> None:
    block = shown.partition("\n  packets\n")[2]
    rows = re.findall(r"^ +(\d+) (.*)$", block, re.M)
    sent, lb1, lb2, both = (int(number) for number, _name in rows[:4])
    assert [name for _number, name in rows[1:3]] == [
        f"l4lb_service_packets_total of {name}" for name in ("lb1", "lb2")
    ]
    assert sent == both == lb1 + lb2
    assert sent > 4000
    assert min(lb1, lb2) > sent / 3


def test_steps_are_timed(shown: str) -> None:
    assert len(re.findall(r"^\S.* +\d+\.\d s$", shown, re.M)) == 20
    assert re.search(r"^Done in \d+ s\.", shown, re.M)


@pytest.mark.usefixtures("shown")
def test_the_flood_has_nowhere_to_go() -> None:
    lab = Lab(NAME)
    router = lab.host("router")
    for family in ("-4", "-6"):
        assert router.run(["ip", family, "route", "show", "default"]).stdout == ""
    assert not flooding(lab)


def test_what_to_try_next_works(shown: str) -> None:
    commands = suggested(shown)
    assert commands.pop() == "make demo-clean"
    outputs = [call(NAME, "sh", "-c", command, typed="hostname\n") for command in commands]
    assert [each.returncode for each in outputs] == [0] * 11, outputs
    assert not any("WARNING" in each.stdout for each in outputs), outputs
    request, _stopped, status, _started, page, metrics, facts, _edited, check, deploy, shell = (
        each.stdout for each in outputs
    )
    assert re.fullmatch(r"web[1-4]\n", request)
    assert status.startswith("web on eth0"), status
    assert page == "http://127.0.0.1:9942/ is lb1's until Enter is pressed\n"
    assert 'l4lb_attached{interface="eth0"} 1\n' in metrics
    assert facts.count("name: web") == 2
    assert facts.count("address: 203.0.113.2") == 8
    for output in (check, deploy):
        assert len(re.findall(r"changed=1 ", output)) == 2, output
    line = r"^{}  - \{{address: 203\.0\.113\.2\d, weight: {}, state: enabled\}}$"
    for sign, weight in (("-", 1), (r"\+", 3)):
        assert re.search(line.format(sign, weight), check, re.M), check
    assert "lb1" in shell


def test_an_interrupted_demo_leaves_no_flood() -> None:
    lab = Lab(f"i{NAME}")
    with interruptible(
        [str(DEMO)],
        cwd=CHECKOUT,
        env=environment(lab.name),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as demo:
        while not lab.is_up or not flooding(lab):
            assert demo.poll() is None
            time.sleep(0.05)
        # What the terminal does at Ctrl-C.
        os.killpg(demo.pid, signal.SIGINT)
        demo.communicate()
    assert demo.returncode == 130
    assert not flooding(lab)
    networks = inodes(lab)
    assert call(lab.name, DEMO, "clean").returncode == 0
    assert_nothing_left(lab, networks)
