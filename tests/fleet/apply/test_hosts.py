# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of the host around a balancer, several interfaces, and what hosts may lack."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import (
    BCC,
    HEADERS,
    PYROUTE2,
    apply,
    counters,
    hidden,
    packets,
    plan,
    traces,
)
from tests.fleet.rig.clients import works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import ansible, l4lb, playbook, stats
from tests.fleet.rig.services import OTHER_VIP, WEB, service, wanted
from tests.fleet.there import accidents, library, many


def test_a_change_of_the_interface(lb1: Host) -> None:
    """It goes with its program, comes back without, and its name has a dot."""
    config = wanted(service(1, 2, address=OTHER_VIP), interface="veth.100")
    add = """
        ip link add veth.100 address {mac} type veth peer name end
        ip address add 10.78.0.1/24 dev veth.100
        ip link set veth.100 up
        ip link set end up
    """
    frame = bytes(IP(src="10.78.0.9", dst=OTHER_VIP) / TCP(dport=80))
    for mac in ("02:00:00:00:00:77", "02:00:00:00:00:78"):
        lb1.run(["sh", "-ec", add.format(mac=mac)])
        outcome = apply(lb1, config)
        assert outcome["mode"] == "native"
        assert apply(lb1, config)["steps"] == []
        before = counters(lb1, "veth.100")["services"][0]["packets"]
        with lb1.socket(socket.AF_PACKET, socket.SOCK_RAW) as end:
            end.bind(("end", 0))
            end.send(bytes.fromhex(mac.replace(":", "") + "020000000001" + "0800") + frame)
        assert counters(lb1, "veth.100")["services"][0]["packets"] == before + 1
        lb1.run(["ip", "link", "del", "veth.100"])
    assert before == 1, "counters survive, as the pins do"

    outcome = apply(lb1, config)
    assert outcome["error"] == "ConfigError"
    assert "no such interface; this host has lo, eth0, eth1" in outcome["message"]
    folders = ["/sys/fs/bpf/l4lb/veth%2e100", "/etc/l4lb/veth%2e100.json"]
    assert python(lb1, library.removal, interface="veth.100")["steps"] == [
        f"remove {folder}" for folder in folders
    ]
    assert traces(lb1) == []


def test_two_interfaces(lab: Lab, lb1: Host) -> None:
    first = wanted(service(1, 2))
    second = wanted(service(2, 3, address=OTHER_VIP), interface="eth1")
    apply(lb1, first, second)
    works(lab, 1, 2)
    works(lab, 2, 3, url=f"http://{OTHER_VIP}/")
    assert packets(lb1, "eth1").keys() == {"web 203.0.113.22", "web 203.0.113.23"}

    # Each lets go of next hops that the other does not need.
    apply(lb1, {**first, "services": [service(4)]})
    hops = lb1.run(["ip", "neigh", "show", "proto", "214"]).stdout
    assert {line.split()[0] for line in hops.splitlines()} == {WEB[f"web{n}"] for n in (2, 3, 4)}
    apply(lb1, None)
    works(lab, 2, 3, url=f"http://{OTHER_VIP}/")
    python(lb1, library.remove, interfaces=["eth1"])
    assert traces(lb1) == []


def test_a_host_without_bpffs(lb2: Host) -> None:
    mounted = ["findmnt", "--noheadings", "--types", "bpf", "/sys/fs/bpf"]
    assert not lb2.run(mounted, check=False).stdout
    assert "error" not in plan(lb2, wanted(service(1, 2)))
    assert not lb2.run(mounted, check=False).stdout
    apply(lb2, wanted(service(1, 2)))
    assert lb2.run(mounted).stdout
    assert apply(lb2, wanted(service(1, 2)))["steps"] == []


def test_two_runs_at_once(lab: Lab, lb1: Host) -> None:
    """One waits for the other, and the state is that of one of them."""
    configs = [wanted(service(number)) for number in (1, 2, 3)]
    assert python(lb1, many.three_times_each, configs=configs) == [0, 0, 0]
    (last,) = packets(lb1)
    works(lab, int(last[-1]))
    assert apply(lb1, wanted(service(int(last[-1]))))["steps"] == []


# What a host may lack.


