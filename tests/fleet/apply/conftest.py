# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A laboratory with a few more paths through lb1, for all files here.

Every test begins on a host without a balancer, and the fixture makes sure that it ends on one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.balancers import cleaned
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.services import ECHO, OTHER_VIP, ROUTED, VIP, WEB


def topology() -> dict[str, Any]:
    """lb1 has a second interface, eth1, for VIPs from 192.0.2.128 on; lb2 has no bpffs. Flows
    stay on one CPU."""
    topology = plan()
    hosts = topology["hosts"]
    hosts["router"]["interfaces"]["second"] = {"addresses": ["10.77.0.1/30"]}
    hosts["router"]["routes"] += [
        "192.0.2.128/25 via 10.77.0.2",
        f"{ROUTED}/32 via 203.0.113.11",
    ]
    hosts["lb1"]["interfaces"]["eth1"] = {"to": "router/second", "addresses": ["10.77.0.2/30"]}
    hosts["lb1"]["routes"] = [*hosts["lb1"]["routes"], f"{ROUTED}/32 via {WEB['web4']}"]
    hosts["lb2"]["bpffs"] = False
    for name in WEB:
        loopback = [*hosts[name]["loopback"], f"{OTHER_VIP}/32"]
        balancers = [*hosts[name]["balancers"], "10.77.0.2"]
        hosts[name] = {**hosts[name], "loopback": loopback, "balancers": balancers}
    hosts["web4"]["loopback"] = [*hosts["web4"]["loopback"], f"{ROUTED}/32"]
    hosts["router"]["cpu"] = 0
    return topology


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """With lab/servers/echo.py on the servers."""
    with laboratory("ap", topology()) as lab:
        for name in WEB:
            lab.host(name).start(
                "echo", ["python3", f"{CHECKOUT}/lab/servers/echo.py", str(ECHO), VIP]
            )
        yield lab


@pytest.fixture
def lb1(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb1"))


@pytest.fixture
def lb2(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb2"))
