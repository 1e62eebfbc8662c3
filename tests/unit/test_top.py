# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What l4lb top shows, and what its keys change; on a terminal and without one."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.main import main
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.screen import drawing
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.screen.look import (
    BACKSPACE,
    DOWN,
    END,
    ENTER,
    ESCAPE,
    HOME,
    PAGE_DOWN,
    PAGE_UP,
    SORTS,
    UP,
    Look,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.screen.rows import (
    Drop,
    Sample,
    sample,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import COLUMNS, width

from tests.terminal import terminal

CHECKOUT = Path(__file__).resolve().parents[2]
CLOCK = "12:00:00"
PAGE = 10


def backend(number: int, rate: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "address": f"203.0.113.{number}",
        "weight": 1,
        "state": "enabled",
        "held": False,
        "packets": 1000 * number,
        "bytes": 64000 * number,
        "packets_per_second": rate,
        "bits_per_second": rate * 512,
        **more,
    }


def service(name: str, *backends: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "backends": [*backends], **more}


def facts(*services: dict[str, Any], **drops: int) -> dict[str, Any]:
    return {"eth0": {"mode": "native", "services": [*services], "drops": drops}}


NOW = 1_000_000.0
BAD: dict[str, Any] = {
    "healthy": False,
    "reason": "connection refused",
    "unhealthy_since": NOW - 300,
}
WEB = service(
    "web", backend(21, 10, healthy=True), backend(22, 30, **BAD), backend(9, 20, healthy=True)
)
DNS = service("dns", backend(24, 40), backend(25, state="drained", held=True))
SEEN = sample(facts(WEB, DNS, no_neighbour=30, fragment=5), facts(no_neighbour=10), 2.0, now=NOW)


def shown(look: Look, seen: Sample = SEEN) -> list[str]:
    """The last number of each backend, in order."""
    return [row.backend.rpartition(".")[2] for row in look.chosen(seen.rows)]


# What is seen


def test_states_are_told_with_their_reasons() -> None:
    assert [row.state for row in SEEN.rows] == [
        "healthy",
        "unhealthy for 5 m: connection refused",
        "healthy",
        "enabled",
        "drained held",
    ]
    assert [row.bad for row in SEEN.rows] == [False, True, False, False, False]
    partly = service("web", backend(1, healthy=True, share_percent=40))
    (row,) = sample(facts(partly), {}, 1.0).rows
    assert row.state == "healthy, 40 % of its share"
    both = service("web", backend(1, **{**BAD, "state": "drained", "held": True}))
    (row,) = sample(facts(both), {}, 1.0, now=NOW).rows
    assert row.state == "drained held, unhealthy for 5 m: connection refused"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59, "59 s"), (60, "1 m"), (7200, "2 h"), (259200, "3 d")]
)
def test_durations(seconds: float, told: str) -> None:
    bad = service("web", backend(1, **{**BAD, "unhealthy_since": NOW - seconds}))
    (row,) = sample(facts(bad), {}, 1.0, now=NOW).rows
    assert row.state.startswith(f"unhealthy for {told}: ")


def test_drops_have_rates() -> None:
    """Those that were not seen before have none: who knows since when they are."""
    assert SEEN.drops == [Drop("eth0", "no_neighbour", 30, 10.0), Drop("eth0", "fragment", 5, 0.0)]
    again = sample(facts(WEB, no_neighbour=3), facts(no_neighbour=30), 1.0)
    assert again.drops == [Drop("eth0", "no_neighbour", 3, 0.0)], "counters began anew"


def test_services_that_fail_open_are_a_problem() -> None:
    seen = sample(facts({**WEB, "fails_open": True}), {}, 1.0, ["eth1: not attached"])
    assert seen.problems == [
        "eth1: not attached",
        "web on eth0: too few backends are healthy, so all are used",
    ]