def test_a_host_that_lacks_everything(lab: Lab, lb2: Host, tmp_path: Path) -> None:
    config: dict[str, Any] = {"services": [service(1, 2)]}
    with hidden(lb2, BCC), hidden(lb2, PYROUTE2), hidden(lb2, HEADERS):
        present, unknown, absent, nobody, real, none = ansible(
            lab,
            tmp_path,
            l4lb(True, **config),
            l4lb(True, **{**config, "interface": "eth9"}),
            l4lb(True, state="absent"),
            l4lb(state="absent", interface="eth9"),
            l4lb(**config),
            stats(),
            hosts="lb2",
        )
    assert present["changed"]
    assert any("pyroute2 is not installed" in one for one in present["warnings"])
    assert "address: 203.0.113.22" in present["diff"]["after"]
    for wrong in (unknown, nobody):
        assert wrong["msg"].startswith("interface: 'eth9': no such interface")
    assert not absent["changed"]
    assert real["msg"] == "pyroute2 is not installed; install python3-pyroute2"
    assert none["ansible_facts"] == {"l4lb": {}}
    assert traces(lb2) == []
    (applied,) = ansible(lab, tmp_path, l4lb(**config), hosts="lb2")
    for what in ("steps", "moves", "diff"):
        assert applied[what] == present[what]


def test_what_the_role_would_install(lab: Lab, lb1: Host) -> None:
    """It is predicted as if it was there; where the role is told not to, it stops in time."""
    deploy: dict[str, Any] = {"interface": "eth0", "services": [service(1)]}
    with hidden(lb1, BCC), hidden(lb1, PYROUTE2):
        predicted = playbook(lab, "deploy", "--check", **deploy)
        stopped = playbook(lab, "deploy", "--skip-tags", "packages", **deploy)
    assert predicted.returncode == 0
    assert "Would install python3-bpfcc, python3-pyroute2\n" in predicted.stdout
    assert "- 'web: added with 1 backend'" in predicted.stdout
    assert "is not installed" not in predicted.stdout + predicted.stderr
    assert "pyroute2 is not installed; install python3-pyroute2" in stopped.stdout
    assert "changed=0 " in stopped.stdout
    assert traces(lb1) == []


def test_a_package_source_that_never_answers(lab: Lab, lb1: Host) -> None:
    """It is not waited for for ever."""
    deploy: dict[str, Any] = {"interface": "eth0", "services": [service(1)]}
    with (
        hidden(lb1, BCC),
        hidden(lb1, "/etc/apt"),
        hidden(lb1, "/var/lib/apt/lists"),
        lb1.socket(socket.AF_INET, socket.SOCK_STREAM) as source,
    ):
        source.bind(("127.0.0.1", 0))
        source.listen()
        line = f"deb [trusted=yes] http://127.0.0.1:{source.getsockname()[1]}/ ./"
        lb1.run(["sh", "-ec", "cd /etc/apt; mkdir apt.conf.d; cat >sources.list"], input=line)
        done = playbook(lab, "deploy", "-e", "__l4lb_source_timeout=1", **deploy)
    output = " ".join(done.stdout.split())
    assert "bcc cannot be installed from this host's package sources. Make them" in output
    assert "set l4lb_manage_packages to false. E: Failed to fetch http://127.0.0.1:" in output
    assert "changed=0 " in output
    assert traces(lb1) == []


def test_no_bcc(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """Nothing can be compiled; all else works."""
    one: dict[str, Any] = {"services": [service(1)]}
    two: dict[str, Any] = {"services": [service(1, 2)]}
    with hidden(lb1, BCC):
        failed, checked = ansible(lab, tmp_path, l4lb(**one), l4lb(True, **one))
    assert failed["msg"].startswith("bcc is not installed for /usr/bin/python3; install python3-")
    assert checked["changed"]
    assert any("bcc is not installed" in text for text in checked["warnings"])
    assert traces(lb1) == []

    apply(lb1, wanted(service(1)))
    jhash: dict[str, Any] = {"services": [service(1, scheduler="jhash")]}
    with hidden(lb1, BCC):
        again, changed, failed, counted = ansible(
            lab, tmp_path, l4lb(**one), l4lb(**two), l4lb(**jhash), stats()
        )
    assert not again["changed"]
    assert changed["steps"][0].startswith(f"web: 1 backend added ({WEB['web2']}), ")
    assert failed["msg"].startswith("bcc is not installed")
    assert counted["ansible_facts"]["l4lb"]["eth0"]["services"][0]["name"] == "web"
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == [], "bcc is what it was"


def test_no_headers(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    with hidden(lb1, HEADERS):
        assert apply(lb1, wanted(service(1, 2)))["steps"] == []
        outcome = apply(lb1, wanted(service(1, scheduler="jhash")))
    assert outcome["error"] == "HostError"
    assert "no kernel headers in /lib/modules/*/build; install linux-head" in outcome["message"]
    works(lab, 1, 2)


def test_no_root(lab: Lab, lb1: Host) -> None:
    virgin = python(lb1, accidents.without_root, wanted=wanted(service(1, 2)))
    apply(lb1, wanted(service(1, 2)))
    deployed = python(lb1, accidents.without_root, wanted=wanted(service(1, 2)))
    for outcome in (*virgin, *deployed):
        assert outcome["error"] == "HostError"
        assert "root is needed" in outcome["message"]
        assert "become: true" in outcome["message"]
    works(lab, 1, 2)
