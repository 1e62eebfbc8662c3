# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role l4lb_bgp beside an FRR that has its neighbours: that of Debian 13, as Debian 12's is too
old. What the agent would have in table 214 is there by hand."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.play import changed, role

PATIENCE = 60.0
VIPS = {4: "192.0.2.10/32", 6: "2001:db8:ffff::10/128"}
OTHERS = "192.0.2.99/32"
"""Somebody else's, in our table."""
SAVED = "/etc/frr/frr.conf"
OF_THE_SITE = re.findall(
    r"^```text\n! frr.conf of lb1\n(.*?)^```$",
    (CHECKOUT / "roles/l4lb_bgp/README.md").read_text(),
    re.MULTILINE | re.DOTALL,
)[0]
BGP: dict[str, Any] = {
    "bgp_daemon": "frr",
    "bgp_asn": 64512,
    "bgp_med": 50,
    "bgp_communities": ["64512:7", "64512:1:2"],
}
OF_THE_ROUTER = """
    log stderr all;
    router id 203.0.113.1;
    protocol device { }
    template bgp balancer {
        local as 64500;
        connect delay time 1;
        error wait time 1, 2;
        ipv4 { import all; export none; };
        ipv6 { import all; export none; };
    }
    protocol bgp lb1v4 from balancer { neighbor 203.0.113.11 as 64512; }
    protocol bgp lb1v6 from balancer { neighbor 2001:db8:2::11 as 64512; }
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if os.geteuid():
        pytest.skip("cannot run here: a laboratory takes root")
    topology = plan()
    hosts = topology["hosts"]
    topology["hosts"] = {name: hosts[name] for name in ("client", "router", "lb1")}
    topology["hosts"]["lb1"]["root"] = "debian-13"
    del topology["hosts"]["router"]["routes"]
    with laboratory("uf", topology) as lab:
        yield lab


@pytest.fixture(scope="module")
def router(lab: Lab) -> Host:
    host = lab.host("router")
    host.run(["sh", "-ec", "mkdir -p /run/bird; cat >/etc/bird/bird.conf"], input=OF_THE_ROUTER)
    host.start("bird", ["bird", "-f"])
    return host


@pytest.fixture(scope="module")
def lb1(lab: Lab, router: Host) -> Host:
    """It serves, and its FRR knows the router."""
    host = lab.host("lb1")
    for version, vip in VIPS.items():
        host.run(["ip", f"-{version}", *route(vip, 214)])
    host.ip([f"route add blackhole {OTHERS} table 214"])
    host.run(["sh", "-ec", f"install -d -o frr -g frr /run/frr; cat >{SAVED}"], input=OF_THE_SITE)
    for daemon in ("mgmtd", "zebra", "bgpd"):
        host.start(daemon, [f"/usr/lib/frr/{daemon}", "-A", "127.0.0.1"])
        asked = ["vtysh", "-d", daemon, "-c", "show version"]
        until(partial(_answers, host, asked))
    host.run(["vtysh", "-b"])
    until(lambda: router.run(["birdc", "show protocols"]).stdout.count("Established") == len(VIPS))
    return host


def route(vip: str, metric: int, verb: str = "add") -> list[str]:
    return ["route", verb, "blackhole", vip, *f"table 214 proto 214 metric {metric}".split()]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.2)


def _answers(host: Host, command: list[str]) -> bool:
    return host.run(command, check=False).returncode == 0


def heard(router: Host, prefix: str) -> str:
    """What it knows of a route."""
    return router.run(["birdc", f"show route all {prefix}"], check=False).stdout


def await_heard(router: Host, prefix: str, text: str) -> None:
    until(lambda: text in heard(router, prefix))


def await_gone(router: Host, prefix: str) -> None:
    until(lambda: prefix not in heard(router, ""))


def speaking(lab: Lab, *arguments: str, **variables: Any) -> str:
    return role(lab, "l4lb_bgp", *arguments, limit="lb1", **{**BGP, **variables})


def test_there_and_back(lab: Lab, lb1: Host, router: Host) -> None:
    own = configuration(lb1)
    predicted = speaking(lab, "--check")
    assert changed(predicted) == [1]
    assert "redistribute table-direct 214 route-map l4lb" in " ".join(predicted.split())
    assert configuration(lb1) == own
    assert changed(speaking(lab)) == [2]  # FRR was told, and keeps it
    assert "table-direct 214" in lb1.run(["cat", SAVED]).stdout
    assert changed(speaking(lab)) == changed(speaking(lab, "--check")) == [0]

    for vip in VIPS.values():
        await_heard(router, vip, "BGP.as_path: 64512")
        for attribute in ("BGP.med: 50", "BGP.community: (64512,7)", "(64512, 1, 2)"):
            assert attribute in heard(router, vip)
    assert OTHERS not in heard(router, "")
    assert changed(speaking(lab, bgp_med=60, bgp_communities=[])) == [2]
    await_heard(router, VIPS[4], "BGP.med: 60")
    assert "BGP.community" not in heard(router, VIPS[4])
    assert changed(speaking(lab)) == [2]

    assert changed(speaking(lab, "--check", bgp_state="absent")) == [1]
    assert changed(speaking(lab, bgp_state="absent")) == [2]
    assert changed(speaking(lab, bgp_state="absent")) == [0]
    assert configuration(lb1) == own
    for vip in VIPS.values():
        await_gone(router, vip)


def configuration(host: Host) -> str:
    return host.run(["vtysh", "-c", "show running-config"]).stdout


def test_a_balancer_that_leaves(lab: Lab, lb1: Host, router: Host) -> None:
    """By RFC 8326 first, and then for good, without a word to FRR."""
    speaking(lab)
    for version, vip in VIPS.items():
        await_heard(router, vip, "(64512,7)")
        lb1.run(["ip", f"-{version}", *route(vip, 65535)])
        lb1.run(["ip", f"-{version}", *route(vip, 214, "delete")])
        await_heard(router, vip, "(65535,0)")
        lb1.run(["ip", f"-{version}", *route(vip, 65535, "delete")])
        await_gone(router, vip)
        lb1.run(["ip", f"-{version}", *route(vip, 214)])
        await_heard(router, vip, "BGP.med: 50")
        assert "(65535,0)" not in heard(router, vip)


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"bgp_asn": 64999},
        "l4lb_bgp_asn: 64999: FRR on the host has router bgp 64512; ",
    ),
    (
        {"bgp_peers": [{"address": "203.0.113.1", "asn": 64500}]},
        "leave it out, and configure it",
    ),
    ({"bgp_daemon": "gobgp"}, "l4lb_bgp_daemon: gobgp: choose one of bird, frr"),
]


@pytest.mark.parametrize(("variables", "told"), WRONG)
def test_wrong_is_one_error(lab: Lab, lb1: Host, variables: dict[str, Any], told: str) -> None:
    before = configuration(lb1)
    output = speaking(lab, "--check", **variables)
    assert told in " ".join(output.split()), output
    assert "failed=1" in output
    assert configuration(lb1) == before
