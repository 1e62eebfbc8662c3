# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules' documentation against the model, and their examples.

That it parses and equals the argument specs is ansible-test's to find out (make sanity).
"""

from __future__ import annotations

import ast
import dataclasses
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
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Backend,
    Config,
    Service,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import (
    AFFINITIES,
    ENCAPSULATIONS,
    MODES,
    PROTOCOLS,
    SCHEDULERS,
    STATES,
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


OPTIONS = text_of("l4lb", "DOCUMENTATION")["options"]
SERVICE = OPTIONS["services"]["suboptions"]
BACKEND = SERVICE["backends"]["suboptions"]
OF_THE_MODULE = {"state", "replace", "sources"}
OF_L4LB_BACKEND = {"held"}


@pytest.mark.parametrize(
    ("documented", "known"),
    [
        (OPTIONS.keys() - OF_THE_MODULE, Config),
        (SERVICE.keys(), Service),
        (BACKEND.keys() | OF_L4LB_BACKEND, Backend),
    ],
)
def test_documented_is_what_the_model_knows(documented: set[str], known: Any) -> None:
    assert documented == {one.name for one in dataclasses.fields(known)}


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        (OPTIONS["mode"], MODES),
        (SERVICE["protocol"], PROTOCOLS),
        (SERVICE["scheduler"], SCHEDULERS),
        (SERVICE["affinity"], AFFINITIES),
        (SERVICE["encapsulation"], ENCAPSULATIONS),
        (BACKEND["state"], STATES),
    ],
)
def test_choices_are_the_models(option: dict[str, Any], choices: tuple[str, ...]) -> None:
    assert option["choices"] == list(choices)


def test_defaults_are_the_models() -> None:
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    backend = {"address": "10.0.0.1"}
    config = parse_config(
        {"interface": "eth0", "services": [{**service, "backends": [backend]}]}
    ).dump()
    given = config["services"].pop()
    for options, values in (
        (OPTIONS, config),
        (SERVICE, given),
        (BACKEND, given["backends"].pop()),
    ):
        for name in options.keys() - OF_THE_MODULE:
            if not options[name].get("required"):
                default = options[name].get("default")
                assert values[name] == default, name


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
