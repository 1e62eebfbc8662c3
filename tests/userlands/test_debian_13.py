# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers with the files of Debian 13: its compiler, its Python, its bcc and iproute2.

The kernel is this machine's, and so are all other hosts. What is not there is made first, which
takes minutes (lab/roots.py).
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.play import playbook
from tests.fleet.there import looking

VIP, VIP6 = "192.0.2.10", "2001:db8:ffff::10"
BALANCERS = ("lb1", "lb2")
SERVERS = {f"web{number}" for number in range(1, 5)}
REQUESTS = 200

PROGRAMS = f"""
export PYTHONPATH={CHECKOUT}/.ansible/collections:{CHECKOUT}
/usr/bin/python3 -m tests.vm.programs compile /tmp/programs
/usr/bin/python3 -m tests.vm.programs verify /tmp/programs
"""


def service(name: str, port: int, **options: Any) -> dict[str, Any]:
    """A service of all web servers."""
    backends = [{"address": f"203.0.113.2{number}"} for number in range(1, 5)]
    plain = {"name": name, "address": VIP, "port": port, "protocol": "tcp", "backends": backends}
    return {**plain, **options}


SERVICES = [
    service("web", 80),
    service("alt", 8080, encapsulation="l2", scheduler="jhash", flow_table=False),
    service("web6", 80, address=VIP6, encapsulation="gue"),
    service("alt6", 8080, address=VIP6, encapsulation="gre"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if os.geteuid():
        pytest.skip("cannot run here: a laboratory takes root")
    topology = plan()
    for name in BALANCERS:
        topology["hosts"][name]["root"] = "debian-13"
    topology["hosts"]["router"]["routes"] = [
        "192.0.2.0/24 nexthop via 203.0.113.11 nexthop via 203.0.113.12",
        "2001:db8:ffff::/64 nexthop via 2001:db8:2::11 nexthop via 2001:db8:2::12",
    ]
    with laboratory("u", topology) as lab:
        yield lab


def play(lab: Lab, name: str, *arguments: str) -> list[int]:
    """Run a playbook of the collection; returns how many tasks changed something on each."""
    done = playbook(lab, name, *arguments, limit="balancers", interface="eth0", services=SERVICES)
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(number) for number in re.findall(r"changed=(\d+)", done.stdout)]


def traces(host: Host) -> str:
    """What the collection installs, and pins."""
    paths = ["/usr/lib/l4lb", "/usr/sbin/l4lb", "/etc/l4lb", "/sys/fs/bpf/l4lb"]
    return host.run(["find", *paths], check=False).stdout


def test_it_is_debian_13(lab: Lab) -> None:
    lb1 = lab.host("lb1")
    assert lb1.run(["cat", "/etc/debian_version"]).stdout.startswith("13.")
    assert python(lb1, looking.versions) == {"python": [3, 13], "bcc": ["0", "31"]}
    llvm = ["sh", "-c", "ls /usr/lib/*/libLLVM*"]
    assert "libLLVM.so.19" in lb1.run(llvm).stdout
    assert lab.host("client").run(llvm, check=False).stdout != lb1.run(llvm).stdout


def test_the_kernel_takes_every_build(lab: Lab) -> None:
    done = lab.host("lb1").run(["sh", "-ec", PROGRAMS], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n\d+ programs, 0 refused; ", done.stdout), done.stdout


def test_from_deploying_to_removing(lab: Lab) -> None:
    balancers = [lab.host(name) for name in BALANCERS]
    predicted = play(lab, "deploy", "--check", "--diff")
    assert [traces(host) for host in balancers] == ["", ""]
    assert play(lab, "deploy", "--diff") == predicted == [4, 4], "directory, file, link, balancer"
    assert play(lab, "deploy") == [0, 0]

    for one in SERVICES:
        assert_served(lab, one)
    for host in balancers:
        for one in SERVICES:
            counted = host.run(["l4lb", "stats", "--service", one["name"], "--json"]).stdout
            assert sum(packets(json.loads(counted))) > 0, one["name"]
        flow = ["l4lb", "flow", "tcp", "198.51.100.2:40000", f"{VIP}:80"]
        assert "packets:    to 203.0.113.2" in host.run(flow).stdout

    assert play(lab, "remove", "--check") == play(lab, "remove") == [2, 2]
    assert [traces(host) for host in balancers] == ["", ""]


def assert_served(lab: Lab, one: dict[str, Any]) -> None:
    """Every request is answered, and every server answers some."""
    address = f"[{one['address']}]" if ":" in one["address"] else one["address"]
    urls = [f"http://{address}:{one['port']}/"] * REQUESTS
    curl = ["curl", "-sS", "--globoff", "-Z", "--parallel-max", "10", *urls]
    answers = Counter(lab.host("client").run(curl).stdout.split())
    assert answers.total() == REQUESTS
    assert answers.keys() == SERVERS


def packets(found: Any) -> Iterator[int]:
    """The numbers called packets, wherever they are."""
    if isinstance(found, list):
        for one in found:
            yield from packets(one)
    elif isinstance(found, dict):
        for name, one in found.items():
            if name == "packets" and isinstance(one, int):
                yield one
            else:
                yield from packets(one)