# How it is looked at


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("rate", "24 22 9 21 25"),
        ("bits", "24 22 9 21 25"),
        ("packets", "25 24 22 21 9"),
        ("service", "24 25 21 22 9"),
        ("backend", "9 21 22 24 25"),
        ("state", "22 25 24 21 9"),
    ],
)
def test_sorting(sort: str, order: str) -> None:
    assert shown(Look(sort)) == order.split()
    first = {"service": "21", "state": "21"}.get(sort, order.split()[-1])
    assert shown(Look(sort, reverse=True))[0] == first, "equal ones stay as they are"


def test_every_sort_is_tested() -> None:
    assert [*SORTS] == ["rate", "bits", "packets", "service", "backend", "state"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("WEB", "22 9 21"), ("113.2", "24 22 21 25"), ("unhealthy", "22"), ("held", "25"), ("x", "")],
)
def test_filtering(text: str, found: str) -> None:
    assert shown(Look(filter=text)) == found.split()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["q"], Look(done=True)),
        (["s"], Look("bits")),
        (["s"] * len(SORTS), Look()),
        (["r"], Look(reverse=True)),
        (["r", "r"], Look()),
        (["/", "q", "s"], Look(filter="qs", typing=True)),
        (["/", "a", ENTER, "q"], Look(filter="a", done=True)),
        (["/", "a", BACKSPACE, BACKSPACE, "b", ENTER], Look(filter="b")),
        (["/", "a", ESCAPE], Look()),
        (["/", "a", ENTER, ESCAPE], Look()),
        (["/", DOWN, "\t", "a"], Look(filter="a", typing=True)),
        ([DOWN, DOWN, UP], Look(first=1)),
        ([UP], Look()),
        ([PAGE_DOWN, PAGE_DOWN, PAGE_UP, DOWN], Look(first=PAGE + 1)),
        ([DOWN, HOME], Look()),
        ([DOWN, "s"], Look("bits")),
        (["x", "é"], Look()),
    ],
)
def test_keys(keys: list[str], expected: Look) -> None:
    look = Look()
    for key in keys:
        look = look.pressed(key, PAGE)
    assert look == expected


def test_nobody_scrolls_beyond_the_end() -> None:
    assert Look().pressed(END, PAGE).within(25, PAGE).first == 15
    assert Look(first=20).within(5, PAGE).first == 0


# How it is drawn


def test_all_of_it_as_text() -> None:
    assert drawing.text(SEEN, Look(), CLOCK) == [
        "12:00:00 eth0 (native): 100 pps, 51200 bit/s; 1 of 5 unhealthy",
        "drops: no_neighbour 10/s (30), fragment 0/s (5)",
        "SERVICE BACKEND             PPS   BIT/S   PACKETS STATE",
        "dns     203.0.113.24         40   20480     24000 enabled",
        "web     203.0.113.22         30   15360     22000 unhealthy for 5 m: connection refused",
        "web     203.0.113.9          20   10240      9000 healthy",
        "web     203.0.113.21         10    5120     21000 healthy",
        "dns     203.0.113.25          0       0     25000 drained held",
    ]


def test_the_page_shows_it() -> None:
    block = "\n".join(drawing.text(SEEN, Look(), CLOCK))
    assert f"```text\n{block}\n```\n" in (CHECKOUT / "docs/looking.md").read_text()


def test_nothing_to_see() -> None:
    assert drawing.text(Sample(), Look(), CLOCK) == [
        "12:00:00 no balancer: 0 pps, 0 bit/s",
        "drops: none",
        "This host does not balance.",
    ]
    gone = Sample(problems=["no balancer is attached to eth0; l4lb restore brings it back"])
    assert drawing.text(gone, Look(), CLOCK)[1:] == [*gone.problems, "drops: none"]


def test_interfaces_are_told_apart() -> None:
    found = {"eth0": facts(WEB, fragment=1)["eth0"], "eth1": facts(DNS, fragment=2)["eth0"]}
    lines = drawing.text(sample(found, {}, 1.0), Look(), CLOCK)
    assert lines[0].startswith("12:00:00 eth0 (native), eth1 (native): ")
    assert lines[1] == "drops: fragment 0/s (2) on eth1, fragment 0/s (1) on eth0"
    assert lines[3].startswith("dns eth1 203.0.113.24 ")


