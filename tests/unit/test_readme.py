# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of README.md say what the role and the data plane have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command.usage import EXIT_CODES
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import (
    ANSWERS,
    DROPS,
    FLOW_EVENTS,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import ENCAPSULATIONS

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text()
ROLE = CHECKOUT / "roles/l4lb"

OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
    "options"
]
SERVICE = OPTIONS["l4lb_services"]["options"]
BACKEND = SERVICE["backends"]["options"]


def rows(heading: str) -> dict[str, list[str]]:
    """The table whose first heading this is: first column, without backticks -> other columns."""
    table = README.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]
    return {first.strip("`"): rest for first, *rest in lines}


def shown_default(option: dict[str, Any]) -> str:
    """The column "default" for an option."""
    if option.get("required") or option["description"][0].startswith("Required."):
        return "required"
    if "default" not in option:
        return ""
    return f"`{yaml.safe_dump(option['default']).partition(chr(10))[0]}`"


@pytest.mark.parametrize(
    ("heading", "options"),
    [("variable", OPTIONS), ("of a service", SERVICE), ("of a backend", BACKEND)],
)
def test_variables(heading: str, options: dict[str, Any]) -> None:
    table = rows(heading)
    assert {name: default for name, (default, *_rest) in table.items()} == {
        name: shown_default(option) for name, option in options.items()
    }
    for name, option in options.items():
        assert all(f"`{choice}`" in table[name][-1] for choice in option.get("choices", ())), name


def test_variables_of_hosts_in_a_group() -> None:
    documented = re.findall(
        r"C\((l4lb_backend_\w+)\)", str(SERVICE["backend_group"]["description"])
    )
    assert [f"`{name}`" for name in documented] == [
        variable for _default, variable, *_rest in rows("of a backend").values()
    ]


@pytest.mark.parametrize(
    ("heading", "meanings"),
    [("drop", DROPS), ("answer", ANSWERS), ("flow table", FLOW_EVENTS)],
)
def test_counters(heading: str, meanings: dict[str, str]) -> None:
    assert rows(heading) == {name: [meaning] for name, meaning in meanings.items()}


def test_what_each_encapsulation_needs() -> None:
    headers = {"ipip": 0, "gue": 8, "gre": 4}
    table = rows("`encapsulation`")
    assert list(table) == list(ENCAPSULATIONS)
    assert {name: added for name, (*_needs, added) in table.items()} == {
        **{name: f"{20 + more}, {40 + more}" for name, more in headers.items()},
        "l2": "0",
    }
    port = f"port {OPTIONS['l4lb_gue_port']['default']} gue"
    assert all(port in cell for cell in table["gue"][:2])


def test_exit_codes_are_those_of_the_help() -> None:
    told = re.findall(r"\d+", " ".join(rows("exit code")))
    assert told == re.findall(r"(?<=^  )\d+|(?<=, )\d+(?= by)", EXIT_CODES, re.MULTILINE)


def test_the_archive_is_of_this_version() -> None:
    version = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
    assert f"install xdp-l4lb-{version}.tar.gz\n" in README
