# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong and odd configurations by all three ways: role, module and command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.xdp.l4lb.plugins.filter.desired_state import desired_state
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model import checks
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import (
    parse_request,
    parse_settings,
)
from ansible_collections.xdp.l4lb.plugins.modules.l4lb import ARGUMENTS

from tests.wrong import CASES, ODD, Case, Options

CHECKOUT = Path(__file__).resolve().parents[2]
ROLE = yaml.safe_load((CHECKOUT / "roles/l4lb/meta/argument_specs.yml").read_text())
SPEC = ROLE["argument_specs"]["main"]["options"]


def command(options: Options) -> Options:
    """What `l4lb apply` is told."""
    config = parse_request(options).config
    for refusal in checks.check(config).refusals if config else ():
        raise refusal
    return config.dump() if config else {}


def module(options: Options) -> Options:
    """The same through the action plugin and the spec of the module, which complains of nothing."""
    settings = parse_settings(options)
    sent = {**options, **{name: settings[name] for name in options if name in settings}}
    found = ArgumentSpecValidator(ARGUMENTS).validate(sent)
    assert found.error_messages == []
    validated = dict(found.validated_parameters)
    validated.pop("sources", None)
    return command(validated)


def role(options: Options) -> Options:
    """The same through the role's spec, which complains of nothing, and the filter."""
    given = {f"l4lb_{name}": value for name, value in options.items()}
    assert ArgumentSpecValidator(SPEC).validate(given).error_messages == []
    return dict(desired_state(options, {"webservers": []}, {}))


FACES: dict[str, Any] = {"role": role, "module": module, "command": command}


def told(face: str, options: Options) -> str:
    with pytest.raises((ConfigError, AnsibleFilterError)) as caught:
        FACES[face](options)
    return str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=[f"{one.message[:40]!a}" for one in CASES])
def test_one_message_that_names_option_value_and_remedy(case: Case) -> None:
    for face in case.faces:
        message = told(face, case.options).removeprefix("l4lb_" if face == "role" else "")
        assert message.startswith(case.message), face
        assert len(message) < 290 and message.isprintable()
        assert message.count(": ") >= 2


def test_there_are_enough() -> None:
    assert len(CASES) + len(ODD) >= 200
    assert sum(len(case.faces) == 3 for case in CASES) >= 180


@pytest.mark.parametrize(("options", "meaning"), ODD, ids=[str(one[1]) for one in ODD])
def test_what_can_only_mean_one_thing_works(options: Options, meaning: Options) -> None:
    for face, parse in FACES.items():
        found = parse(options)
        merged = {**(found["services"] or [{}])[0], **found}
        assert {name: merged[name] for name in meaning} == meaning, face


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        ["x"] * 100_000,
        {"a": {"b": [[[[[[[[1]]]]]]]]}},
        10**4000,
        "9" * 5000,
        "\x1b[2J" * 99,
    ],
    ids=["text", "list", "deep", "number", "digits", "orders to a terminal"],
)
@pytest.mark.parametrize(
    "option", ["interface", "flow_table_size", "own_macs", "services", "mode", "zzz"]
)
def test_a_long_value_is_clipped(option: str, value: Any) -> None:
    options = {"interface": "eth0", "services": [], option: value}
    for face in FACES:
        if (face, option) != ("role", "zzz"):
            assert len(told(face, options)) < 300


def test_unknown_names_are_clipped_and_may_be_of_any_type() -> None:
    for name in ("y" * 100_000, 80, None, True, "\x1b" * 500):
        service = {"name": "web", name: 1}
        for face in FACES:
            message = told(
                face, {"interface": "eth0", "services": [service, {"name": "n" * 999, name: 1}]}
            )
            assert len(message) < 300 and message.isprintable()
