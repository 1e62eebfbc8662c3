# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page in a real browser, on a balancer at work."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from lab import Lab
from lab.host import CHECKOUT, Host
from lab.traffic.requests import Requests
from tests.fleet.page.conftest import (
    LONG,
    PAGE,
    QUOTES,
    REASON,
    SERVICES,
    TAGS,
    start_agent,
    status,
)
from tests.fleet.rig.browser import Browser
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.readme import blocks
from tests.fleet.rig.services import VIP, WEB

DOCUMENTED = (CHECKOUT / "docs/status-page.md").read_text()
WRITTEN = {
    r'plain("a\u202eb\nc")': r"a\u{202e}b\u{a}c",
    'plain("<b>é名")': "<b>é名",
    "scaled(null)": "\u2013",
    "scaled(0)": "0",
    "scaled(0.34)": "0.3",
    "scaled(999)": "999",
    "scaled(999.9)": "1.0\u202fk",
    "scaled(12345678)": "12\u202fM",
    "grouped(1234567)": "1\u202f234\u202f567",
    "ago(59)": "59 s",
    "ago(900)": "15 min",
    "ago(90000)": "25 h",
}
"""What the page's own functions say."""
CONTRAST = """
(() => {
    const light = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map((one) => one / 255)
            .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        const color = getComputedStyle(one).backgroundColor;
        return color === "rgba(0, 0, 0, 0)" ? behind(one.parentElement) : color;
    };
    const texts = [...document.querySelectorAll("body *")].filter((one) =>
        one.getClientRects().length && one.namespaceURI.endsWith("xhtml") &&
        [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
    return texts.map((one) => {
        const both = [light(getComputedStyle(one).color), light(behind(one))].sort();
        return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), one.textContent];
    }).filter(([ratio]) => ratio < 4.5);
})()
"""
"""Texts that are hard to read: WCAG 2.2, 1.4.3."""


def focused(page: Browser) -> str:
    return str(page.evaluate("document.activeElement.textContent"))


def shown_at(page: Browser) -> str:
    return str(page.evaluate("document.getElementById('updated').textContent"))


def await_refresh(page: Browser) -> None:
    before = shown_at(page)
    page.until(lambda: shown_at(page) != before)


def test_what_is_there(lab: Lab, lb1: Host, page: Browser) -> None:
    with Requests(lab.host("client"), (VIP, 80), kept=False) as requests:
        requests.await_answers()
    assert not requests.failures
    text = page.text()
    assert "attached, mode" in text and "next hop" in text
    for service in SERVICES:
        assert str(service["port"]) in text
    assert all(address in text for address in WEB.values())
    (balancer,) = status(lb1)["balancers"].values()
    (state,) = json.loads(l4lb(lb1, "status", "--json")).values()
    named = ("attached", "mode", "paused_since", "native_refused")
    assert {key: balancer[key] for key in named} == {key: state[key] for key in named}
    assert balancer["digest"] in text

    def packets() -> list[tuple[str, int]]:
        (known,) = status(lb1)["balancers"].values()
        return [(one["name"], one["packets"]) for one in known["services"]]

    (counted,) = json.loads(l4lb(lb1, "stats", "--interval", "0", "--json")).values()
    wanted = [(one["name"], one["packets"]) for one in counted["services"]]
    assert sum(count for _name, count in wanted) > 0
    page.until(lambda: packets() == wanted)
    page.until(lambda: "peak" in page.text())


def test_hostile_names_are_nothing_but_text(page: Browser) -> None:
    text = page.text()
    for name in (TAGS, QUOTES, LONG, REASON + "\\u202e"):
        assert name in text
    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.querySelectorAll('img, b, iframe, object').length") == 0
    await_refresh(page)
    assert page.errors == []
    assert set(page.requests) == {PAGE, f"{PAGE}status.json"}


def test_how_it_is_written(page: Browser) -> None:
    assert {call: page.evaluate(call) for call in WRITTEN} == WRITTEN


