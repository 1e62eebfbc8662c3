# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook deploy for balancers and their backends, from the variables of the balancers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.host import CHECKOUT
from tests.fleet.rig.families import ask
from tests.fleet.rig.hosts import python
from tests.fleet.rig.real_servers import traces
from tests.fleet.rig.tunnels import VIP, VIP6, WEB1, WEB2
from tests.fleet.there import library, real_server

GROUP = {"name": "web", "address": VIP, "port": 80, "protocol": "tcp"}
LISTED = {"name": "web6", "address": VIP6, "port": 80, "protocol": "tcp", "encapsulation": "gue"}
LISTED_AT_NONE = '-e={"listed": []}'
ADDRESSES = {"lb1": "203.0.113.11", "web1": WEB1.address, "web2": WEB2.address}


@pytest.fixture
def fleet(lab: Lab) -> Iterator[Lab]:
    """Nobody has set up anything, and in the end everything is as it was."""
    names = ("lb1", "web1", "web2")
    before = {name: traces(lab.host(name)) for name in names}
    yield lab
    for name in names:
        host = lab.host(name)
        python(host, real_server.serve, options=None)
        python(host, library.remove, interfaces=["eth0"])
        host.run(["rm", "-rf", "/usr/sbin/l4lb", "/usr/lib/l4lb"])
        assert traces(host) == before[name]


def deploy(
    lab: Lab, tmp_path: Path, groups: dict[str, list[str]], *arguments: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run it with these groups; lb1 has two services, of all backends and of web1 by its IPv6."""
    services = [
        {**GROUP, "backend_group": "webservers"},
        {**LISTED, "backends": "{{ listed | default([{'address': ipv6}]) }}"},
    ]
    hosts = {
        name: {"ansible_host": address, "ansible_netns_host": name}
        for name, address in ADDRESSES.items()
    }
    inventory = {
        "all": {
            "hosts": hosts,
            "vars": {
                "ansible_connection": "xdp.l4lb.netns",
                "ansible_python_interpreter": "/usr/bin/python3",
                "l4lb_interface": "eth0",
                "l4lb_services": services,
                "ipv6": WEB1.address6,
                **variables,
            },
            "children": {
                name: {"hosts": dict.fromkeys(members)}
                for name, members in {"balancers": ["lb1"], **groups}.items()
            },
        }
    }
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps(inventory))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "xdp.l4lb.deploy"]
    command += ["-i", str(file), "-e", "l4lb_backend_hosts=servers", *arguments]
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "L4LB_LAB": lab.name, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def changed(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Host -> how many tasks changed something."""
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        name: int(count) for name, count in re.findall(r"^(\w+) .*changed=(\d+)", done.stdout, re.M)
    }


def test_from_nothing_to_other_backends(fleet: Lab, tmp_path: Path) -> None:
    first = {"webservers": ["web1"], "servers": ["web1"]}
    predicted = changed(deploy(fleet, tmp_path, first, "--check"))
    assert changed(deploy(fleet, tmp_path, first)) == predicted == {"lb1": 4, "web1": 4}
    client = fleet.host("client")
    assert set(ask(client, 4, count=5)) == set(ask(client, 6, count=5)) == {"web1"}

    # web2 is ready before the balancer sends to it; web1 loses a service after that, and keeps one.
    # Nothing is taken away while a balancer is left out.
    groups = {"webservers": ["web2"], "servers": ["web1", "web2"]}
    assert changed(deploy(fleet, tmp_path, groups, "--limit=web1")) == {"web1": 0}
    done = deploy(fleet, tmp_path, groups)
    assert changed(done) == {"lb1": 1, "web1": 1, "web2": 4}
    moments = (f"add the VIP {VIP} to lo", "backend added", f"remove the VIP {VIP} from lo")
    assert [*moments] == sorted(moments, key=done.stdout.index)
    assert set(ask(client, 4, count=5)) == {"web2"}
    assert set(ask(client, 6, count=5)) == {"web1"}
    assert "Nothing is sent to" not in done.stdout

    # web1 is none of the servers that the run is for.
    done = deploy(fleet, tmp_path, {"webservers": ["web2"], "servers": ["web2"]}, LISTED_AT_NONE)
    assert changed(done) == {"lb1": 1, "web2": 0}
    assert f"Nothing is sent to {WEB1.address6} any more, but no host of servers" in done.stdout


def test_a_backend_that_cannot_be_set_up(fleet: Lab, tmp_path: Path) -> None:
    """Nothing is sent to it: the balancers stay as they are."""
    groups = {"webservers": ["web1"], "servers": ["web1"]}
    done = deploy(fleet, tmp_path, groups, l4lb_backend_address="203.0.113.99")
    assert done.returncode != 0
    assert "'203.0.113.99': this server has no such address" in done.stdout
    assert "Deploy balancers" not in done.stdout
    done = deploy(fleet, tmp_path, groups, l4lb_backend_setup="gone")
    assert "l4lb_backend_setup: gone: choose one of present, absent" in done.stdout
