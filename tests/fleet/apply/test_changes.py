# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run makes of another configuration, and of what is odd about one."""

from __future__ import annotations

from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, counters, packets, program
from tests.fleet.rig.clients import answers, works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import VIP, WEB, service, wanted
from tests.fleet.there import looking


def test_a_change_keeps_the_program_and_the_counters(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    loaded, before = program(lb1), packets(lb1)
    served = answers(lab)["web1"]
    before = packets(lb1)
    outcome = apply(lb1, wanted(service(2, 3)))
    (step,), (move,) = outcome["steps"], outcome["moves"]
    exchange = f"web: 1 backend added ({WEB['web3']}), 1 backend removed ({WEB['web1']})"
    assert step.startswith(f"{exchange}, 66.7")
    assert step.endswith(f" % of new flows move, {move['established_flows']} established")
    assert move["established_flows"] >= served > 0
    assert program(lb1) == loaded
    assert packets(lb1) == {"web 203.0.113.22": before["web 203.0.113.22"], "web 203.0.113.23": 0}
    works(lab, 2, 3)
    before = packets(lb1)
    assert all(before.values())

    # Known by its address, port and protocol, a service may have another name.
    renamed = wanted(service(2, 3, name="www"), service(1, name="web", port=81))
    assert apply(lb1, renamed)["steps"] == [
        "web: added with 1 backend",
        "www: renamed from web, no flow moves",
    ]
    after = packets(lb1)
    assert after.pop("web 203.0.113.21") == 0
    assert after == {name.replace("web", "www"): count for name, count in before.items()}
    swapped = wanted(service(2, 3, name="web"), service(1, name="www", port=81))
    apply(lb1, swapped)
    assert packets(lb1) == {**before, "www 203.0.113.21": 0}
    assert program(lb1) == loaded
    works(lab, 2, 3)


def test_other_features_bring_another_program_and_keep_the_counters(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    loaded, before = program(lb1), packets(lb1)
    more = wanted(service(1, 2), service(3, name="more", port=8080, scheduler="jhash"))
    outcome = apply(lb1, more)
    assert outcome["steps"][0] == "compile and load the program: the services use other features"
    assert program(lb1) != loaded
    assert packets(lb1) == {**before, "more 203.0.113.23": 0}
    works(lab, 1, 2)
    works(lab, 3, url=f"http://{VIP}:8080/")
    assert apply(lb1, more)["steps"] == []


def test_growth_keeps_the_counters(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    loaded, before = program(lb1), packets(lb1)
    mac = "02:00:00:00:00:09"
    crowd = [{"address": f"10.9.{n >> 8}.{n & 255}", "mac": mac} for n in range(1023)]
    grown = wanted(service(1, 2), service(*crowd, name="crowd", port=81))
    outcome = apply(lb1, grown)
    assert any("more backends than the maps have room for" in step for step in outcome["steps"])
    assert program(lb1) != loaded
    after = packets(lb1)
    assert {name: after[name] for name in before} == before
    works(lab, 1, 2)
    # It does not shrink again: that would be for nothing.
    loaded = program(lb1)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == ["crowd: removed, 0 established flows end"]
    assert program(lb1) == loaded
    works(lab, 1, 2)


def test_modes(lab: Lab, lb1: Host) -> None:
    for mode, got in (("generic", "generic"), ("native", "native"), ("auto", "native")):
        outcome = apply(lb1, wanted(service(1, 2), mode=mode))
        assert outcome["mode"] == got
        assert outcome["after"]["mode"] == mode
        assert counters(lb1)["mode"] == got
        assert apply(lb1, wanted(service(1, 2), mode=mode))["steps"] == []
        works(lab, 1, 2)
    sent = sum(packets(lb1).values())
    assert apply(lb1, wanted(service(1, 2), mode="generic"))["mode"] == "generic"
    assert sum(packets(lb1).values()) == sent


@pytest.mark.parametrize(
    "services",
    [
        [],
        [service()],
        [
            service(
                {"address": WEB["web1"], "weight": 0}, {"address": WEB["web2"], "state": "drained"}
            )
        ],
    ],
    ids=["no service", "no backends", "no share"],
)
def test_nobody_to_send_to(lab: Lab, lb1: Host, services: list[dict[str, Any]]) -> None:
    assert apply(lb1, wanted(*services))["mode"] == "native"
    assert apply(lb1, wanted(*services))["steps"] == []
    lab.host("client").run(["curl", "-s", "--max-time", "0.2", f"http://{VIP}/"], check=False)
    found = counters(lb1)
    assert [one["packets"] for one in found["services"]] == [0] * len(services)
    assert (found["drops"]["no_backend"] > 0) == bool(services)


def test_a_state_is_drawn_once(lb1: Host) -> None:
    """By a run that looks again at what it did, too: once what is there, and once what comes."""
    assert python(lb1, looking.drawn, wanted=wanted(service(1, 2))) == [1, []]
    assert python(lb1, looking.drawn, wanted=wanted(service(1, 2))) == [1, []]
    assert python(lb1, looking.drawn, wanted=wanted(service(2, 3))) == [2, []]


def test_a_permanent_neighbour_is_left_alone(lb1: Host) -> None:
    """An operator has given the MAC address of a next hop."""
    entry = ["ip", "neigh", "replace", WEB["web1"], "lladdr", "02:00:00:00:00:09", "dev", "eth0"]
    lb1.run([*entry, "nud", "permanent"])
    try:
        warnings = apply(lb1, wanted(service(1, 2)))["warnings"]
        assert [one for one in warnings if not one.startswith("compiled with the headers")] == []
        show = ["ip", "neigh", "show", WEB["web1"]]
        assert "lladdr 02:00:00:00:00:09 PERMANENT" in lb1.run(show).stdout
        assert apply(lb1, wanted(service(1, 2)))["steps"] == []
        apply(lb1, None)
        assert "lladdr 02:00:00:00:00:09 PERMANENT" in lb1.run(show).stdout
    finally:
        lb1.run(["ip", "neigh", "delete", WEB["web1"], "dev", "eth0"])


def test_odd_names_of_services(lab: Lab, lb1: Host) -> None:
    names = ["Web", "services", "backends", "a]b", "é %s \\", "x" * 63]
    odd = wanted(*(service(1, name=name, port=80 + n) for n, name in enumerate(names)))
    assert apply(lb1, odd)["mode"] == "native"
    assert apply(lb1, odd)["steps"] == []
    works(lab, 1)
    assert {one["name"] for one in counters(lb1)["services"]} == set(names)


def test_backends_without_a_next_hop(lb1: Host) -> None:
    """They are told of, and nothing is tried again and again."""
    lb1.run(["ip", "route", "add", "unreachable", "10.82.0.0/24"])
    addresses = [lb1.address, "127.0.0.1", "10.82.0.1"]
    config = wanted(service(*({"address": address} for address in addresses)))
    for steps in (True, False):
        outcome = apply(lb1, config, accepted=True)
        assert bool(outcome["steps"]) == steps
        for address in addresses:
            warning = f"no next hop for backend {address}; packets to it are dropped"
            assert warning in outcome["warnings"]
    lb1.run(["ip", "route", "del", "unreachable", "10.82.0.0/24"])
