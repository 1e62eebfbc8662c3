# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that fails, or is killed, at any step."""

from __future__ import annotations

from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, packets, program, saved, state, traces
from tests.fleet.rig.clients import works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import service, wanted
from tests.fleet.there import accidents
from tests.fleet.there.library import parse_config


def stopped(
    host: Host, step: str, kill: bool, config: dict[str, Any], new_program: bool = True
) -> None:
    """Apply, and fail or be killed at a step; a run that fails leaves all as it was."""
    before = state(host)
    outcome = python(host, accidents.stopped, step=step, kill=kill, wanted=config)
    if step == "attach" and not new_program:
        assert "error" not in outcome and outcome["steps"], "there is nothing to attach"
    elif kill:
        assert outcome == {"killed": True}
    elif step in accidents.TIDYING:
        assert "the sky falls" in str(outcome["warnings"])
        assert outcome["steps"], "what was wanted is there; it is said what is left"
    else:
        assert outcome["message"] == "the sky falls"
        assert state(host) == before


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
@pytest.mark.parametrize("step", accidents.STEPS)
def test_a_run_that_stops_half_way(lab: Lab, lb1: Host, step: str, kill: bool) -> None:
    """First on a host without a balancer, then with other backends, then with other features."""
    first, second = wanted(service(1, 2)), wanted(service(2, 3))
    third = wanted(service(2, 3, scheduler="jhash"))
    stopped(lb1, step, kill, first)
    apply(lb1, first)
    assert apply(lb1, first)["steps"] == []
    works(lab, 1, 2)
    before = packets(lb1)["web 203.0.113.22"]
    for config, new_program in ((second, False), (third, True)):
        stopped(lb1, step, kill, config, new_program)
        works(lab, 1, 2, 3)
        assert "error" not in apply(lb1, config)
        assert apply(lb1, config)["steps"] == []
        works(lab, 2, 3)
        assert packets(lb1)["web 203.0.113.22"] > before
        before = packets(lb1)["web 203.0.113.22"]
    assert lb1.run(["ls", "/sys/fs/bpf/l4lb"]).stdout == "eth0\n"
    assert "%" not in lb1.run(["ls", "/sys/fs/bpf/l4lb/eth0"]).stdout
    assert saved(lb1) == {"eth0.json": parse_config(third).dump()}


def test_a_full_disk(lab: Lab, lb1: Host) -> None:
    """Nothing has changed yet when it is noticed."""
    full = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4", "none", "/etc/l4lb"]
    apply(lb1, wanted(service(1, 2)))
    loaded = program(lb1)
    lb1.run(full)
    lb1.run(["sh", "-c", "cat /dev/zero >/etc/l4lb/zeros"], check=False)
    outcome = apply(lb1, wanted(service(3, scheduler="jhash")))
    assert outcome["error"] == "HostError"
    assert outcome["message"] == "write /etc/l4lb/eth0.json.new: No space left on device"
    assert lb1.run(["ls", "/etc/l4lb"]).stdout == "zeros\n"
    lb1.run(["umount", "/etc/l4lb"])
    assert program(lb1) == loaded
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == []


@pytest.mark.parametrize("step", ["neighbours", "attach", "finish"])
def test_removal_after_a_run_was_killed(lb1: Host, step: str) -> None:
    python(lb1, accidents.stopped, step=step, kill=True, wanted=wanted(service(1, 2)))
    apply(lb1, None)
    assert traces(lb1) == []
