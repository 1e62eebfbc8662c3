# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about a fleet in a browser, on a telephone and on a desk, in the light and the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.rig.browser import PROGRAM, Browser, browser
from tests.unit.test_fleet import answer, facts, fleet, web
from tests.unit.test_report import HOSTILE, rendered, timed

LONG = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
WIDTHS = (360, 390, 800, 1000, 1100, 1280, 1920)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With hostile names, and addresses as long as they get."""
    if not Path(PROGRAM).exists():
        pytest.skip(f"cannot run here: there is no {PROGRAM} (tools/setup browser)")
    found = facts()
    web(found)["name"] = HOSTILE
    web(found)["backends"][0].update(address=LONG, healthy=False, reason=HOSTILE)
    found["drops"].update(fragment=5)
    found["versions"]["kernel"] = "6.12.90+deb13.1-cloud-amd64"
    results = timed({**fleet(), "balancer-4.example.com": answer({"eth0": found})})
    file = tmp_path_factory.mktemp("report") / "fleet.html"
    file.write_text(rendered({**results, HOSTILE: {"unreachable": True, "msg": HOSTILE}}))
    with browser() as page:
        page.look_at(1280)
        page.open(file.as_uri())
        page.until(lambda: page.evaluate("document.readyState") == "complete")
        yield page


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(shown: Browser, width: int) -> None:
    """At the right edge, and in cells whose content is wider than they are."""
    shown.look_at(width, dark=width % 20 == 0)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    outside = """[...document.querySelectorAll("th, td, h2, p, li, svg")]
        .filter(one => one.getClientRects().length)
        .filter(one => one.getBoundingClientRect().right > innerWidth)
        .map(one => one.textContent)"""
    assert shown.evaluate(outside) == []


def test_bars_can_be_seen(shown: Browser) -> None:
    widths = '[...document.querySelectorAll("svg")].map(one => one.getBoundingClientRect().width)'
    for width in WIDTHS:
        shown.look_at(width)
        assert min(shown.evaluate(widths)) > 40


def test_the_dark_is_dark(shown: Browser) -> None:
    colours = set()
    for dark in (False, True):
        shown.look_at(1280, dark)
        colours.add(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def test_it_is_text_and_nothing_else(shown: Browser) -> None:
    shown.look_at(1280)
    assert HOSTILE.partition("{")[0] in shown.text()
    assert shown.errors == []
    assert [one for one in shown.requests if not one.startswith("file:")] == []


def test_who_cannot_see_bars_is_told(shown: Browser) -> None:
    shown.look_at(1280)
    assert any("% of packets," in name for _role, name in shown.named())
