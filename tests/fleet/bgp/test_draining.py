# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook drain, which takes a balancer out and brings it back."""

from __future__ import annotations

import re
import shlex
import subprocess

from lab.host import CHECKOUT
from tests.fleet.bgp.conftest import Fleet
from tests.fleet.rig.play import playbook, run

PAGE = (CHECKOUT / "docs/fleet.md").read_text()


def drain(fleet: Fleet, *arguments: str, code: int = 0, **variables: object) -> tuple[int, str]:
    """How many tasks changed something, and what it prints, on one line."""
    given = {"balancer": "lb1", "wait_timeout": 20, **variables}
    done = playbook(fleet.lab, "drain", *arguments, limit="balancers", settings={}, **given)
    return told(done, code)


def typed(fleet: Fleet, command: str) -> tuple[int, str]:
    """The same of what docs/fleet.md has one type."""
    program, *arguments = shlex.split(command)
    assert arguments.pop(0) == "-i" and arguments.pop(0) == "inventory.yml"
    return told(run(fleet.lab, "--limit", "balancers", *arguments, program=program))


def told(done: subprocess.CompletedProcess[str], code: int = 0) -> tuple[int, str]:
    assert done.returncode == code, done.stdout + done.stderr
    changed = sum(map(int, re.findall(r"changed=(\d+)", done.stdout)))
    return changed, " ".join((done.stdout + done.stderr).split())


def test_out_and_back(fleet: Fleet) -> None:
    assert drain(fleet, "--check", "--diff")[0] == 1
    assert fleet.hops() == {"lb1", "lb2"}
    out, back = re.findall(r"^\$ (.* xdp.l4lb.drain .*)$", PAGE, re.MULTILINE)
    assert typed(fleet, out)[0] == 1
    fleet.until_hops("lb2")
    assert drain(fleet)[0] == 0

    refused = "lb2 is the last one known to announce 192.0.2.10, 2001:db8:ffff::10; announce"
    assert refused in drain(fleet, "--check", balancer="lb2", code=2)[1]
    changed, shown = typed(fleet, back)
    assert changed == 1 and "192.0.2.10 is announced" in shown
    fleet.until_hops("lb1", "lb2")


def test_wrong_orders(fleet: Fleet) -> None:
    for given, error in (
        ({"balancer": "lb9"}, "l4lb_balancer: 'lb9': this run is for other balancers: lb1, lb2"),
        ({"balancer_state": "drained"}, "'drained': choose withdrawn or announced"),
        ({"backend": "203.0.113.21"}, "Give either l4lb_backend or l4lb_balancer"),
    ):
        assert error in drain(fleet, code=2, **given)[1]
    assert fleet.hops() == {"lb1", "lb2"}
