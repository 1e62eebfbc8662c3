# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples and samples in the modules' documentation; options are test_options.py's.

That it parses and equals the argument specs is ansible-test's to find out (make sanity).
"""

from __future__ import annotations

import ast
import re
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.filter.desired_state import desired_state
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.counters import (
    Count,
    Statistics,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.program import DataPath
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import (
    ANSWERS,
    DROPS,
    FLOW_EVENTS,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.report import (
    facts,
    with_digests,
)

CHECKOUT = Path(__file__).resolve().parents[2]
PLUGINS = CHECKOUT / "plugins"
ROLE = CHECKOUT / "roles/l4lb"
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


def test_examples_of_the_role_can_be_deployed() -> None:
    (entry_point,) = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text()).values()
    documented = entry_point["main"]["options"]
    group = {"webservers": ["203.0.113.21"]}
    for play in yaml.safe_load(entry_point["main"]["examples"]):
        (task,) = play.get("roles") or play["tasks"]
        given = {key.removeprefix("l4lb_"): value for key, value in task["vars"].items()}
        assert {f"l4lb_{key}" for key in given} <= documented.keys()
        for balancer in given.get("interfaces", [given]):
            desired_state(balancer, group, {"203.0.113.21": {}})


def test_nobody_is_named_by_an_account_that_is_someone_elses() -> None:
    """Until there is a public home, authors have none: ansible-test takes !UNKNOWN for that."""
    for path in [*PLUGINS.rglob("*.py"), *PLUGINS.rglob("*.yml"), *ROLE.rglob("*.yml")]:
        assert "(@" not in path.read_text(), path


def keys_of(contains: dict[str, Any]) -> dict[str, Any]:
    """What a result has, by the documentation: key -> the same of its value, if any."""
    return {key: keys_of(value.get("contains", {})) for key, value in contains.items()}


BALANCER = text_of("l4lb_stats", "RETURN")["ansible_facts"]["contains"]["l4lb"]["contains"]
"""What the facts say of one."""


def test_facts_are_those_documented() -> None:
    backend = {"address": "10.0.0.1", "weight": 2, "configured_weight": 1, "mtu": 1400}
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    service = {**service, "check": {"type": "tcp"}, "backends": [{**backend, "backup": True}]}
    config = parse_config({"interface": "eth0", "services": [service]})
    address = ip_address("10.0.0.1")
    counted = Statistics({"web": Count()}, {("web", address): Count()}, drops={})
    bad, back = ({"web": {address: Verdict(True, "HTTP 503", 7, share)}} for share in (0, 30))
    found = facts(config, "native", counted, counted, 2.0, verdicts=bad)
    manifest = Manifest(config, {}, numbers={"web": {address: 1}})
    found = with_digests(found, DataPath(SimpleNamespace(), {}), manifest)  # type: ignore[arg-type]
    growing = facts(config, "native", counted, counted, 2.0, verdicts=back)

    documented = keys_of(BALANCER)
    assert found.keys() | {"native_refused", "announcement"} == documented.keys()
    assert found["services"][0].keys() == documented["services"].keys()
    (of_a_backend,) = found["services"][0]["backends"]
    of_a_backend.update(growing["services"][0]["backends"][0])
    assert of_a_backend.keys() == documented["services"]["backends"].keys()
    assert found["services"][0]["digests"].keys() == documented["services"]["digests"].keys()
    assert found["versions"].keys() == documented["versions"].keys()


@pytest.mark.parametrize(
    ("fact", "names"),
    [("drops", DROPS), ("answers", ANSWERS), ("flow_table", FLOW_EVENTS)],
)
def test_meanings_of_counters_begin_as_elsewhere(fact: str, names: dict[str, str]) -> None:
    documented = BALANCER[fact]["contains"]
    assert list(documented) == list(names)
    for name, meaning in names.items():
        assert meaning.startswith(documented[name]["description"])
