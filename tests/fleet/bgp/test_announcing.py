# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is announced, and what becomes of traffic when it is not any more."""

from __future__ import annotations

import json
import os
import signal
import time

from lab.host import Host
from tests.fleet.bgp.conftest import (
    DEPLOYED,
    VIP6,
    Fleet,
    announced,
    connections,
    services,
    start_agent,
    start_echo,
    told,
)
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.services import VIP

ROUTES = [
    f"blackhole {VIP} proto 214 metric 214 ",
    f"blackhole {VIP6} dev lo proto 214 metric 214 pref medium",
]
OTHERS = ["198.51.100.77/32", "192.0.2.99/32"]
"""Routes of somebody else in our table."""


def test_what_is_served_is_announced(fleet: Fleet, lb1: Host) -> None:
    assert announced(lb1) == ROUTES
    assert told(lb1) == [f"{VIP} is announced", f"{VIP6} is announced"]
    (status,) = json.loads(l4lb(lb1, "status", "--json")).values()
    (stats,) = json.loads(l4lb(lb1, "stats", "--json", "--interval", "0")).values()
    expected = {vip: {"announced": True, "reason": None} for vip in (VIP, VIP6)}
    assert status["announcement"] == stats["announcement"] == expected
    assert fleet.hops() == {"lb1", "lb2"}


def test_an_agent_that_dies_leaves_routes(fleet: Fleet, lb1: Host) -> None:
    said = lb1.log("agent").read_text().count("is announced")
    with connections(fleet):
        process = lb1.running("agent")
        assert process
        os.kill(process, signal.SIGKILL)
        fleet.until(lambda: not lb1.running("agent"))
        lb1.stop("agent")
        assert announced(lb1) == ROUTES
        start_agent(lb1)
        fleet.until(lambda: "No agent" not in l4lb(lb1, "status"))
        lb1.stop("agent")
        assert announced(lb1) == ROUTES
        start_agent(lb1)
        fleet.until(lambda: "No agent" not in l4lb(lb1, "status"))
        assert announced(lb1) == ROUTES
        assert fleet.hops() == {"lb1", "lb2"}
    assert lb1.log("agent").read_text().count("is announced") == said


def test_servers_that_all_fail(fleet: Fleet, lb1: Host) -> None:
    servers = [fleet.lab.host(name) for name in ("web1", "web2")]
    for server in servers:
        server.stop("echo")
    fleet.until_hops()
    assert announced(lb1) == []
    assert told(lb1)[0] == f"{VIP} is not announced: no backend of echo takes new flows"
    for server in servers:
        start_echo(server)
    fleet.until_hops("lb1", "lb2")


def test_an_operator_drains_all_without_an_agent(lb1: Host) -> None:
    lb1.stop("agent")
    l4lb(lb1, "drain", "203.0.113.21")
    assert announced(lb1) == ROUTES
    l4lb(lb1, "drain", "203.0.113.22", "--force")
    assert announced(lb1) == ROUTES[1:]
    l4lb(lb1, "enable", "203.0.113.21")
    l4lb(lb1, "enable", "203.0.113.22")
    assert announced(lb1) == ROUTES[1:]
    start_agent(lb1)


def test_withdraw_and_announce(fleet: Fleet, lb1: Host) -> None:
    """Nothing is lost, and the word holds until it is taken back."""
    with connections(fleet):
        said = l4lb(lb1, "withdraw", "--wait", "20")
        assert said == f"{VIP} is withdrawn\n{VIP6} is withdrawn\n"
        assert announced(lb1) == []
        fleet.until_hops("lb2")
        assert told(lb1)[0].startswith(f"{VIP} is not announced: withdrawn by the operator since ")
        l4lb(lb1, "apply", "-", given={**DEPLOYED, "announce_timeout": 61})
        lb1.stop("agent")
        start_agent(lb1)
        fleet.until(lambda: "No agent" not in l4lb(lb1, "status"))
        time.sleep(1.5)  # it has looked at all by then
        assert announced(lb1) == []
        l4lb(lb1, "apply", "-", given=DEPLOYED)
        assert l4lb(lb1, "announce") == f"{VIP} is announced\n{VIP6} is announced\n"
        fleet.until_hops("lb1", "lb2")


