# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about a fleet: its figures are those of the facts, and it is HTML whatever hosts say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.filter.fleet import overview
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import DROPS
from ansible_collections.xdp.l4lb.plugins.plugin_utils.overview import MOST_SHOWN, short

from tests.pages import Page
from tests.unit.test_fleet import answer, backend, facts, fleet, stated, web

TEMPLATES = Path(__file__).resolve().parents[2] / "playbooks/templates"
HOSTILE = "</td><script>alert(1)</script>\"'&{{ 1 + 1 }}<!--"


def rendered(results: dict[str, Any], **more: Any) -> str:
    """The page, by a Jinja that is set up as Ansible's module template has it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 -- as there
    )
    given = {"page": overview(results), "at": "2026-11-26 13:00", "seconds": 2, **more}
    return environment.get_template("report.html.j2").render(given)


def timed(results: dict[str, Any]) -> dict[str, Any]:
    """With rates: packets a second are as many as packets."""
    for one in results.values():
        for found in one.get("ansible_facts", {}).get("l4lb", {}).values():
            for service in found["services"]:
                for each in (service, *service["backends"]):
                    each["packets_per_second"] = float(each["packets"])
                    each["bits_per_second"] = 8.0 * each["bytes"]
    return results


def test_figures_are_those_of_the_facts() -> None:
    page = Page(rendered(timed(fleet())))
    assert page.row("lb2")[:5] == ["33.3 %", "30", "24.0 k", "30", "0"]
    # each has 10 and 20 packets of 1000 and 2000 bytes, on three balancers
    assert page.row("10.0.0.1") == [
        *("33.3 %", "50.0 %", "1"),
        *("30", "24.0 k", "30"),
        "healthy",
    ]
    assert page.row("10.0.0.2")[0] == "66.7 %"
    bars = [attrs for tag, attrs in page.tags if tag == "rect" and attrs["class"] == "value"]
    assert [attrs["width"] for attrs in bars] == ["100.00"] * 3 + ["50.00", "100.00"]
    marks = [attrs["x1"] for tag, attrs in page.tags if tag == "line"]
    assert marks == ["75.00", "75.00"]
    assert "Nothing was dropped." in page.words


def test_without_rates_there_are_no_columns_for_them() -> None:
    text = rendered(fleet())
    assert "Packets/s" not in text and "rates over" not in text
    assert Page(text).row("10.0.0.1") == ["33.3 %", "50.0 %", "1", "30", "healthy"]


def test_a_silent_interval_has_shares_of_all_packets() -> None:
    results = timed(fleet())
    for one in results.values():
        service = web(one["ansible_facts"]["l4lb"]["eth0"])
        for each in (service, *service["backends"]):
            each["packets_per_second"] = 0.0
    text = rendered(results)
    assert ", by which shares are told" in text
    assert Page(text).row("10.0.0.1")[0] == "33.3 %"


@pytest.mark.parametrize(
    ("state", "shares", "told"),
    [
        ({}, ("50.0 %", "50.0 %"), "healthy"),
        ({"weight": 3}, ("75.0 %", "25.0 %"), "healthy"),
        ({"share_percent": 50}, ("33.3 %", "66.7 %"), "enabled and healthy with 50 % of its share"),
        ({"state": "drained"}, ("0.0 %", "100.0 %"), "drained"),
        ({"backup": True}, ("0.0 %", "100.0 %"), "healthy"),
        (
            {"healthy": False, "reason": "HTTP 503"},
            ("0.0 %", "100.0 %"),
            "enabled and unhealthy (HTTP 503)",
        ),
    ],
)
def test_what_the_weight_is_worth(
    state: dict[str, Any], shares: tuple[str, str], told: str
) -> None:
    page = overview(fleet(stated(**state), count=1))
    ((first, second),) = [service["all"] for service in page["services"]]
    assert (first["expected"], second["expected"]) == shares
    assert first["state"] == told
    assert page["impaired"] == (told != "healthy")


def test_balancers_count_by_their_traffic() -> None:
    """One has three times the packets of the other, and has half drained."""
    results = fleet(stated(state="drained"), count=2)
    web(results["lb2"]["ansible_facts"]["l4lb"]["eth0"])["packets"] = 90
    (service,) = overview(results)["services"]
    assert [one["expected"] for one in service["all"]] == ["12.5 %", "87.5 %"]
    assert service["all"][0]["state"] == "healthy on lb1, drained on lb2"


def test_nobody_healthy() -> None:
    results = fleet(stated(healthy=False, reason="refused"), count=1)
    service = web(results["lb1"]["ansible_facts"]["l4lb"]["eth0"])
    service["backends"][1].update(healthy=False, reason="refused")
    service["fails_open"] = True
    text = rendered(results)
    assert "Too few backends are healthy, so all are used on lb1." in text
    assert Page(text).row("10.0.0.1")[1] == "50.0 %"


def test_drops_have_their_meaning() -> None:
    results = fleet()
    for count, one in enumerate(results.values()):
        one["ansible_facts"]["l4lb"]["eth0"]["drops"].update(fragment=count, no_route=5000)
        one["ansible_facts"]["l4lb"]["eth0"]["answers"]["echo_reply"] = 7
    page = Page(rendered(results))
    assert page.row("fragment") == ["3", "lb2 1, lb3 2", DROPS["fragment"]]
    assert page.row("no_route")[0] == "15.0 k"
    assert page.row("echo_reply")[0] == "21"


def test_differences_are_first() -> None:
    results = {**fleet(lambda one: one.update(mode="generic")), "lb4": {"unreachable": True}}
    words = [" ".join(word.split()) for word in Page(rendered(results)).words]
    at = words.index("2 of 4 balancers differ")
    told = [word for word in words[at + 1 :] if word]
    assert told[:2] == [
        "lb4 cannot be reached: no answer",
        "the mode is generic on lb3, and native on lb1, lb2",
    ]
    assert "of 4 answer" in words


def test_announcements() -> None:
    results = fleet()
    for name, reason in (("lb1", None), ("lb2", "withdrawn"), ("lb3", None)):
        told = {"192.0.2.10": {"announced": reason is None, "reason": reason}}
        results[name]["ansible_facts"]["l4lb"]["eth0"]["announcement"] = told
    page = Page(rendered(results))
    assert page.row("192.0.2.10") == ["lb1, lb3", "lb2: not announced (withdrawn)"]


def test_of_many_backends_the_impaired_are_shown() -> None:
    def many(found: dict[str, Any]) -> None:
        backends = [backend(n % 250 + 1) for n in range(2 * MOST_SHOWN)]
        backends[-1]["state"] = "disabled"
        web(found)["backends"] = backends

    (service,) = overview(fleet(many, count=1))["services"]
    assert len(service["shown"]) == len(service["more"]) == MOST_SHOWN
    assert service["shown"][-1]["state"] == "disabled"
    assert "<details>" in rendered(fleet(many, count=1))


def test_nobody_there() -> None:
    for results in ({}, {"lb1": {"unreachable": True}}, {"lb1": answer({})}):
        assert "None answers." in rendered(results)
    empty = fleet(lambda one: one["services"][0]["backends"].clear(), count=1)
    assert "It has no backends" in rendered(empty)


def test_whatever_hosts_say_is_text() -> None:
    found = facts()
    web(found).update(name=HOSTILE, address=HOSTILE, protocol=HOSTILE, fails_open=True)
    web(found)["options"]["scheduler"] = HOSTILE
    web(found)["backends"][0].update(address=HOSTILE, healthy=False, reason=HOSTILE)
    found["versions"] = dict.fromkeys(found["versions"], HOSTILE)
    found.update(mode=HOSTILE, digest=HOSTILE, drops={"fragment": 3})
    found["announcement"] = {HOSTILE: {"announced": False, "reason": HOSTILE}}
    results = {f"{HOSTILE}1": answer({HOSTILE: found}), f"{HOSTILE}2": {"msg": HOSTILE}}
    text = rendered(results, at=HOSTILE, seconds=HOSTILE)
    assert HOSTILE not in text
    plain, hostile = Page(rendered(fleet(count=1))), Page(text)
    assert {tag for tag, _attrs in hostile.tags} <= {tag for tag, _attrs in plain.tags} | {
        *("ul", "li", "line", "small")
    }
    assert text.count("&lt;script&gt;") > 10


def test_everything_that_is_put_in_is_escaped() -> None:
    source = (TEMPLATES / "report.html.j2").read_text()
    put = re.findall(r"\{\{(.*?)\}\}", source)
    macros = re.compile(r"^ (bar|rows|head)\(")
    fixed = re.compile(r"^ '[^']*' if [\w. =]+ else '[^']*' $")
    assert len(put) > 40
    bare = [one for one in put if not (macros.match(one) or fixed.match(one))]
    assert [one for one in bare if not one.endswith("| e ")] == []


def test_it_needs_nothing_else() -> None:
    """No script, and nothing is fetched from anywhere."""
    page = Page(rendered(fleet()))
    assert not {tag for tag, _attrs in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert not any(name in attrs for _tag, attrs in page.tags for name in ("src", "href", "style"))
    text = rendered(fleet())
    assert "url(" not in text and "@import" not in text
    for media in ("print", "(prefers-color-scheme: dark)", "screen and (max-width"):
        assert f"@media {media}" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (12345, "12.3 k"),
        (628000000, "628 M"),
        (0.5, "0.500"),
        (5.25, "5.25"),
        (10**16, "10.0 P"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert short(value) == text


def test_wrong_input() -> None:
    with pytest.raises(AnsibleFilterError, match="not results of l4lb_stats"):
        overview({"lb1": answer({"eth0": {"services": [], "mode": "native"}})})
