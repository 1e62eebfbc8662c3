# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read in a difference says what the state is."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.listing import listing
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

NAMES = [
    "web",
    "no",
    "Yes",
    "null",
    "~",
    "12",
    "1.5",
    "1_000",
    "0x10",
    "a: b",
    "- a",
    "é",
    "#",
    "{a}",
]
NAMES += ["12:30:45", "2026-11-25", "a b", "'", '"', "=", "<<", "y", ".inf", "e1"]


def config(**options: Any) -> dict[str, Any]:
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    return parse_config({"interface": "eth0", "services": [service], **options}).dump()


def test_none_is_empty() -> None:
    assert listing({}) == ""


@pytest.mark.parametrize("name", NAMES)
def test_it_is_yaml_that_says_the_same(name: str) -> None:
    backends = [
        {"address": "10.0.0.1"},
        {"address": "2001:db8::1", "weight": 3, "mac": "52:54:00:12:34:56", "mtu": 1400},
        {"address": "1:2:3:4:5:6:7:8", "state": "drained", "backup": True, "held": True},
    ]
    service = {"name": name, "address": "2001:db8::10", "port": 0, "protocol": "udp"}
    state = config(
        services=[
            {**service, "backends": backends, "flow_table": False},
            {"name": "none at all", "address": "192.0.2.10", "port": 80, "protocol": "tcp"},
        ],
        source_address="192.0.2.0/28",
        own_macs=["52:54:00:00:00:16"],
        hash_seed=2**64 - 1,
    )
    assert parse_config(yaml.safe_load(listing(state))).dump() == state


@pytest.mark.parametrize(
    "text", ["a: b, {c}", "\0\x7f\x85\u2028\U0001f600\U000e0001", "é\r\n'\"\\", "no"]
)
def test_a_check_is_a_line(text: str) -> None:
    check = {"type": "http", "path": "/{a,b}", "timeout": 0.5, "expect": text}
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    state = config(services=[{**service, "check": check, "min_healthy": "50%"}])
    found = listing(state)
    assert parse_config(yaml.safe_load(found)).dump() == state
    assert all(line.isprintable() for line in found.split("\n"))
    assert [line.split(":")[0] for line in found.splitlines() if "http" in line] == ["  check"]


def test_a_backend_is_a_line() -> None:
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    state = config(services=[{**service, "backends": [{"address": "10.0.0.1"}]}])
    lines = listing(state).splitlines()
    assert "- name: web" in lines
    assert "  - {address: 10.0.0.1, weight: 1, state: enabled}" in lines


def test_without_services() -> None:
    assert listing(config(services=[])).endswith("services: []\n")
