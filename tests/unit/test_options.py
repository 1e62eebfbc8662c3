# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One table of options: model, module, role and README say what model/options.py says."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.check import CHECK, Check
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Backend,
    Config,
    Service,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import (
    BACKEND,
    CONFIG,
    ROLE,
    RUN,
    SERVICE,
    Option,
)

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text()
PLACE = CHECKOUT / "roles/l4lb"
PREFIX = "l4lb_"

OF_AN_OPERATOR = {"held", "configured_weight"}
"""Set by the module l4lb_backend, and in what is saved."""
OF_THE_MODULE = {"sources"}
OF_A_GROUP = {"backend_group"}


def documented() -> dict[str, Any]:
    """The options in the module's DOCUMENTATION, read without importing it."""
    tree = ast.parse((CHECKOUT / "plugins/modules/l4lb.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            options: dict[str, Any] = yaml.safe_load(ast.literal_eval(node.value))["options"]
            return options
    raise AssertionError("the module has no DOCUMENTATION")


def specified() -> dict[str, Any]:
    """The options of the role, without their prefix."""
    text = (PLACE / "meta/argument_specs.yml").read_text()
    options = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return {name.removeprefix(PREFIX): option for name, option in options.items()}


MODULE, SPECS = documented(), specified()
FACES = [
    ("module", MODULE, {**CONFIG, **RUN}, OF_THE_MODULE),
    ("module, service", MODULE["services"]["suboptions"], SERVICE, set()),
    ("module, check", MODULE["services"]["suboptions"]["check"]["suboptions"], CHECK, set()),
    (
        "module, backend",
        MODULE["services"]["suboptions"]["backends"]["suboptions"],
        BACKEND,
        set(),
    ),
    ("role", SPECS, {**CONFIG, **RUN, **ROLE}, set()),
    ("role, service", SPECS["services"]["options"], SERVICE, OF_A_GROUP),
    ("role, check", SPECS["services"]["options"]["check"]["options"], CHECK, set()),
    ("role, backend", SPECS["services"]["options"]["backends"]["options"], BACKEND, set()),
]


def differences(
    face: str, found: Mapping[str, Any], table: Mapping[str, Option], more: set[str]
) -> list[str]:
    """What a face says otherwise than the table. more: options that it has besides."""
    problems = [f"{face}: {name} is missing" for name in table.keys() - found - OF_AN_OPERATOR]
    problems += [f"{face}: {name} is unknown" for name in found.keys() - table - more]
    for name, option in table.items():
        if name not in found:
            continue
        given = found[name]
        default = [*option.default] if isinstance(option.default, tuple) else option.default
        if name == "services":  # required, unless there is to be no balancer
            default = None
        expected = {
            "type": "raw" if name == "services" else option.kind,
            "required": option.required,
            "default": default,
            "choices": [*option.choices],
        }
        if name == "backends" and face == "role, service":  # or backend_group
            expected["default"] = None
        if face == "role":  # what Ansible checks, it shows with all of this
            loose: dict[str, Any] = {
                "type": "str" if option.kind == "str" else "raw",
                "choices": [],
            }
            expected |= {**loose, "required": False}
        actual = {
            "type": given["type"],
            "required": given.get("required", False),
            "default": given.get("default"),
            "choices": given.get("choices", []),
        }
        problems += [
            f"{face}: {name} has {key} {actual[key]!r}, not {expected[key]!r}"
            for key in expected
            if actual[key] != expected[key]
        ]
        text = " ".join(map(str, given["description"]))
        if isinstance(given["description"], str):
            text = given["description"]
        named = {*actual["choices"], *re.findall(r"V\((\w+)\)", text)}
        unnamed = sorted({*option.choices} - named)
        problems += [f"{face}: {name} is described without {one}" for one in unnamed]
        found_numbers = re.findall(r"\d+(?:\.\d+)?", text)
        numbers = {float(one) if "." in one else int(one) for one in found_numbers}
        least, most = option.range or (0, 0)
        if option.range and not {max(least, 1) if name == "port" else least, most} <= numbers:
            problems.append(f"{face}: {name} is described without its range {option.range}")
    return problems


@pytest.mark.parametrize(("face", "found", "table", "more"), FACES, ids=[one[0] for one in FACES])
def test_documentation(
    face: str, found: Mapping[str, Any], table: Mapping[str, Option], more: set[str]
) -> None:
    assert differences(face, found, table, more) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weight": {"type": "str"}}, "face: weight has type 'str', not 'int'"),
        ({"weight": {"default": 2}}, "face: weight has default 2, not 1"),
        ({"address": {"required": False}}, "face: address has required False, not True"),
        ({"state": {"choices": ["on"]}}, "face: state has choices ['on'], not "),
        ({"mtu": {"description": "bytes"}}, "face: mtu is described without its range"),
        ({"colour": {"type": "str"}}, "face: colour is unknown"),
        ({"mac": None}, "face: mac is missing"),
    ],
)
def test_a_difference_is_named(change: dict[str, Any], told: str) -> None:
    found = {**MODULE["services"]["suboptions"]["backends"]["suboptions"]}
    for name, values in change.items():
        if values is None:
            del found[name]
        else:
            found[name] = {**found.get(name, {}), **values}
    (problem,) = differences("face", found, BACKEND, set())
    assert problem.startswith(told)


@pytest.mark.parametrize(
    ("model", "table"), [(Config, CONFIG), (Service, SERVICE), (Check, CHECK), (Backend, BACKEND)]
)
def test_the_model(model: Any, table: Mapping[str, Option]) -> None:
    fields = {field.name: field for field in dataclasses.fields(model)}
    assert fields.keys() == table.keys()
    for name, field in fields.items():
        if field.default is not dataclasses.MISSING:
            assert field.default == table[name].default, name


def test_the_role_s_defaults_and_what_it_passes_on() -> None:
    defaults = yaml.safe_load((PLACE / "defaults/main.yml").read_text())
    expected = {
        PREFIX + name: [*option.default] if option.kind == "list" else option.default
        for name, option in {**CONFIG, **RUN, **ROLE}.items()
        if option.default is not None and name != "services"
    }
    assert defaults == expected
    options = yaml.safe_load((PLACE / "vars/main.yml").read_text())["__l4lb_options"]
    # these are such options, for each of several
    assert options.keys() == {**CONFIG, **RUN, **ROLE}.keys() - {"interfaces"}
    (task,) = yaml.safe_load((PLACE / "tasks/apply.yml").read_text())
    assert task["xdp.l4lb.l4lb"].keys() == {**CONFIG, **RUN}.keys()


def meanings(heading: str) -> dict[str, str]:
    """The last column of a table of README.md, without links and prefixes."""
    table = README.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]
    plain = ((name.strip("`"), re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", rest[-1]))
             for name, *rest in lines)  # fmt: skip
    return {name.removeprefix(PREFIX): text.replace(PREFIX, "") for name, text in plain}


@pytest.mark.parametrize(
    ("heading", "table", "more"),
    [
        ("variable", {**CONFIG, **RUN, **ROLE}, set()),
        ("of a service", SERVICE, OF_A_GROUP),
        ("of a check", CHECK, set()),
        ("of a backend", BACKEND, set()),
    ],
)
def test_readme(heading: str, table: Mapping[str, Option], more: set[str]) -> None:
    found = {name: text for name, text in meanings(heading).items() if name not in more}
    assert found == {
        name: option.meaning for name, option in table.items() if name not in OF_AN_OPERATOR
    }
