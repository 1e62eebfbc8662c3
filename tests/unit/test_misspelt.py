# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that are nearly spelt like one of the collection's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.plugin_utils.misspelt import KNOWN, misspelt

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("l4lb_hash_sed", "l4lb_hash_seed"),
        ("l4lb_own_mac", "l4lb_own_macs"),
        ("l4lb_flow_tabel_size", "l4lb_flow_table_size"),
        ("l4lb_manage_package", "l4lb_manage_packages"),
        ("l4lb_backend_wieght", "l4lb_backend_weight"),
        ("l4lb_wait_timout", "l4lb_wait_timeout"),
        ("l4lb_gatherfacts", "l4lb_gather_facts"),
        ("l4lb_Mode", "l4lb_mode"),
    ],
)
def test_a_name_that_is_nearly_right(name: str, meant: str) -> None:
    assert [*misspelt([name, "ansible_host"])] == [f"{name}: did you mean {meant}?"]


@pytest.mark.parametrize("name", ["l4lb_team", "l4lb_", "l4lb_my_services", "hash_sed", "l4lb_vip"])
def test_a_name_of_somebody_s_own(name: str) -> None:
    assert [*misspelt([name])] == []


def test_all_that_roles_and_playbooks_read_is_known() -> None:
    files = [*(CHECKOUT / "playbooks").rglob("*.yml"), *(CHECKOUT / "roles").rglob("*.yml")]
    text = "".join(path.read_text() for path in files)
    names = set(re.findall(r"(?<![\w.])l4lb_([a-z0-9_]+)", text)) - {
        "stats",
        "bgp",
    }  # a module, a role
    assert sorted(names - KNOWN) == []