def test_who_has_only_a_keyboard(page: Browser) -> None:
    stops = []
    for _n in range(40):
        page.press("Tab")
        if focused(page) in stops:
            break
        stops.append(focused(page))
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            is_open = "document.activeElement.parentElement.open"
            before = page.evaluate(is_open)
            page.press("Enter")
            assert page.evaluate(is_open) is not before
    assert stops[:2] == ["Skip to the services", "Pause updates"]
    assert len([one for one in stops if "backends" in one]) > 0
    page.evaluate("document.querySelector('summary').focus()")
    page.press("Enter")
    is_open = page.evaluate("document.activeElement.parentElement.open")
    place = focused(page)
    await_refresh(page)
    assert focused(page) == place
    assert page.evaluate("document.activeElement.parentElement.open") is is_open


def test_updates_can_be_paused(page: Browser) -> None:
    page.evaluate("document.getElementById('pause').focus()")
    page.press(" ")
    page.until(lambda: "paused" in shown_at(page))
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    asked = len(page.requests)
    time.sleep(2.5)
    page.text()
    assert len(page.requests) <= asked + 1  # one may have been under way
    page.press(" ")
    page.until(lambda: "paused" not in shown_at(page))


def test_who_hears_it(page: Browser) -> None:
    named = page.named()
    roles = {role for role, name in named if name}
    assert {"main", "heading", "table", "columnheader", "rowheader", "image"} & roles >= {
        "heading",
        "table",
        "columnheader",
        "image",
    }
    for role in ("table", "image", "button", "link", "article", "columnheader"):
        assert all(name for one, name in named if one == role), role
    pictures = [name for role, name in named if role == "image"]
    assert any(name.startswith("packets/s of the last 15 min: now") for name in pictures)
    assert page.evaluate("document.getElementById('summary').getAttribute('role')") == "status"
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_can_be_read(page: Browser, width: int, dark: bool) -> None:
    page.look_at(width, dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = [int(one) for one in color.strip("rgb()").split(",")]
    assert (max(lightness) < 64) is dark
    assert page.picture().startswith(b"\x89PNG")


def test_what_an_operator_has_ended(lb1: Host, page: Browser) -> None:
    page.until(lambda: "✓ announced" in page.text())
    assert "paused" not in page.text()
    l4lb(lb1, "withdraw")
    l4lb(lb1, "pause", "eth0")
    try:
        page.until(lambda: "eth0 is paused; l4lb resume eth0 ends that" in page.text())
        assert "paused since" in page.text()
        page.until(lambda: f"{VIP} is not announced: " in page.text())
    finally:
        l4lb(lb1, "resume", "eth0")
        l4lb(lb1, "announce")
    page.until(lambda: "✓ announced" in page.text())
    assert "paused" not in page.text()


def test_an_agent_that_does_not_answer(lb1: Host, page: Browser) -> None:
    lb1.stop("agent")
    try:
        page.until(lambda: "The agent does not answer since" in page.text())
        assert TAGS in page.text()
        assert page.evaluate("document.querySelectorAll('.stale').length") == 2
    finally:
        start_agent(lb1)
    page.until(lambda: "does not answer since" not in page.text())


def test_what_programs_are_told(lb1: Host) -> None:
    """By the command of docs/status-page.md."""
    told = (block for block in blocks("sh", DOCUMENTED) if block.startswith("# on a balancer\n"))
    done = lb1.run(["sh", "-ec", next(told)])
    assert json.loads(done.stdout)["host"] == "lb1"


def test_a_machine_reaches_it_in_its_laboratory(lab: Lab, lb1: Host) -> None:
    """As the demo says in the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = [sys.executable, str(CHECKOUT / "lab/lab.py"), "--name", lab.name]
    with subprocess.Popen(
        [*script, "forward", lb1.name, "9942", "--at", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as forward:
        assert forward.stdin and forward.stdout
        address = forward.stdout.readline().split()[0]
        done = subprocess.run(["curl", "-sS", address], check=True, capture_output=True, text=True)
        assert done.stdout.startswith("<!DOCTYPE html>")
        forward.stdin.close()
    assert forward.returncode == 0


def test_headers(lb1: Host, page: Browser) -> None:
    assert page.evaluate("document.characterSet") == "UTF-8"
    for path in ("", "status.json"):
        assert f"{PAGE}{path}" in DOCUMENTED
        done = lb1.run(["curl", "-sSI", PAGE + path])
        headers: dict[str, Any] = dict(
            line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line
        )
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
