# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that fills in backends from inventory groups."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.filter.desired_state import desired_state

GROUPS = {"webservers": ["web2", "web1"], "empty": [], "addresses": ["203.0.113.5"]}
HOSTVARS: dict[str, dict[str, Any]] = {
    "web1": {
        "ansible_host": "203.0.113.21",
        "l4lb_backend_weight": "3",
        "l4lb_backend_mtu": "1400",
    },
    "web2": {
        "ansible_host": "web2.example.com",
        "ansible_facts": {"default_ipv4": {"address": "203.0.113.22"}},
        "l4lb_backend_state": "drained",
        "l4lb_backend_mac": "52:54:00:00:00:16",
        "l4lb_backend_backup": "true",
    },
    "203.0.113.5": {},
}


def options(**service: Any) -> dict[str, Any]:
    web = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp", **service}
    return {"interface": "eth0", "mode": None, "services": [web]}


def backends(
    service: dict[str, Any], hostvars: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    state = desired_state(options(**service), GROUPS, {**HOSTVARS, **(hostvars or {})})
    return list(state["services"][0]["backends"])


def test_a_group_brings_its_hosts_and_their_variables() -> None:
    common = {"mac": None, "mtu": None}
    assert backends({"backend_group": "webservers", "backends": None}) == [
        {**common, "address": "203.0.113.21", "weight": 3, "state": "enabled", "mtu": 1400},
        {
            **common,
            "address": "203.0.113.22",
            "weight": 1,
            "state": "drained",
            "mac": "52:54:00:00:00:16",
            "backup": True,
        },
    ]


def test_the_order_of_the_inventory_counts_for_jhash_and_listed_ones_follow() -> None:
    found = backends(
        {
            "backend_group": "webservers",
            "backends": [{"address": "203.0.113.1"}],
            "scheduler": "jhash",
        }
    )
    assert [backend["address"] for backend in found] == [
        "203.0.113.22",
        "203.0.113.21",
        "203.0.113.1",
    ]


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"l4lb_backend_address": "10.0.0.9"}, "10.0.0.9"),
        (
            {
                "l4lb_backend_address": "",
                "ansible_host": "web1.example.com",
                "ansible_facts": {"default_ipv4": {"address": "10.0.0.8"}},
            },
            "10.0.0.8",
        ),
        (
            {
                "ansible_host": "10.0.0.6",
                "ansible_facts": {"default_ipv4": {"address": "10.0.0.8"}},
            },
            "10.0.0.6",
        ),
        ({"ansible_facts": {"default_ipv4": {}}, "ansible_host": "10.0.0.7"}, "10.0.0.7"),
    ],
    ids=["variable", "fact", "ansible_host though there are facts", "ansible_host"],
)
def test_where_the_address_comes_from(variables: dict[str, Any], address: str) -> None:
    hostvars = {"web1": {"ansible_host": "203.0.113.21", **variables}}
    found = [backend["address"] for backend in backends({"backend_group": "webservers"}, hostvars)]
    assert sorted(found) == sorted([address, "203.0.113.22"])


def test_a_host_with_an_ipv6_address_among_others() -> None:
    hostvars = {"web1": {"l4lb_backend_address": "2001:DB8::21"}}
    found = [backend["address"] for backend in backends({"backend_group": "webservers"}, hostvars)]
    assert found == ["203.0.113.22", "2001:db8::21"]


def test_a_host_may_be_named_after_its_address() -> None:
    assert backends({"backend_group": "addresses"})[0]["address"] == "203.0.113.5"


def test_a_service_may_be_empty_if_it_says_so() -> None:
    assert backends({"backends": []}) == []


def test_options_that_are_none_take_defaults() -> None:
    state = desired_state({**options(backends=[]), "hash_seed": "7"}, {}, {})
    assert (state["mode"], state["hash_seed"], state["services"][0]["scheduler"]) == (
        "auto",
        7,
        "maglev",
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("flow_table_size", 4096), ("udp_timeout", 60), ("gue_port", 6081), ("hash_seed", 7)],
)
def test_numbers_may_be_text(option: str, value: int) -> None:
    """As templates and -e give them."""
    state = desired_state({**options(backends=[]), option: str(value)}, {}, {})
    assert state[option] == value


@pytest.mark.parametrize(
    ("service", "hostvars", "words"),
    [
        ({}, {}, ["l4lb_services[web]", "give backends or backend_group"]),
        (
            {"backend_group": "wbservers"},
            {},
            ["backend_group: 'wbservers': it is not in the inventory"],
        ),
        ({"backend_group": "empty"}, {}, ["backend_group: 'empty': it has no hosts"]),
        (
            {"backend_group": "webservers"},
            {"web1": {"ansible_host": "web1.example.com"}},
            ["'web1': the address of this host is not known; set l4lb_backend_address"],
        ),
        (
            {"backend_group": "webservers"},
            {"web1": {"l4lb_backend_address": "10.0.0.300"}},
            ["l4lb_backend_address of the host web1", "'10.0.0.300'"],
        ),
        (
            {"backend_group": "webservers", "backends": [{"address": "203.0.113.21"}]},
            {},
            ["listed twice"],
        ),
        ({"backends": [], "port": 65536}, {}, ["l4lb_services[web].port", "65536", "0 to 65535"]),
        ({"backends": [{"address": "10.0.0.1", "wieght": 1}]}, {}, ["wieght", "weight"]),
        ({"backends": "10.0.0.1"}, {}, ["backends", "give a list"]),
        ({"backends": "10.0.0.1", "backend_group": "webservers"}, {}, ["backends", "give a list"]),
        (
            {"backends": [], "address": "127.0.0.2"},
            {},
            ["l4lb_services[web].address: '127.0.0.2': a loopback address"],
        ),
        (
            {"backend_group": "webservers"},
            {"web1": {"ansible_host": "127.0.0.1"}},
            ["l4lb_services[web].backends[127.0.0.1].address: '127.0.0.1': a loopback address"],
        ),
        (
            {"backends": [{"address": "192.0.2.10"}]},
            {},
            ["l4lb_services[web].backends[192.0.2.10].address", "the address of the service web"],
        ),
    ],
)
def test_one_clear_error(
    service: dict[str, Any], hostvars: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        backends(service, hostvars)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize("services", [None, "web", ["web"]])
def test_services_must_be_a_list_of_services(services: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"l4lb_services"):
        desired_state({"interface": "eth0", "services": services}, {}, {})


def test_a_problem_as_text_is_the_message_of_the_error() -> None:
    with pytest.raises(AnsibleFilterError) as error:
        backends({"backends": [], "port": 65536})
    wrong = options(backends=[], port=65536)
    assert desired_state(wrong, GROUPS, HOSTVARS, errors="return") == str(error.value)
    right = desired_state(options(backends=[]), GROUPS, HOSTVARS, errors="return")
    assert right == desired_state(options(backends=[]), GROUPS, HOSTVARS)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("metrics_listen", "localhost:9942", "give an address and a port from 1024 on"),
        ("metrics_listen", "0.0.0.0:80", "give an address and a port from 1024 on"),
        ("metrics_per_backend", "some", "give true or false"),
    ],
)
def test_an_option_of_the_role_alone_is_checked(option: str, value: str, told: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"^l4lb_{option}: '{value}': {told}"):
        desired_state({**options(backends=[]), option: value}, GROUPS, HOSTVARS)