def test_traffic_is_asked_to_leave_first(fleet: Fleet, lb1: Host) -> None:
    """By RFC 8326: while the routes are there still, the router sends nothing here any more."""
    lb1.stop("agent")
    with connections(fleet):
        lb1.start("withdraw", ["l4lb", "withdraw", "--until-boot", "--wait", "20"])
        fleet.until(lambda: any("metric 65535" in line for line in announced(lb1)))
        fleet.until(lambda: fleet.hops() == {"lb2"})
        assert announced(lb1) != []
        fleet.until(lambda: not lb1.running("withdraw"))
    assert announced(lb1) == []
    assert "until the next boot" in told(lb1)[0]
    lb1.stop("withdraw")
    l4lb(lb1, "announce")
    start_agent(lb1)


def test_a_prefix_in_place_of_a_vip(fleet: Fleet, lb1: Host) -> None:
    """While it changes on one balancer after the other, and back, nothing is lost."""
    shows = ["ip", "-6", "route", "show", "2001:db8:ffff::/64"]
    with connections(fleet):
        for host in fleet.balancers:
            l4lb(host, "apply", "-", given={**DEPLOYED, "announce_prefix_length6": 64})
        fleet.until(lambda: fleet.router.run(shows).stdout.count("via") == len(fleet.balancers))
        fleet.until(lambda: not fleet.hops(VIP6))
        assert announced(lb1) == [ROUTES[0], ROUTES[1].replace(VIP6, "2001:db8:ffff::/64")]
        assert told(lb1)[1] == "2001:db8:ffff::/64 is announced"
        for host in fleet.balancers:
            l4lb(host, "apply", "-", given=DEPLOYED)
        fleet.until_hops("lb1", "lb2")


def test_a_pause(fleet: Fleet, lb1: Host) -> None:
    l4lb(lb1, "pause")
    assert announced(lb1) == []
    assert "not announced: no balancer is attached to eth0" in l4lb(lb1, "status", code=4)
    fleet.until_hops("lb2")
    l4lb(lb1, "resume")


def test_a_program_that_goes(fleet: Fleet, lb1: Host) -> None:
    """The agent hears of it, which is sooner than it looks."""
    started = time.monotonic()
    lb1.run(["ip", "link", "set", "dev", "eth0", "xdp", "off"])
    fleet.until(lambda: not announced(lb1))
    print(f"withdrawn within {time.monotonic() - started:.3f} s")
    l4lb(lb1, "restore")


def test_a_program_that_is_replaced_stays_announced(lb1: Host) -> None:
    said = lb1.log("agent").read_text().count("is withdrawn")
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "flow_table_size": 4096})
    l4lb(lb1, "apply", "-", given=DEPLOYED)
    assert announced(lb1) == ROUTES
    assert lb1.log("agent").read_text().count("is withdrawn") == said


def test_other_conditions(lb1: Host) -> None:
    """An address without backends is announced if that is meant."""
    wanted = services(announce_when="forwarding")
    wanted[0]["backends"] = []
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": wanted})
    assert announced(lb1) == ROUTES
    wanted = services()
    wanted[0]["backends"] = []
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": wanted})
    assert announced(lb1) == ROUTES[1:]
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "announce": False})
    assert announced(lb1) == []
    l4lb(lb1, "apply", "-", given=DEPLOYED)


def test_a_link_that_is_cut(fleet: Fleet, lb1: Host) -> None:
    """BFD notices, which takes 0.9 s here; connections go on by the other balancer."""
    with connections(fleet):
        fleet.router.ip(["link set lb1 down"])
        fleet.until_hops("lb2")
    fleet.until(lambda: not announced(lb1))
    assert told(lb1)[0] == f"{VIP} is not announced: eth0 is down"
    fleet.router.ip(["link set lb1 up"])


def test_removal(lb1: Host) -> None:
    """Without an agent, too; what others have in the table stays."""
    for route in OTHERS:
        lb1.ip([f"route add blackhole {route} table 214"])
    l4lb(lb1, "withdraw")
    l4lb(lb1, "announce")
    lb1.stop("agent")
    assert len(announced(lb1)) == 4
    l4lb(lb1, "remove", "eth0")
    assert announced(lb1) == [f"blackhole {route.removesuffix('/32')} " for route in sorted(OTHERS)]
    assert lb1.run(["ls", "/etc/l4lb", "/run/l4lb"], check=False).stdout == ""
    for route in OTHERS:
        lb1.ip([f"route delete blackhole {route} table 214"])
    assert l4lb(lb1, "withdraw", code=1) == "this host does not balance"
    assert l4lb(lb1, "withdraw", "--until-boot") == ""
    l4lb(lb1, "apply", "-", given=DEPLOYED)
    start_agent(lb1)
