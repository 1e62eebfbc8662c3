# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md claims no version that did not run, and every file promises the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from tests.matrix import ROOT, __main__, steps, table, versions
from tests.matrix.controllers import Controller

PLANNED = yaml.safe_load(versions.PLANNED.read_text())
CORES = [one["core"] for one in PLANNED["controllers"]]
PYTHONS = sorted(
    {python for one in PLANNED["controllers"] for python in one["pythons"]},
    key=lambda python: int(python.partition(".")[2]),
)
CELL = {
    "core": "2.21.5",
    "python": "3.12.1",
    "userland": "debian-12",
    "advisory": False,
    "failed": "",
    "target": {
        "debian": "12.11",
        "python3": "3.11.2",
        "python3-bpfcc": "0.26.0",
        "python3-pyroute2": "0.7.2",
    },
    "deprecations": [],
}


def record(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"date": "2026-11-06", "kernel": "6.12", "steps": ["deploy", "remove"], "cells": cells}


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_table_is_that_of_the_last_run() -> None:
    page = table.README.read_text()
    assert table.MARKED.search(page)
    assert table.fill(page, table.read()) == page


def test_the_last_run_was_of_what_the_steps_are() -> None:
    assert table.read()["steps"] == list(steps.STEPS)


def test_what_did_not_run_is_not_claimed() -> None:
    other = {**CELL, "core": "2.22.0", "userland": "debian-13", "advisory": True, "target": {}}
    userlands = "Debian 12.11: Python 3.11.2, bcc 0.26.0, pyroute2 0.7.2 | Debian 13"
    assert table.table(record(CELL, other)).splitlines() == [
        f"| ansible-core | Python | {userlands} |",
        "| --- | --- | --- | --- |",
        "| 2.21.5 | 3.12.1 | passed | did not run |",
        "| 2.22.0 | 3.12.1 | did not run | passed (advisory) |",
        "",
        "Last run on 6 November 2026, on Linux 6.12. A cell is, in this order: deploy, remove.",
    ]


@pytest.mark.parametrize(
    ("became", "said"),
    [
        ({}, "passed"),
        ({"failed": "drain"}, "failed: drain"),
        ({"failed": "deprecations", "deprecations": ["old"]}, "failed: deprecations"),
        (
            {"advisory": True, "deprecations": ["old"]},
            "passed, with deprecation warnings (advisory)",
        ),
        ({"advisory": True, "failed": "deploy"}, "failed: deploy (advisory)"),
    ],
)
def test_outcomes(became: dict[str, Any], said: str) -> None:
    assert table.outcome({**CELL, **became}) == said


def test_what_was_warned_of_is_told_once() -> None:
    warned = {**CELL, "deprecations": ["Tabs are old."]}
    told = table.caption(record(warned, {**warned, "userland": "debian-13"}))
    assert told.endswith(" remove. Warning of ansible-core 2.21.5: Tabs are old.")


def test_deprecations_are_seen() -> None:
    output = """
TASK [debug] ***
[WARNING]: Deprecation warnings can be disabled by setting `deprecation_warnings=False`.
[DEPRECATION WARNING]: INJECT_FACTS_AS_VARS default to `True` is deprecated. This feature will be
removed from ansible-core version 2.24.
Origin: /tmp/play.yml:3:20

ok: [localhost]
"""
    (found,) = steps.DEPRECATION.findall(output)
    assert found.startswith("INJECT_FACTS_AS_VARS default")
    assert "version 2.24." in found
    assert "localhost" not in found


def fail(run: Any) -> None:
    raise steps.StepError(f"{run} cannot")


def go_on(run: Any) -> None:
    """All is well."""


@pytest.mark.parametrize(
    ("step", "deprecations", "advisory", "failed"),
    [
        (go_on, [], False, ""),
        (fail, ["old"], False, "second"),
        (go_on, ["old"], False, "deprecations"),
        (go_on, ["old"], True, ""),
        (fail, [], True, "second"),
    ],
)
def test_what_fails_a_cell(
    step: Callable[[Any], None],
    deprecations: list[str],
    advisory: bool,
    failed: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(steps, "STEPS", {"first": go_on, "second": step, "third": go_on})
    run = steps.Run(Lab("none"), Controller(tmp_path), tmp_path / "log")
    run.deprecations = deprecations
    assert __main__.first_failure(run, advisory) == failed


def test_every_planned_version_is_pinned() -> None:
    assert versions.pinned().keys() == set(CORES)
    assert len(versions.cells()) == sum(
        len(one["pythons"]) * len(PLANNED["userlands"]) for one in PLANNED["controllers"]
    )


def test_the_oldest_core_is_promised_everywhere() -> None:
    oldest = CORES[0]
    runtime = yaml.safe_load(text("meta/runtime.yml"))
    assert runtime["requires_ansible"] == f">={oldest}.0"
    for meta in ROOT.glob("roles/*/meta/main.yml"):
        assert yaml.safe_load(meta.read_text())["galaxy_info"]["min_ansible_version"] == oldest
    assert (
        f"| controller | ansible-core {oldest} or newer, which needs Python {PYTHONS[0]} or "
        in (text("README.md"))
    )
    assert f"ansible-core=={oldest}." in text("requirements.txt")


def test_the_gates_are_for_the_same_cores() -> None:
    gates = text("tools/gates")
    assert list(dict.fromkeys(re.findall(r"gate/ansible-test (\S+) ", gates))) == CORES
    advisory = [one["core"] for one in PLANNED["controllers"] if one.get("advisory")]
    assert [core for core in CORES if f"*-{core}*" in gates] == advisory


def test_the_same_pythons_are_promised_everywhere() -> None:
    first, last = PYTHONS[0], PYTHONS[-1]
    assert f"a Python from {first} to {last} " in text("CONTRIBUTING.md")
    setup = text("tools/setup")
    assert f"Python {first} to {last}" in setup
    below = last.replace(".", ", ").replace(last.partition(".")[2], str(int(last[2:]) + 1))
    assert f"({first.replace('.', ', ')}) <= sys.version_info < ({below})" in setup
    assert re.search(r"for python in python3 (.*) /usr", setup)[1].split() == [  # type: ignore[index]
        f"python{python}" for python in reversed(PYTHONS)
    ]


def test_the_oldest_python_is_that_of_the_oldest_distribution() -> None:
    """A series of ansible-core stays while the distribution does that has no newer Python."""
    ran = {one["userland"]: one["target"]["python3"] for one in table.read()["cells"]}
    assert ran[PLANNED["userlands"][0]].startswith(f"{PYTHONS[0]}.")
    assert [one["core"] for one in PLANNED["controllers"] if PYTHONS[0] in one["pythons"]] == CORES[
        :1
    ]


def test_what_cannot_run_is_no_platform_of_a_role() -> None:
    unable = {"jammy": "Ubuntu 22.04", "bullseye": "Debian 11"}
    (told,) = re.findall(r"^\| cannot run \| (.*) \|$", text("README.md"), re.MULTILINE)
    assert all(name in told for name in unable.values())
    for meta in ROOT.glob("roles/*/meta/main.yml"):
        platforms = yaml.safe_load(meta.read_text())["galaxy_info"]["platforms"]
        assert not {name for one in platforms for name in one["versions"]} & unable.keys()
