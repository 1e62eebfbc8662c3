# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer and the command, as the role makes them, for all files here.

Every test finds the balancer that the role made, and leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.command import DEPLOYED, l4lb, play
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import playbook, tasks
from tests.fleet.rig.services import VIP


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with laboratory("co") as lab:
        route = ["ip", "route", "replace", f"{VIP}/32", "via", lab.host("lb1").address]
        lab.host("router").run(route)
        # A balancer here gets packets on the CPU that forwarded them, and each has its flow table.
        steer = "for queue in /sys/class/net/*/queues/rx-0; do echo 1 >$queue/rps_cpus; done"
        lab.host("router").run(["sh", "-ec", steer])
        yield lab


def files(host: Host) -> list[str]:
    """What is installed."""
    paths = ["/usr/lib/l4lb", "/usr/sbin/l4lb", "/etc/l4lb", "/etc/systemd/system/l4lb@.service"]
    return host.run(["find", *paths], check=False).stdout.split()


@pytest.fixture(scope="session")
def deployed(lab: Lab) -> Iterator[Host]:
    """lb1 with the balancer and the command, which go without a trace."""
    host = lab.host("lb1")
    assert files(host) == []
    assert play(lab, "deploy", "--check", "--diff") == 4
    assert files(host) == []
    first = playbook(lab, "deploy", limit="lb1", **DEPLOYED)
    assert "changed=4 " in first.stdout, "directory, file, link, balancer"
    assert "- 'web: added with 2 backends'" in first.stdout
    again = playbook(lab, "deploy", "--diff", limit="lb1", **DEPLOYED)
    assert "changed=0 " in again.stdout
    assert len(tasks(again.stdout)) <= 10, "someone reads that for each host"
    assert "/usr/lib/l4lb/l4lb" in files(host)
    yield host
    assert play(lab, "remove", "--check") == play(lab, "remove") == 2
    assert play(lab, "remove") == 0
    assert files(host) == []


@pytest.fixture
def lb1(deployed: Host) -> Iterator[Host]:
    yield deployed
    l4lb(deployed, "apply", "-", given=DEPLOYED)