@pytest.mark.parametrize("height", [1, 2, 3, 6, 24])
@pytest.mark.parametrize("columns", [1, 20, COLUMNS, 200])
def test_a_screen_is_filled_and_no_more(height: int, columns: int) -> None:
    hostile = service("\x1b[2J<b>" + "網" * 9, *(backend(n, n) for n in range(50)))
    seen = sample(facts(hostile, fragment=1), {}, 1.0, ["oh\nno\x9b"] * 9)
    lines, look, page = drawing.screen(seen, Look(first=1000), CLOCK, columns, height)
    assert len(lines) == height
    assert look.first == 50 - page
    assert all(line.text.isprintable() and width(line.text) < columns for line in lines)


def test_many_problems_leave_room_for_rows() -> None:
    seen = sample(facts(WEB), {}, 1.0, [f"problem {number}" for number in range(9)])
    lines, _look, page = drawing.screen(seen, Look(), CLOCK, COLUMNS, 12)
    assert lines[3].text == "... 7 more problems"
    assert page == 12 - 5 - 2


def test_large_numbers_fit() -> None:
    busy = service("web", backend(1, 123_456_789.0, packets=98_765_432_101_234))
    (line,) = drawing.text(sample(facts(busy), {}, 1.0), Look(), CLOCK)[3:]
    assert line == "web     203.0.113.1       123 M 63209 M   98765 G enabled"


# On a terminal

PROGRAM = """
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.screen import terminal
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.screen.look import Look
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.screen.rows import Row, Sample

rows = [
    Row("eth0", "gr\\xf6\\xdfe", f"203.0.113.{number}", "enabled", packet_rate=number)
    for number in range(1, 101)
]
rows.append(Row("eth0", "web", "203.0.113.200", "unhealthy: connection refused", bad=True))
assert terminal.is_there()
terminal.show(lambda: Sample(rows, modes={"eth0": "native"}), 0.05, Look())
"""


def running(**environment: str) -> Any:
    """More rows than a terminal has room for."""
    path = ":".join(filter(None, sys.path))
    given = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": path, **environment}
    return terminal([sys.executable, "-c", PROGRAM], given)


def test_on_a_terminal() -> None:
    """Keys, a new size, and the end."""
    with running() as there:
        lines = there.until(lambda lines: "1-20 of 101" in lines[-1])
        assert lines[3].split()[:2] == ["größe", "203.0.113.100"]
        assert lines[-1].endswith("sorted by rate   q quit  s sort  r reverse  / filter")
        there.press("r")
        lines = there.until(lambda lines: "reversed by rate" in lines[-1])
        assert lines[3].split()[:2] == ["web", "203.0.113.200"]
        there.press("\x1b[6~")
        there.until(lambda lines: "21-40 of 101" in lines[-1])
        there.press("\x1bOB")
        there.until(lambda lines: "22-41 of 101" in lines[-1])
        there.press("/un")
        there.until(lambda lines: lines[-1].startswith("only rows with: un_"))
        there.press("healthy\r")
        there.until(lambda lines: "1-1 of 1," in lines[-1] and "connection refused" in lines[4])
        there.press("\x1b")
        there.until(lambda lines: "1-20 of 101" in lines[-1])
        there.resize(10, 50)
        lines = there.until(lambda lines: "1-6 of 101" in lines[-1])
        assert max(map(len, lines)) < 50
        there.press("q")
        assert there.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_left_as_it_was(number: signal.Signals) -> None:
    with running() as there:
        there.until(lambda lines: "of 101" in lines[-1])
        assert not there.echoes
        there.process.send_signal(number)
        assert there.end() == 128 + number
        assert there.echoes


def test_a_terminal_that_has_ascii_only() -> None:
    with running(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0") as there:
        lines = there.until(lambda lines: "of 101" in lines[-1])
        assert lines[3].startswith("gr\\xf6\\xdfe   203.0.113.100 ")
        there.press("q")
        assert there.end() == 0


def test_an_interval_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("1", ["top", "--interval", "0"]) == 1
    assert capsys.readouterr().err == "l4lb: --interval: 0.0: top needs more than 0 seconds\n"
