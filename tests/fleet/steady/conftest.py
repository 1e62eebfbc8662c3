# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A laboratory with two ways between client and servers, and lb1 in both, for all files here.

TCP connections stay open and are compared byte for byte; UDP datagrams carry numbers. All that
reaches the balancers does so on one CPU, as a flow does on a NIC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.balancers import cleaned
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.services import OTHER_VIP, WEB


def topology() -> dict[str, Any]:
    """That of two-ways.yml, with VIPs from 192.0.2.128 on behind lb1's second interface."""
    topology = plan(CHECKOUT / "lab/topologies/two-ways.yml")
    hosts = topology["hosts"]
    hosts["router"]["routes"] += ["192.0.2.128/25 via 203.0.113.2"]
    hosts["bypass"]["routes"] = ["192.0.2.128/25 via 198.51.100.130"]
    for name in WEB:
        hosts[name] = {**hosts[name], "loopback": [*hosts[name]["loopback"], f"{OTHER_VIP}/32"]}
        echo = hosts[name]["services"]["echo"]
        service = {**echo, "command": [*echo["command"], OTHER_VIP]}
        hosts[name]["services"] = {**hosts[name]["services"], "echo": service}
    return topology


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with laboratory("st", topology()) as lab:
        yield lab


@pytest.fixture
def lb1(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb1"))
