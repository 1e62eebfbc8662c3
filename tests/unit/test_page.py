# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent tells the status page, and how the page is put together; how it looks in a browser
is tests/fleet/page's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import re
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page import hops as hops_
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page import recorder as recorders
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page.counts import Counts
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page.document import (
    Status,
    slices,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page.history import (
    POINTS,
    STEP,
    History,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page.hops import Hops, NextHop
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page.page import (
    FILES,
    HTML,
    SCRIPT,
    STYLE,
    Page,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.page.recorder import (
    Reading,
    Recorder,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.record import Record
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.web.message import Request
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.live import Live
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.counters import (
    Count,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import IdleError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import DROPS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.link import Attached, Link

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "files/page"
DOCUMENTED = (CHECKOUT / "docs/status-page.md").read_text()
TEXTS = {name: (FOLDER / name).read_text() for name in FILES}


# The last 15 minutes


def test_what_was_measured_is_kept_with_the_oldest_first() -> None:
    history = History()
    for step in range(3):
        history.add(1000 + step * STEP, {"web": float(step)})
    assert history.points("web") == [*[None] * (POINTS - 3), 0.0, 1.0, 2.0]


def test_what_is_older_is_not() -> None:
    history = History()
    for step in range(POINTS + 7):
        history.add(step * STEP, {"web": float(step)})
    assert history.points("web") == [float(step) for step in range(7, POINTS + 7)]


@pytest.mark.parametrize(
    ("moments", "points"),
    [
        ([0, 5, 20], [0.0, 1.0, None, None, 2.0]),  # the host was suspended
        ([0, 6, 9.9, 10], [None, None, 0.0, 2.0, 3.0]),  # two in one step
        ([0, 5, STEP * POINTS * 3], [None, None, None, None, 2.0]),
    ],
)
def test_a_moment_that_was_missed_is_a_gap(moments: list[float], points: list[Any]) -> None:
    history = History()
    for number, moment in enumerate(moments):
        history.add(moment, {"web": float(number)})
    assert history.points("web")[-5:] == points


def test_services_come_and_go() -> None:
    history = History()
    history.add(0, {"web": 1, "dns": 2})
    history.add(5, {"dns": 3, "new": 4})
    assert history.points("web") == [None] * POINTS
    assert history.points("new")[-2:] == [None, 4.0]
    assert set(history.keys()) == {"dns", "new"}


def test_it_takes_little_memory() -> None:
    """64 services, of each packets and bits."""
    history = History()
    history.add(0, dict.fromkeys(range(128), 1.0))
    rings = history._rings.values()
    assert sum(sys.getsizeof(ring) for ring in rings) < 128 * (4 * POINTS + 400)


# The document

HOSTILE = '"><script>alert(1)</script>\u2028'
CONFIG = parse_config(
    {
        "interface": "eth0",
        "services": [
            {
                "name": "web",
                "address": "192.0.2.10",
                "port": 80,
                "protocol": "tcp",
                "check": {"type": "http"},
                "backends": [{"address": "203.0.113.21"}, {"address": "203.0.113.22"}],
            },
            {
                "name": "dns",
                "address": "2001:db8:ffff::53",
                "port": 53,
                "protocol": "udp",
                "backends": [{"address": "2001:db8::21", "state": "drained"}],
            },
        ],
    }
)
VIP = ip_address("192.0.2.10")
DOWN = ip_address("203.0.113.22")


def manifest_of(config: Config = CONFIG, **known: Any) -> Manifest:
    """Backends have numbers from 1 on, and what went before has none but 0."""
    number = itertools.count(1)
    numbers = {
        one.name: {backend.address: next(number) for backend in one.backends}
        for one in config.services
    }
    return Manifest(config, numbers=numbers, past=dict.fromkeys(numbers, 0), **known)


def counted(packets: int, config: Config = CONFIG) -> Counts:
    """So many to each backend, of 100 bytes, and as many fragments."""
    count = sum(len(one.backends) for one in config.services)
    drops = {**dict.fromkeys(DROPS, 0), "fragment": packets}
    return Counts(
        manifest_of(config),
        array("Q", [0, *[packets] * count]),
        array("Q", [0, *[packets * 100] * count]),
        drops,
        {"echo_reply": 2},
        {"hits": 1},
    )


@pytest.fixture
def recorder() -> Recorder:
    """Of eth0, where a backend of web is down, since a second ago."""
    verdict = Verdict(False, HOSTILE, 1234)
    manifest = manifest_of(generation=7, verdicts={"web": {DOWN: verdict}})
    link = Link(3, "eth0", "02:00:00:00:00:01", attached=Attached(7, "native"))
    program: Any = SimpleNamespace(id=7)
    live = Live(link, None, program, "native", manifest=manifest)
    hop = NextHop(ip_address("203.0.113.1"), "eth0", None)
    history = History()
    history.add(0, {("web", "packets_per_second"): 5.0, (None, "fragment"): 1.5})
    found = Recorder({})
    found.readings["eth0"] = Reading(
        live, manifest, "d1", Hops([hop], [DOWN]), history, 99.0, counted(30), counted(10), 2.0
    )
    return found


def document(recorder: Recorder, **upkeep: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        b"".join(slices("1.2.3", recorder, {"a trouble": "why"}, upkeep))
    )
    return found


def test_the_shape(recorder: Recorder) -> None:
    upkeep = Record(repairs=1, at=7.5, done="set it").shown(3.9)
    config = replace(CONFIG, announce=True)
    reading = recorder.readings["eth0"]
    recorder.readings["eth0"] = replace(reading, manifest=replace(reading.manifest, config=config))
    recorder.announcement = {VIP: {"announced": False, "reason": "eth0 is down"}, DOWN: {}}
    found = document(recorder, eth0=upkeep)
    assert found["version"] == "1.2.3"
    assert found["history"] == {"seconds": STEP, "points": POINTS}
    assert found["meanings"]["drops"] == DROPS
    assert found["troubles"] == [{"trouble": "a trouble", "reason": "why"}]
    assert abs(found["now"] - time.time()) < 60
    (balancer,) = found["balancers"].values()
    services = balancer.pop("services")
    assert [each["name"] for each in services] == ["dns", "web"]
    history = balancer.pop("drops_history")
    assert history["fragment"][-1] == 1.5 and set(history) == {"fragment"}
    assert balancer == {
        "problem": None,
        "at": 99.0,
        "attached": True,
        "mode": "native",
        "paused_since": None,
        "native_refused": None,
        "link_up": True,
        "digest": "d1",
        "generation": 7,
        "announcement": {"192.0.2.10": {"announced": False, "reason": "eth0 is down"}},
        "upkeep": {
            "since": 3,
            "repairs": 1,
            "last": {"at": 7, "done": "set it"},
            "problem": None,
        },
        "next_hops": {
            "count": 1,
            "unresolved": 1,
            "list": [{"address": "203.0.113.1", "interface": "eth0", "mac": None}],
            "without_route": {"count": 1, "list": [str(DOWN)]},
        },
        "drops": {**dict.fromkeys(DROPS, 0), "fragment": 30},
        "answers": {"echo_reply": 2},
        "flow_table": {"hits": 1},
    }


def test_a_service(recorder: Recorder) -> None:
    _dns, web = document(recorder)["balancers"]["eth0"]["services"]
    _up, down = web.pop("backends")
    points = web.pop("history")
    assert points["packets_per_second"][-1] == 5.0
    assert points["bits_per_second"] == [None] * POINTS
    assert web == {
        "name": "web",
        "address": "192.0.2.10",
        "port": 80,
        "protocol": "tcp",
        "scheduler": "maglev",
        "encapsulation": "ipip",
        "check": "http",
        "min_healthy": 1,
        "fails_open": False,
        "packets": 60,
        "bytes": 6000,
        "packets_per_second": 20.0,
        "bits_per_second": 16000.0,
    }
    assert down == {
        "address": str(DOWN),
        "weight": 1,
        "state": "enabled",
        "held": False,
        "healthy": False,
        "reason": HOSTILE,
        "unhealthy_since": 1234,
        "packets": 30,
        "bytes": 3000,
        "packets_per_second": 10.0,
        "bits_per_second": 8000.0,
    }


def test_it_is_ascii_whatever_the_names(recorder: Recorder) -> None:
    assert b"".join(slices("", recorder, {}, {})).isascii()


def test_a_balancer_that_cannot_be_read(recorder: Recorder) -> None:
    recorder.problems["eth1"] = "no balancer is attached to eth1"
    found = document(recorder)["balancers"]
    assert [*found] == ["eth0", "eth1"]
    problem = "no balancer is attached to eth1"
    assert found["eth1"] == {"problem": problem, "upkeep": None, "services": []}


def test_none_at_all() -> None:
    assert document(Recorder({}))["balancers"] == {}


def documented(heading: str) -> set[str]:
    """The names in a table of docs/status-page.md."""
    table = DOCUMENTED.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_all_of_it_is_documented(recorder: Recorder) -> None:
    found = document(recorder)
    (balancer,) = found["balancers"].values()
    dns, web = balancer["services"]
    assert documented("name") == set(found)
    assert documented("of a balancer") == set(balancer)
    assert documented("of a service") == {*dns, *web}
    named = set(re.findall(r"`(\w+)`", DOCUMENTED))
    assert {key for one in (*dns["backends"], *web["backends"]) for key in one} <= named
    assert {*found["history"], *balancer["next_hops"], *balancer["next_hops"]["list"][0]} <= named


def test_nobody_is_to_keep_it(recorder: Recorder) -> None:
    response = asyncio.run(Status("", recorder, dict, dict)(Request("/status.json")))
    assert response.content_type == "application/json"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert json.loads(b"".join(response.body))["troubles"] == []


def test_slices_are_short_where_there_is_very_much() -> None:
    """64 services of 512 backends: no slice may keep checks from their turn for long."""
    backends = [{"address": f"10.0.{n // 256}.{n % 256}"} for n in range(1, 513)]
    web = {"port": 80, "protocol": "tcp", "check": {"type": "tcp"}, "backends": backends}
    services = [{**web, "name": f"s{n}", "address": f"192.0.2.{n}"} for n in range(1, 65)]
    config = parse_config({"interface": "eth0", "services": services})
    manifest, now = manifest_of(config), counted(5, config)
    recorder = Recorder({})
    live = Live(Link(3, "eth0", "02:00:00:00:00:01"), manifest=manifest)
    recorder.readings["eth0"] = Reading(live, manifest, "", Hops(), History(), 1, now, now, 5)
    sizes = [len(part) for part in slices("", recorder, {}, {})]
    assert max(sizes) < 64_000 < sum(sizes) / 64


# Measuring


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Interface -> its packets, or what is raised where it is read."""
    found: dict[str, Any] = {}
    link = Link(3, "eth0", "02:00:00:00:00:01", attached=Attached(7, "native"))

    def at_work(places: Any, **_options: Any) -> tuple[Any, Any, Manifest]:
        if isinstance(found[places.interface], Exception):
            raise found[places.interface]
        data_path = SimpleNamespace(program=SimpleNamespace(id=7), interface=places.interface)
        return None, data_path, manifest_of()

    monkeypatch.setattr(recorders, "at_work", at_work)
    monkeypatch.setattr(recorders.link, "read_link", lambda _name: link)
    monkeypatch.setattr(
        Counts, "taken", lambda data_path, _manifest: counted(found[data_path.interface])
    )
    monkeypatch.setattr(recorders.here, "known", lambda: list(found))
    monkeypatch.setattr(hops_, "look", lambda _config: Hops())
    monkeypatch.setattr(
        recorders, "Digests", lambda *_arguments: SimpleNamespace(configuration="d1")
    )
    return found


def test_balancers_are_measured_again_and_again(there: dict[str, Any]) -> None:
    recorder = Recorder({})
    there["eth0"] = 10
    asyncio.run(recorder.take())
    assert recorder.readings["eth0"].before is None
    there["eth0"] = 30
    asyncio.run(recorder.take())
    reading = recorder.readings["eth0"]
    assert reading.now.service("dns") == Count(30, 3000)
    assert reading.before and reading.before.service("dns") == Count(10, 1000)
    assert reading.live.attached and reading.live.mode == "native"
    assert set(reading.history.keys()) >= {("dns", "bits_per_second"), (None, "fragment")}
    there["eth0"] = IdleError("no balancer is attached to eth0")
    asyncio.run(recorder.take())
    assert recorder.readings == {}
    told = "no balancer is attached to eth0; l4lb restore brings it back"
    assert recorder.problems == {"eth0": told}
    there["eth0"] = 40
    asyncio.run(recorder.take())
    assert recorder.problems == {} and "eth0" in recorder.readings
    del there["eth0"]
    asyncio.run(recorder.take())
    assert recorder.readings == {}


def test_verdicts_are_those_of_now(there: dict[str, Any]) -> None:
    """Even where counters are seconds old."""
    manifest = manifest_of()
    judge: Any = SimpleNamespace(look=lambda: manifest, known=None)
    recorder = Recorder({"eth0": judge})
    there["eth0"] = 10
    asyncio.run(recorder.take())
    reading = recorder.readings["eth0"]
    recorder.readings["eth0"] = replace(reading, manifest=manifest)
    manifest = manifest.judged({"web": {DOWN: Verdict(False, "timeout", 1)}})
    assert recorder.latest()["eth0"].manifest.verdicts["web"][DOWN].reason == "timeout"


def test_looking_for_next_hops_costs_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def look(config: Config) -> Hops:
        looked.append(config)
        return Hops()

    monkeypatch.setattr(hops_, "look", look)
    lookout = hops_.Lookout()
    for _n in range(100):
        lookout.look(CONFIG)
    assert len(looked) == 1
    lookout.look(replace(CONFIG))
    assert len(looked) == 2


# The page


@pytest.fixture
def page() -> Iterator[tuple[str, dict[str, str]]]:
    response = asyncio.run(Page(TEXTS)(Request("/")))
    assert response.content_type == "text/html; charset=utf-8"
    yield b"".join(response.body).decode(), dict(response.headers)


def test_the_policy_lets_in_what_is_in_the_page(page: tuple[str, dict[str, str]]) -> None:
    html, headers = page
    policy = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
    for kind, tag in (("style-src", "style"), ("script-src", "script")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[kind] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"


def test_nothing_comes_from_elsewhere(page: tuple[str, dict[str, str]]) -> None:
    html = page[0]
    outside = {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) == outside
    assert "@import" not in html and "url(" not in html


def test_text_only_becomes_text() -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in TEXTS[SCRIPT]
    for text in (TEXTS[HTML], TEXTS[SCRIPT]):
        assert not re.search(r"\son[a-z]+\s*=|\sstyle\s*=|javascript:", text)


def test_the_files_are_those_that_are_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(FILES) == {HTML, STYLE, SCRIPT}
