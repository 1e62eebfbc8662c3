# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""l4lb_backend: what it changes, and what outlives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import BCC, HEADERS, apply, hidden, program
from tests.fleet.rig.clients import works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.orders import backend, echoing, order, states
from tests.fleet.rig.play import ansible, l4lb, stats
from tests.fleet.rig.services import OTHER_VIP, WEB, service, wanted
from tests.fleet.there import many

STAYS = (
    f"web: backend {WEB['web2']} stays drained, as an operator set, and is not enabled as "
    "configured; run l4lb_backend with state: enabled to lift the hold"
)


@pytest.mark.usefixtures("lb1")
def test_an_operators_day(lab: Lab, tmp_path: Path) -> None:
    """Drained stays drained through whatever is deployed, until it is enabled."""
    config: dict[str, Any] = {"services": [service(1, 2)]}
    heavier: dict[str, Any] = {"services": [service(1, {"address": WEB["web2"], "weight": 3})]}
    deployed, predicted, drained, again, counted = ansible(
        lab,
        tmp_path,
        l4lb(**config),
        backend(check=True, state="drained"),
        backend(state="drained"),
        backend(state="drained"),
        stats(),
    )
    assert deployed["changed"]
    before, after = (
        {"state": s, "weight": 1, "held": s != "enabled"} for s in ("enabled", "drained")
    )
    (place,) = drained["services"]
    assert place == {
        "interface": "eth0",
        "service": "web",
        "before": before,
        "after": after,
        "flows": 0,
    }
    assert drained["flows"] == 0
    assert "waited" not in drained
    (step,) = drained["steps"]
    assert step.startswith(f"web: 1 backend drained ({WEB['web2']})")
    assert step.endswith("50.0 % of new flows move, 0 established")
    for name in ("changed", "steps", "services", "flows", "diff"):
        assert predicted[name] == drained[name]
    ends = [yaml.safe_load(drained["diff"][side]) for side in ("before", "after")]
    assert ends == [[{"interface": "eth0", "service": "web", **end}] for end in (before, after)]
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"] == drained["diff"]["after"]
    (facts,) = counted["ansible_facts"]["l4lb"]["eth0"]["services"]
    assert [one["held"] for one in facts["backends"]] == [False, True]
    works(lab, 1)

    same, checked, changed, enabled, last = ansible(
        lab,
        tmp_path,
        l4lb(**config),
        l4lb(True, **heavier),
        l4lb(**heavier),
        backend(state="enabled"),
        l4lb(**heavier),
    )
    assert not same["changed"]
    for result in (same, checked, changed):
        assert result["warnings"] == [STAYS]
    assert changed["diff"] == checked["diff"]
    (listed,) = yaml.safe_load(changed["diff"]["after"])["services"]
    assert listed["backends"][1] == {
        "address": WEB["web2"],
        "weight": 3,
        "state": "drained",
        "held": True,
    }
    assert enabled["services"][0]["before"] == {"state": "drained", "weight": 3, "held": True}
    assert not last["changed"]
    assert not last.get("warnings")
    works(lab, 1, 2)


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "backend": (
        {"address": "203.0.113.99"},
        "address: '203.0.113.99': eth0 has no such backend, but 203.0.113.21, 203.0.113.22",
    ),
    "backend of a service": (
        {"address": WEB["web1"], "service": "echo"},
        "address: '203.0.113.21': service echo on eth0 has no such backend, but 203.0.113.22",
    ),
    "service": ({"service": "www"}, "service: 'www': eth0 has no such service, but echo, web"),
    "interface": (
        {"interface": "eth1"},
        "interface: 'eth1': this host does not balance there, but eth0",
    ),
    "weight": ({"weight": 256}, "weight: 256: give a whole number from 0 to 255"),
}


