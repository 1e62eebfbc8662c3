# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""More next hops than the kernel keeps neighbours, in a machine whose neighbour tables are for
tests: `make kernels` has one. The limits show in its initial network namespace only, so it balances
itself.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import (
    neighbour_table,
    neighbours,
)

from tests.fleet.there.library import sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config

CARD = "52:54:00:4c:34"
"""MAC addresses of virtio cards in machines that tools/kernels boots."""
INTERFACE, SERVERS = "crowd", "l4lb-crowd"
SOFT, HARD = (neighbour_table.name(4, limit) for limit in ("soft", "hard"))
PATIENCE = 120.0
"""Seconds for all to answer, where a processor may be emulated."""
QUIET = 20.0
"""Seconds after which the kernel would have forgotten some, if it does."""


def ip(command: str, namespace: str = "") -> None:
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    subprocess.run([*inside, "ip", *command.split()], check=True)


@pytest.fixture
def paths() -> Iterator[Paths]:
    """This machine, which has thousands of servers on a link."""
    addresses = (path.read_text() for path in Path("/sys/class/net").glob("*/address"))
    if not any(one.startswith(CARD) for one in addresses):
        pytest.skip("cannot run here: the neighbour tables of this machine are not for tests")
    ip(f"netns add {SERVERS}")
    ip(f"link add {INTERFACE} type veth peer name servers netns {SERVERS}")
    ip(f"address add 10.9.0.1/19 dev {INTERFACE}")
    ip(f"link set {INTERFACE} up")
    for command in (
        "link set lo up",
        "link set servers up",
        "address add 10.9.0.2/19 dev servers",
    ):
        ip(command, SERVERS)
    ip("route add local 10.9.16.0/20 dev lo", SERVERS)  # so it answers for all of them
    yield Paths()
    Balancer(INTERFACE).apply(None)
    ip(f"link delete {INTERFACE}")
    ip(f"netns delete {SERVERS}")


def config(count: int, **options: Any) -> Config:
    backends = [{"address": f"10.9.{n // 250 + 16}.{n % 250 + 1}"} for n in range(count)]
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    services = [{**service, "backends": backends}]
    return parse_config({"interface": INTERFACE, "services": services, **options})


def test_more_next_hops_than_the_kernel_keeps(paths: Paths) -> None:
    balancer = Balancer(INTERFACE, sources())
    few, many = 700, 1100
    limits = neighbour_table.limits(paths, 4)
    assert limits
    assert (limits.soft, limits.hard) == (512, 1024), "the kernel's own"
    (warning,) = (one for one in balancer.plan(config(few)).warnings if "neighbours" in one)
    assert f"{few} next hops" in warning
    assert f"{SOFT} is 512" in warning
    with pytest.raises(HostError, match=f"{many} next hops .* {HARD} is 1024, .* set it to 8192"):
        balancer.apply(config(many))
    assert neighbours.managed() == set()

    managed = config(many, manage_sysctls=True)
    assert f"set {HARD} to 8192" in balancer.plan(managed).steps
    outcome = balancer.apply(managed)
    assert f"set {HARD} to 8192" in outcome.plan.steps
    hops = neighbours.managed()
    assert len(hops) == many
    assert neighbours.unresolved(hops, PATIENCE) == []
    time.sleep(QUIET)
    assert neighbours.unresolved(neighbours.managed(), 0) == []
    assert neighbours.managed() == hops
    assert balancer.plan(managed).steps == ()
    assert f"{HARD} = 8192" in (neighbour_table.content(paths) or "")

    assert f"remove {neighbour_table.file_of(paths)}" in balancer.apply(None).plan.steps
    assert neighbour_table.content(paths) is None
