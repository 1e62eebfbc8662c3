# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples and samples in the modules' documentation; options are test_options.py's.

That it parses and equals the argument specs is ansible-test's to find out (make sanity).
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import (
    ANSWERS,
    DROPS,
    FLOW_EVENTS,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py"))


def text_of(module: str, part: str) -> Any:
    """DOCUMENTATION, EXAMPLES or RETURN of a module, read without importing it."""
    tree = ast.parse((PLUGINS / "modules" / f"{module}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == part:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no {part}")


OF_THE_MODULE = {"state", "replace", "sources"}


@pytest.mark.parametrize("module", MODULES)
def test_examples_use_what_is_documented(module: str) -> None:
    options = text_of(module, "DOCUMENTATION").get("options", {})
    examples = text_of(module, "EXAMPLES")
    assert examples
    for task in examples:
        assert re.match("[A-Z]", task["name"])
        given = task[f"xdp.l4lb.{module}"] or {}
        assert given.keys() <= options.keys()
        if module == "l4lb":
            parse_config({key: value for key, value in given.items() if key not in OF_THE_MODULE})


@pytest.mark.parametrize(
    ("fact", "names"),
    [("drops", DROPS), ("answers", ANSWERS), ("flow_table", FLOW_EVENTS)],
)
def test_samples_of_counters_are_real(fact: str, names: dict[str, str]) -> None:
    facts = text_of("l4lb_stats", "RETURN")["ansible_facts"]["contains"]["l4lb"]["contains"]
    assert facts[fact]["sample"].keys() <= names.keys()
