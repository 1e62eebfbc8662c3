# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a server that is set up, changed, and removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.families import ask, balance, service
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import ansible
from tests.fleet.rig.real_servers import entry, options, refused, serve, traces
from tests.fleet.rig.tunnels import VIP, VIP6, WEB1, WEB2
from tests.fleet.there import library, real_server

OTHER_VIP = "192.0.2.11"
ONE = entry(VIP, WEB1.address)
BOTH = options(ONE, entry(VIP6, WEB1.address6, "gue"))


@pytest.fixture(params=["bpf", "kernel"])
def given(request: pytest.FixtureRequest, web1: Host) -> dict[str, Any]:
    """Both VIPs; the kernel's way where there is one."""
    found = {**BOTH, "decapsulation": request.param}
    if request.param == "kernel":
        done = python(web1, real_server.serve, options=found, check=True)
        if "no module" in done.get("error", ""):
            pytest.skip("cannot run here: the kernel has no ipip")
    return found


def test_check_mode_changes_nothing_and_is_right(web1: Host, given: dict[str, Any]) -> None:
    before = traces(web1)
    predicted = serve(web1, given, check=True)
    assert traces(web1) == before
    assert serve(web1, given)["steps"] == predicted["steps"]
    assert serve(web1, given, check=True)["steps"] == serve(web1, given)["steps"] == []
    shown = python(web1, real_server.shown)
    assert shown["differs"] == [] and shown["there"] == predicted["there"][1].splitlines()


def test_nothing_is_left(web1: Host, given: dict[str, Any]) -> None:
    before = traces(web1)
    serve(web1, given)
    assert traces(web1) != before
    assert serve(web1, None)["steps"]
    assert traces(web1) == before
    assert serve(web1, None)["steps"] == []