def test_what_does_not_fit(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2), echoing(2)))
    before = states(lb1)
    for given, message in MISFITS.values():
        options = {"address": WEB["web2"], "state": "drained", **given}
        assert order(lb1, options) == {"error": message}
    assert states(lb1) == before
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    assert order(lb1, options) == {"error": "no balancer is attached to eth0"}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "address": (
        {"address": "203.0.113.300"},
        "address: '203.0.113.300': not an IP address, as in 192.0.2.10 or 2001:db8::10",
    ),
    "wait_timeout": ({"wait_timeout": -1}, "wait_timeout: -1.0: give a number of seconds, 0 or"),
    "quiet": ({"quiet": "nan"}, "quiet: nan: give a number of seconds, 0 or more"),
    "nothing there": ({}, "this host does not balance; set it up with the module l4lb"),
}


@pytest.mark.usefixtures("lb1")
def test_wrong_input(lab: Lab, tmp_path: Path) -> None:
    results = ansible(lab, tmp_path, *(backend(**wrong) for wrong, _message in WRONG.values()))
    for name, result in zip(WRONG, results):
        assert result["failed"], name
        assert WRONG[name][1] in result["msg"]
        assert "Traceback" not in str(result)


def test_without_bcc(lb1: Host) -> None:
    """No compiler, no headers, no sources; and the program stays."""
    apply(lb1, wanted(service(1, 2)))
    loaded = program(lb1)
    with hidden(lb1, BCC), hidden(lb1, HEADERS):
        assert order(lb1, {"address": WEB["web2"], "state": "disabled", "weight": 2})["changed"]
    assert program(lb1) == loaded
    assert states(lb1) == {"web 1": "enabled", "web 2": "disabled* 2"}
    assert apply(lb1, wanted(service(1, 2)))["steps"] == []
    assert states(lb1) == {"web 1": "enabled", "web 2": "disabled* 2"}
    assert program(lb1) == loaded


def test_a_weight_lasts_until_the_backend_is_enabled(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    assert order(lb1, {"address": WEB["web2"], "weight": 0})["changed"]
    assert not order(lb1, {"address": WEB["web2"], "weight": 0})["changed"]
    works(lab, 1)
    outcome = apply(lb1, wanted(service(1, {"address": WEB["web2"], "weight": 3})))
    assert outcome["steps"] == [
        "web: configured weight of 203.0.113.22 1 -> 3, no flow moves",
    ]
    assert [one["weight"] for one in outcome["before"]["services"][0]["backends"]] == [1, 0]
    works(lab, 1)
    assert order(lb1, {"address": WEB["web2"], "state": "enabled"})["changed"]
    assert states(lb1) == {"web 1": "enabled", "web 2": "enabled 3"}
    works(lab, 1, 2)


def test_one_service_or_all(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2), echoing(2, 3)))
    order(lb1, {"address": WEB["web2"], "state": "drained", "service": "echo"})
    assert states(lb1)["web 2"] == "enabled"
    assert states(lb1)["echo 2"] == "drained*"
    order(lb1, {"address": WEB["web2"], "state": "drained"})
    assert states(lb1)["web 2"] == "drained*"


def test_every_balancer_of_the_host(lb1: Host) -> None:
    """Those that have the backend; the others are none of its business."""
    second = service(2, 3, name="second", address=OTHER_VIP)
    apply(lb1, wanted(service(1, 2)), {"interface": "eth1", "services": [second]})
    assert len(order(lb1, {"address": WEB["web2"], "state": "drained"})["flows"]) == 2
    assert len(order(lb1, {"address": WEB["web3"], "weight": 2})["flows"]) == 1
    outcome = order(lb1, {"address": "10.0.0.1", "state": "drained"})
    assert outcome["error"] == (
        "address: '10.0.0.1': eth0 has no such backend, but 203.0.113.21, 203.0.113.22; "
        "address: '10.0.0.1': eth1 has no such backend, but 203.0.113.22, 203.0.113.23"
    )
    outcome = order(lb1, {"address": WEB["web2"], "state": "enabled", "interface": "eth1"})
    assert outcome["changed"]
    assert states(lb1)["web 2"] == "drained*"


LAST = "{} is the last backend that takes new flows, which would be dropped; enable another one"


