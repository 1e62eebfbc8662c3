# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a forge runs is what developers type. That the files are well formed is the gate forge's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
MAKEFILE = (CHECKOUT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (CHECKOUT / ".github/workflows").glob("*.yml")
}
NO_TESTS = {
    "help",
    "demo",
    "demo-clean",
    "format",
    "bench",
    "figures",
    "fleet-size",
    "setup",
    "python",
    "clean",
}
INSTEAD = {"test", "sanity"}
"""Run as their stages, and as gates."""
STAGE = "./.github/workflows/stage.yml"


def targets(workflow: dict[str, Any]) -> Iterator[str]:
    """Those that its steps make, and those that it has the workflow stage make."""
    for job in workflow["jobs"].values():
        for step in job.get("steps", ()):
            for words in re.findall(r"\bmake ([a-z -]+)", step.get("run", "")):
                yield from words.split()
        if job.get("uses") == STAGE:
            yield from (stage["target"] for stage in job["strategy"]["matrix"]["include"])


@pytest.mark.parametrize("name", sorted(WORKFLOWS.keys() - {"stage"}))
def test_make_has_the_targets(name: str) -> None:
    made = set(targets(WORKFLOWS[name]))
    assert made
    assert made <= TARGETS


def test_a_change_passes_what_make_test_has() -> None:
    match = re.search(r"tools/stages (.*)", MAKEFILE)
    assert match
    stages = {word for word in match[1].split() if not word.startswith("--")}
    assert set(targets(WORKFLOWS["tests"])) == stages - INSTEAD | {"gates", "machine"}


def test_what_make_can_test_runs_for_changes_or_on_schedule() -> None:
    """A new target goes into one of the two workflows, or is no test."""
    run = set().union(*map(targets, WORKFLOWS.values()))
    assert TARGETS - NO_TESTS - INSTEAD - run == set()


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_workflows_may_read_and_nothing_else(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    for job in WORKFLOWS[name]["jobs"].values():
        assert "permissions" not in job
        assert "timeout-minutes" in job or job.get("uses") == STAGE


def test_settings_of_a_job_reach_the_stage() -> None:
    """A matrix takes any word; a misspelt one would be ignored."""
    inputs = WORKFLOWS["stage"][True]["workflow_call"]["inputs"].keys()  # YAML's "on" is true
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            if job.get("uses") == STAGE:
                assert job["with"].keys() <= inputs
                assert all(one.keys() <= inputs for one in job["strategy"]["matrix"]["include"])
