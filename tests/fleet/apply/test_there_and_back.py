# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to a balancer and back, with Ansible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.balancers import program, traces
from tests.fleet.rig.clients import works
from tests.fleet.rig.play import ansible, l4lb
from tests.fleet.rig.services import WEB, service


def returned(value: str) -> dict[str, Any]:
    """What the documentation of the module says is in a value that it returns."""
    text = (CHECKOUT / "plugins/modules/l4lb.py").read_text()
    documented = yaml.safe_load(text.split('RETURN = r"""')[1].split('"""')[0])
    contents: dict[str, Any] = documented[value]["contains"]
    return contents


def test_from_nothing_to_a_balancer_and_back(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    two: dict[str, Any] = {"services": [service(1, 2)]}
    three: dict[str, Any] = {"services": [service(1, 3, name="www")], "mode": "native"}

    (predicted,) = ansible(lab, tmp_path, l4lb(check=True, **two))
    assert predicted["changed"]
    assert traces(lb1) == []

    applied, again, checked = ansible(lab, tmp_path, l4lb(**two), l4lb(**two), l4lb(True, **two))
    assert applied["changed"]
    assert applied["mode"] == "native"
    assert applied["headers"]["release"]
    assert applied["steps"] == predicted["steps"]
    assert applied["diff"] == predicted["diff"]
    assert applied["diff"]["before"] == ""
    assert yaml.safe_load(applied["diff"]["after"])["services"][0]["backends"][1] == {
        "address": WEB["web2"],
        "weight": 1,
        "state": "enabled",
    }
    assert "sources" not in applied.get("invocation", {}).get("module_args", {})
    for second in (again, checked):
        assert not second["changed"]
        assert second["steps"] == []
        assert second["diff"]["before"] == second["diff"]["after"] == applied["diff"]["after"]
    works(lab, 1, 2)

    loaded = program(lb1)
    predicted, applied = ansible(lab, tmp_path, l4lb(True, **three), l4lb(**three))
    assert predicted["changed"] and applied["changed"]
    assert applied["steps"] == predicted["steps"]
    assert applied["moves"] == predicted["moves"]
    assert applied["moves"][0].keys() == returned("moves").keys()
    assert applied["diff"] == predicted["diff"]
    assert applied["diff"]["before"] == again["diff"]["after"]
    assert applied["diff"]["prepared"].splitlines() == applied["steps"] != []
    assert yaml.safe_load(applied["diff"]["after"])["services"][0]["name"] == "www"
    assert program(lb1) == loaded
    works(lab, 1, 3)

    predicted, applied, again = ansible(
        lab,
        tmp_path,
        l4lb(True, state="absent"),
        l4lb(state="absent"),
        l4lb(state="absent"),
    )
    assert predicted["changed"] and applied["changed"] and not again["changed"]
    assert applied["steps"] == predicted["steps"]
    assert applied["diff"]["after"] == "" != applied["diff"]["before"]
    assert traces(lb1) == []


@pytest.mark.usefixtures("lb1")
def test_the_examples_of_the_documentation(lab: Lab, tmp_path: Path) -> None:
    tasks = []
    for name in ("l4lb", "l4lb_stats"):
        text = (CHECKOUT / "plugins/modules" / f"{name}.py").read_text()
        tasks += yaml.safe_load(text.split('EXAMPLES = r"""')[1].split('"""')[0])
    # Stop balancing last.
    tasks.sort(key=lambda task: "absent" in str(task))
    results = ansible(lab, tmp_path, *tasks)
    assert [one.get("msg") for one in results if one["failed"]] == []
    assert [one["changed"] for one in results] == [True, False, False, True]
