# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A laboratory whose servers nobody has set up: a balancer, and two servers of strict habits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab, LabError
from lab.host import CHECKOUT, Host
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.real_servers import serve

TOPOLOGY = CHECKOUT / "lab/topologies/tunnels.yml"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with laboratory("rs", TOPOLOGY) as lab:
        yield lab


@pytest.fixture(scope="session", params=["bpf", "kernel"])
def way(lab: Lab, request: pytest.FixtureRequest) -> str:
    """Who unpacks."""
    if request.param == "kernel":
        try:
            add = ["ip", "link", "add", "type", "ipip", "remote", "192.0.2.1"]
            lab.host("client").run(add)
        except LabError:
            pytest.skip("cannot run here: the kernel has no ipip")
    return str(request.param)


@pytest.fixture
def web1(lab: Lab) -> Iterator[Host]:
    """A server that is set up anew by each test."""
    host = lab.host("web1")
    yield host
    serve(host, None)