def test_no_other_interface_is_loosened(web1: Host, given: dict[str, Any]) -> None:
    command = ["sysctl", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.eth0.rp_filter"]
    before = web1.run(command).stdout
    assert "all.rp_filter = 1" in before
    serve(web1, given)
    assert web1.run(command).stdout == before
    assert python(web1, real_server.probed) == []


def test_a_failure_leaves_what_was(web1: Host, given: dict[str, Any]) -> None:
    before = traces(web1)
    assert python(web1, real_server.fail_at_the_last_step, options=given) == {"error": "refused"}
    assert traces(web1) == before
    serve(web1, given)
    now = traces(web1)
    more = {**given, "services": [*given["services"], entry(OTHER_VIP, WEB1.address, "gre")]}
    assert python(web1, real_server.fail_at_the_last_step, options=more) == {"error": "refused"}
    assert traces(web1) == now
    assert serve(web1, given)["steps"] == []


def test_what_somebody_changed_is_repaired(web1: Host, given: dict[str, Any]) -> None:
    serve(web1, given)
    script = f"""
    ip address del {VIP}/32 dev lo
    sysctl -qw net.ipv4.conf.all.arp_ignore=0
    nft delete table inet l4lb_real_server
    ip link set eth0 xdp off
    for link in $(ls /sys/class/net | grep ^l4lb-); do ip link del $link; done
    """
    web1.run(["sh", "-ec", script])
    assert len(python(web1, real_server.shown)["differs"]) >= 4
    serve(web1, given)
    assert python(web1, real_server.probed) == []
    assert python(web1, real_server.shown)["differs"] == []


def test_what_was_lost_goes_later(web1: Host, given: dict[str, Any]) -> None:
    """Balancers may still send to it while the new ones are told of."""
    serve(web1, given)
    other = {**given, "services": [entry(OTHER_VIP, WEB1.address)]}
    steps = serve(web1, other, keep=True)["steps"]
    assert f"add the VIP {OTHER_VIP} to lo" in steps
    assert not any("remove" in step for step in steps)
    assert serve(web1, other, keep=True)["steps"] == []
    steps = serve(web1, other)["steps"]
    assert f"remove the VIP {VIP} from lo" in steps and f"remove the VIP {VIP6} from lo" in steps
    assert serve(web1, other)["steps"] == []


def test_what_was_there_before_stays(web1: Host, given: dict[str, Any]) -> None:
    settings = ["net.ipv4.conf.all.arp_ignore=8", "net.ipv4.conf.all.arp_announce=1"]
    web1.run(["sysctl", "-qw", *settings])
    web1.run(["ip", "address", "add", f"{VIP}/32", "dev", "lo"])
    before = traces(web1)
    steps = serve(web1, given)["steps"]
    assert f"add the VIP {VIP} to lo" not in steps
    assert "set net.ipv4.conf.all.arp_announce from 1 to 2" in steps
    assert not any("arp_ignore" in step for step in steps), "8 keeps as quiet"
    serve(web1, given)
    serve(web1, None)
    assert traces(web1) == before
    web1.run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"])
    web1.run(
        ["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.all.arp_announce=0"]
    )


def test_the_link_of_a_balancer(lab: Lab, web1: Host) -> None:
    """By l2 there is nothing to unpack."""
    given = options(entry(VIP, WEB1.address, "l2"))
    assert serve(web1, given)["way"] == ""
    described = service(4, 4, "l2", port=80, backends={"web1": {}})
    balance(lab.host("lb1"), {"interface": "eth0", "services": [described]})
    assert set(ask(lab.host("client"), 4, count=10)) == {"web1"}
    there = python(web1, real_server.shown)["there"]
    assert [line.split(":")[0] for line in there] == ["sysctls", "sysctls", "vips"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (f"ip daddr {VIP} udp dport 1024-65535 drop", "is unpacked and then reaches no socket"),
        (f"ip daddr {WEB1.address} meta l4proto 4 drop", "is not unpacked"),
    ],
)
def test_a_firewall_that_is_in_the_way(
    web1: Host, given: dict[str, Any], rule: str, told: str
) -> None:
    if given["decapsulation"] == "bpf" and "not" in told:
        return  # the program comes before any firewall
    serve(web1, {**given, "services": [ONE]})
    chain = f"type filter hook input priority 0\n{rule}\n"
    web1.run(["nft", "-f", "-"], input=f"table inet other {{\nchain input {{\n{chain}}}\n}}\n")
    (failure,) = python(web1, real_server.probed)
    web1.run(["nft", "delete", "table", "inet", "other"])
    assert f"a probe for {VIP} by ipip to {WEB1.address} {told}" in failure


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (options(entry(VIP, WEB2.address)), f"'{WEB2.address}': this server has no such address"),
        (options(entry(VIP, WEB1.address), balancers=[]), "balancers: []: the XDP program unpacks"),
        (
            options(entry(VIP, WEB1.address6), balancers=["203.0.113.11"]),
            "so list where their tunnels over IPv6 come from (::/0 is everyone)",
        ),
    ],
)
def test_refusals(web1: Host, given: dict[str, Any], told: str) -> None:
    before = traces(web1)
    assert told in refused(web1, {**given, "decapsulation": "bpf"})
    assert traces(web1) == before


def test_a_program_of_somebody_else(web1: Host) -> None:
    """As of a balancer, which a host may be, too."""
    described = service(4, 4, port=80, backends={"web2": {}})
    before = traces(web1)
    balance(web1, {"interface": "eth0", "services": [described]})
    told = refused(web1, options(entry(OTHER_VIP, WEB1.address), decapsulation="bpf"))
    assert "eth0 carries an XDP program of someone else" in told
    python(web1, library.remove, interfaces=["eth0"])
    assert traces(web1) == before


@pytest.mark.usefixtures("web1")
def test_the_module(lab: Lab, tmp_path: Path) -> None:
    module = "xdp.l4lb.l4lb_real_server"
    given = {**BOTH, "decapsulation": "bpf"}
    wrong = options({**ONE, "encapsulation": "vxlan"})
    check, first, again, unknown, gone = ansible(
        lab,
        tmp_path,
        {module: given, "check_mode": True},
        {module: given},
        {module: given},
        {module: wrong},
        {module: {"state": "absent"}},
        hosts="web1",
    )
    assert check["steps"] == first["steps"] and check["changed"] and first["changed"]
    assert "lacks" not in check
    assert not again["changed"]
    assert again["counters"]["programs"]["eth0"]["unpacked"] >= 4, "two runs, two probes"
    assert f"vips: {VIP}" in json.dumps(first["diff"]["after"])
    assert unknown["msg"] == (
        "services[0].encapsulation: 'vxlan': choose one of ipip, gue, gre, l2"
    )
    assert gone["changed"]
