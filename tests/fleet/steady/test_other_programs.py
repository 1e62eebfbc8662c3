# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of others, and of other times; and the flow table, which outlives its program."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, leftovers, plan, program, traces
from tests.fleet.rig.clients import FLOWS, traffic
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import WEB, echoes, wanted
from tests.fleet.there import looking, strangers

# The flow table and its secret.


def test_flows_of_a_drained_backend_outlive_the_program(lab: Lab, lb1: Host) -> None:
    """Nothing but the flow table knows where they belong, and it is found by its secret only."""
    apply(lb1, wanted(*echoes(*WEB)))
    secret = python(lb1, looking.key_of_the_flows)
    with traffic(lab) as running:
        drained: dict[str, Any] = {"web2": {"state": "drained"}, "web3": {"weight": 0}}
        apply(lb1, wanted(*echoes(*WEB, **drained)))
        programs = {program(lb1)}
        for options in ({"encapsulation": "gue"}, {"scheduler": "jhash"}, {}):
            apply(lb1, wanted(*echoes(*WEB, **drained, **options)))
            programs.add(program(lb1))
            assert python(lb1, looking.key_of_the_flows) == secret
    assert len(programs) == 4
    servers = [running.stream.servers(flow) for flow in range(FLOWS)]
    assert {"web2", "web3"} <= {server for each in servers for server in each}
    assert set(map(len, servers)) == {1}


def test_another_flow_table_has_another_secret(lb1: Host) -> None:
    config = wanted(*echoes(*WEB))
    apply(lb1, config)
    first = python(lb1, looking.key_of_the_flows)
    assert (
        "flows remembered so far are forgotten"
        in apply(lb1, {**config, "flow_table_size": 1 << 18})["steps"]
    )
    second = python(lb1, looking.key_of_the_flows)
    assert first[0] != second[0]
    assert len({first[1], second[1], "00" * 8}) == 3


# Programs of others, and of other times.


@pytest.mark.parametrize("wanted_state", ["present", "absent"])
def test_an_older_release_had_other_maps(lb1: Host, wanted_state: str) -> None:
    """By its pin it is ours all the same."""
    python(lb1, strangers.older)
    old = program(lb1)
    asked = python(lb1, strangers.statistics)
    assert "of another version of the collection" in asked["message"]
    if wanted_state == "absent":
        apply(lb1, None)
        assert traces(lb1) == []
        return
    nonsense = {"send/encap.h": "nonsense"}
    config = wanted(*echoes(*WEB))
    broken = python(lb1, strangers.with_sources, wanted=config, others=nonsense)
    assert broken["error"] == "CompileError"
    assert program(lb1) == old
    outcome = apply(lb1, wanted(*echoes(*WEB)))
    assert outcome["mode"] == "native"
    assert program(lb1) != old
    assert leftovers(lb1, "eth0") == []
    assert apply(lb1, wanted(*echoes(*WEB)))["steps"] == []


@pytest.mark.parametrize(
    ("versions", "without"),
    [(1, []), (1, ["second", "build"]), (0, ["past"])],
    ids=["of the maps", "of maps and manifest", "of the manifest"],
)
def test_upgrade_from_another_layout(
    lab: Lab, lb1: Host, versions: int, without: list[str]
) -> None:
    """The program is replaced at once; flows go on where the lookup table sends them, too."""
    config = wanted(*echoes(*WEB))
    was = python(
        lb1, strangers.of_another_layout, wanted=config, versions=versions, without=without
    )
    assert "error" not in was
    old = program(lb1)
    predicted = plan(lb1, config)["steps"]
    with traffic(lab):
        outcome = apply(lb1, config)
        assert outcome["steps"] == predicted
        assert predicted[0].endswith("the one in place cannot be read")
        assert predicted[1] == "flows remembered so far are forgotten"
    assert program(lb1) != old
    assert apply(lb1, config)["steps"] == []
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
def test_a_failing_take_over_leaves_the_foreign_program(lb1: Host, mode: str) -> None:
    python(lb1, strangers.foreign, mode="native")
    stranger = program(lb1)
    config = wanted(*echoes(*WEB), mode=mode)
    outcome = python(lb1, strangers.refused_first, wanted=config)
    assert outcome["message"] == "the driver refuses"
    assert program(lb1) == stranger
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    assert traces(lb1) == []


def test_a_program_that_a_bpf_link_holds(lb1: Host) -> None:
    """The kernel lets nobody replace it."""
    outcome, still = python(lb1, strangers.linked, wanted=wanted(*echoes(*WEB)))
    assert outcome["error"] == "KernelError"
    assert "stop the program that holds it" in outcome["message"]
    assert still
    deadline = time.monotonic() + 5
    while program(lb1) and time.monotonic() < deadline:  # the link goes soon after its process
        time.sleep(0.05)
    assert traces(lb1) == []
