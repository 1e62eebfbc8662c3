# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a real server are the same in the library, the module and the role; and the role
finds what balancers have a server for."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.filter.real_server import left_backends, real_server
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.options import (
    ENTRY,
    OPTIONS,
    RUN,
)

CHECKOUT = Path(__file__).resolve().parents[2]
ROLE = CHECKOUT / "roles/l4lb_backend"
PREFIX = "l4lb_backend_"


def documented() -> dict[str, Any]:
    tree = ast.parse((CHECKOUT / "plugins/modules/l4lb_real_server.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            options: dict[str, Any] = yaml.safe_load(ast.literal_eval(node.value))["options"]
            return options
    raise AssertionError


def test_the_module() -> None:
    found = documented()
    assert found.keys() == {*OPTIONS, *RUN, "services", "sources"}
    for table, there in (
        ({**OPTIONS, **RUN}, found),
        (ENTRY, found["services"]["suboptions"]),
    ):
        for name, option in table.items():
            default = [*option.default] if option.kind == "list" else option.default
            given = there[name]
            assert (given["type"], given.get("default")) == (option.kind, default), name
            assert given.get("required", False) == option.required
            assert given.get("choices", []) == [*option.choices]


def test_the_role() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    own = {name: one for name, one in options.items() if name.startswith(PREFIX)}
    assert {name: one["default"] for name, one in own.items() if "default" in one} == defaults
    for name, option in {**OPTIONS, **RUN}.items():
        if name != "state":
            default = [*option.default] if option.kind == "list" else option.default
            assert options[PREFIX + name].get("default") == default
    passed = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__l4lb_backend_options"]
    assert passed.keys() == OPTIONS.keys()
    (task,) = yaml.safe_load((ROLE / "tasks/apply.yml").read_text())
    assert task["xdp.l4lb.l4lb_real_server"].keys() == {*OPTIONS, *RUN, "services"}


def test_readme() -> None:
    text = (CHECKOUT / "README.md").read_text()
    for name, option in {**OPTIONS, **RUN}.items():
        if name != "state":
            (row,) = (line for line in text.splitlines() if line.startswith(f"| `{PREFIX}{name}`"))
            assert option.meaning in row


WEB = {"name": "web", "address": "192.0.2.10", "backend_group": "webservers"}
OTHER = {
    "name": "other",
    "address": "2001:db8:ffff::10",
    "encapsulation": "gue",
    "backends": [{"address": "2001:db8:2::21", "mtu": 1400}, {"address": "2001:db8:2::22"}],
}
GROUPS = {"balancers": ["lb1", "lb2"], "webservers": ["web1"], "empty": []}


def hostvars(**lb1: Any) -> dict[str, Any]:
    balancer = {"l4lb_interface": "eth0", "l4lb_services": [WEB, OTHER]}
    sources = {
        "l4lb_source_address": "203.0.113.0/28",
        "l4lb_source_address6": "2001:db8:2::11",
    }
    return {
        "lb1": {**balancer, **sources, **lb1},
        "lb2": {**balancer, **sources},
        "web1": {"ansible_host": "203.0.113.21"},
        "web2": {"ansible_host": "203.0.113.22"},
    }


def found(host: str = "web1", group: str = "balancers", **more: Any) -> Any:
    options = more.pop("options", {})
    given = {"addresses": ["203.0.113.21", "2001:db8:2::21"], "hostvars": hostvars(), **more}
    return real_server(options, group, GROUPS, host=host, **given)


def test_what_balancers_have_a_server_for() -> None:
    assert found()["services"] == [
        {
            "address": "192.0.2.10",
            "backend": "203.0.113.21",
            "encapsulation": "ipip",
            "gue_port": 6080,
            "mtu": None,
        },
        {
            "address": "2001:db8:ffff::10",
            "backend": "2001:db8:2::21",
            "encapsulation": "gue",
            "gue_port": 6080,
            "mtu": 1400,
        },
    ]
    assert found()["balancers"] == ["203.0.113.0/28", "2001:db8:2::11/128"]
    assert found("web2", addresses=["203.0.113.22"])["services"] == []


def test_several_interfaces_each_with_what_it_says() -> None:
    each = [
        {"interface": "eth0", "services": [WEB], "source_address": "203.0.113.11"},
        {"interface": "eth1", "services": [OTHER], "gue_port": 7777},
    ]
    several = {"l4lb_interfaces": each, "l4lb_interface": None, "l4lb_services": None}
    answer = found(hostvars=hostvars(**several) | {"lb2": {"l4lb_state": "absent"}})
    assert [one["gue_port"] for one in answer["services"]] == [6080, 7777]
    assert answer["balancers"] == ["203.0.113.11/32", "2001:db8:2::11/128"]


LINKS = [
    {"ifname": "lo", "addr_info": [{"local": "203.0.113.99", "scope": "global"}]},
    {
        "ifname": "eth0",
        "addr_info": [
            {"local": "203.0.113.11", "scope": "global"},
            {"local": "2001:db8:2::11", "scope": "global"},
            {"local": "fe80::1", "scope": "link"},
        ],
    },
]
FACTS = {
    "eth0": {
        "ipv4": {"address": "203.0.113.11"},
        "ipv6": [
            {"address": "fe80::1", "scope": "link"},
            {"address": "2001:db8:2::11", "scope": "global"},
        ],
    }
}


@pytest.mark.parametrize(
    "known", [{"learned": {"lb1": LINKS}}, {"facts": FACTS}], ids=["its answer", "its facts"]
)
def test_where_balancers_send_from(known: dict[str, Any]) -> None:
    nothing = {"l4lb_source_address": None, "l4lb_source_address6": None}
    variables = hostvars(**nothing, ansible_facts=known.get("facts"))
    groups = {**GROUPS, "balancers": ["lb1"]}
    given = (groups, variables, "web1", ["203.0.113.21", "2001:db8:2::21"])
    answer = real_server({}, "balancers", *given, known.get("learned"))
    assert answer["balancers"] == ["203.0.113.11/32", "2001:db8:2::11/128"]
    assert answer["unknown"] == []


def test_if_one_is_unknown_nobody_is_guessed_to_be_all() -> None:
    variables = hostvars(l4lb_source_address=None)
    answer = found(hostvars=variables)
    assert (answer["balancers"], answer["unknown"]) == ([], ["lb1"])
    answer = found(hostvars=variables, options={"balancers": ["203.0.113.8/29"]})
    assert answer["balancers"] == ["203.0.113.8/29"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"group": "lbs"}, "l4lb_backend_balancer_group: 'lbs': it is not in the inventory"),
        ({"hostvars": hostvars(l4lb_services=None)}, "'lb1': no l4lb_services are among the var"),
        ({"hostvars": hostvars(l4lb_services=["web"])}, "'lb1': its services are wrong"),
        ({"options": {"decapsulation": "xdp"}}, "l4lb_backend_decapsulation: 'xdp': choose one"),
    ],
)
def test_what_is_wrong(more: dict[str, Any], told: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        found(**more)
    assert told in str(refused.value)
    assert told in found(**more, errors="return")


def facts(*addresses: str) -> dict[str, Any]:
    """As of l4lb_stats."""
    backends = [{"address": address} for address in addresses]
    return {"l4lb": {"eth0": {"services": [{"backends": backends}]}}}


def test_servers_that_nobody_cleans() -> None:
    before = facts("203.0.113.21", "203.0.113.22", "203.0.113.23", "203.0.113.24")
    variables = {**hostvars(), "web2": {"l4lb_backend_has": ["203.0.113.23"]}}
    after = facts("203.0.113.24")
    assert left_backends([before, after], ["web1", "web2"], variables) == ["203.0.113.22"]
    assert left_backends([{}, after], [], variables) == []