def test_the_last_backend_is_kept(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """In check mode too, and in no service nor on any interface is anything changed."""
    second = service(2, name="second", address=OTHER_VIP)
    apply(lb1, wanted(service(1, 2), echoing(2)), {"interface": "eth1", "services": [second]})
    before = states(lb1)
    drain: dict[str, Any] = {"state": "drained"}
    results = ansible(
        lab,
        tmp_path,
        backend(check=True, **drain),
        backend(**drain),
        backend(weight=0),
        backend(**drain, service="echo"),
        backend(**drain, interface="eth1"),
        backend(**drain, service="web"),
        backend(**drain, service="echo", interface="eth0", force=True, check=True),
        backend(**drain, service="echo", interface="eth0", force=True),
    )
    everywhere = f"echo on eth0: {LAST} first, or set force: true; second on eth1: {LAST}"
    for result in results[:3]:
        assert result["msg"].startswith(everywhere.format(WEB["web2"], WEB["web2"]))
    for result, where in zip(results[3:5], ("echo on eth0", "second on eth1")):
        assert result["failed"]
        assert result["msg"].startswith(f"{where}: {LAST.format(WEB['web2'])}")
    elsewhere, predicted, forced = results[5:]
    assert elsewhere["changed"]
    assert forced["changed"] and predicted["steps"] == forced["steps"]
    (step,) = forced["steps"]
    assert step.endswith(", new flows are dropped, 0 established")
    assert forced["warnings"] == ["echo: no backend takes new flows; they are dropped"]
    assert states(lb1) == {**before, "web 2": "drained*", "echo 2": "drained*"}
    # what takes no new flows may lose the others
    assert order(lb1, {"address": WEB["web2"], "state": "disabled", "service": "echo"})["changed"]


# What outlives what.


def test_a_hold_outlives_the_program(lab: Lab, lb1: Host) -> None:
    """As after an upgrade, when the pins are lost, and after a reboot."""
    apply(lb1, wanted(service(1, 2)))
    order(lb1, {"address": WEB["web2"], "state": "drained"})
    loaded = program(lb1)
    apply(lb1, wanted(service(1, 2, scheduler="jhash")))
    assert program(lb1) != loaded
    assert states(lb1)["web 2"] == "drained*"
    lb1.run(["rm", "-r", "/sys/fs/bpf/l4lb"])
    apply(lb1, wanted(service(1, 2)))
    assert states(lb1)["web 2"] == "drained*"
    lb1.run(["rm", "-r", "/sys/fs/bpf/l4lb"])
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    apply(lb1, wanted(service(1, 2)))
    assert states(lb1)["web 2"] == "drained*"
    works(lab, 1)


def test_a_hold_of_what_is_configured_so(lb1: Host) -> None:
    """It makes a difference when the configuration changes."""
    drained = wanted(service(1, {"address": WEB["web2"], "state": "drained"}))
    apply(lb1, drained)
    assert order(lb1, {"address": WEB["web2"], "state": "drained"})["changed"]
    assert not order(lb1, {"address": WEB["web2"], "state": "drained"})["changed"]
    assert apply(lb1, drained)["steps"] == []
    apply(lb1, wanted(service(1, 2)))
    assert states(lb1)["web 2"] == "drained*"


def test_a_hold_ends_with_its_backend(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2), echoing(2, 3)))
    order(lb1, {"address": WEB["web2"], "state": "drained"})
    apply(lb1, wanted(service(1, name="www"), echoing(2, 3)), wanted(service(1, 2), echoing(2, 3)))
    assert states(lb1)["web 2"] == "enabled"
    assert states(lb1)["echo 2"] == "drained*"


def test_orders_at_once(lb1: Host) -> None:
    """Each of them counts, for none starts from what another has changed meanwhile."""
    apply(lb1, wanted(service(1, 2, 3, 4), echoing(1, 2, 3, 4)))
    given = [
        {"address": WEB[f"web{number}"], "service": name, "force": True, **options}
        for number in (1, 2, 3, 4)
        for options in ({"state": "drained"}, {"weight": number + 1})
        for name in ("web", "echo")
    ]
    assert python(lb1, many.orders, given=given) == [0] * 16
    assert states(lb1) == {
        f"{name} {number}": f"drained* {number + 1}"
        for name in ("echo", "web")
        for number in (1, 2, 3, 4)
    }
