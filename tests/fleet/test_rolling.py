# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rolling deploy of docs/rolling-deploy.md, and the playbook drain, under load."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab import Lab
from lab.host import CHECKOUT
from lab.traffic.requests import Requests
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.play import INVENTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (CHECKOUT / "docs/rolling-deploy.md").read_text()
VIP = "192.0.2.10"
SERVERS = ("web1", "web2", "web3")

# A server whose answers tell its version. It ends a connection, after an answer, once that is a
# second old.
NGINX = """
pid /run/application.pid;
events {}
http {
    access_log off;
    keepalive_time 1s;
    server {
        listen 80;
        location / { return 200 "$hostname {{ version }}"; }
    }
}
"""

# As rude as it gets: what is under way is cut, and nobody listens for a while.
ROLE = [
    {
        "name": "Install the new version",
        "ansible.builtin.copy": {"content": NGINX, "dest": "/etc/application.conf"},
    },
    {
        "name": "Restart",
        "ansible.builtin.shell": "\n".join(
            [
                "test ! -e /run/application.pid || nginx -c /etc/application.conf -s stop",
                "while ss -Hltn sport = :80 | grep -q .; do sleep 0.1; done",
                "sleep 0.5",
                "nginx -e /dev/null -c /etc/application.conf",
            ]
        ),
    },
]


def inventory() -> dict[str, Any]:
    """That of the laboratory, without the server that the application does not run on."""
    found: dict[str, Any] = yaml.safe_load(INVENTORY.read_text())
    groups = found["all"]["children"]
    del groups["webservers"]["hosts"]["web4"]
    web = {
        "name": "web",
        "address": VIP,
        "port": 80,
        "protocol": "tcp",
        "backend_group": "webservers",
    }
    groups["balancers"]["vars"] = {"l4lb_interface": "eth0", "l4lb_services": [web]}
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Both balancers get packets, and the applications stand in for the usual servers."""
    topology = plan()
    router = topology["hosts"]["router"]
    router["routes"] = [
        "192.0.2.0/24 nexthop via 203.0.113.11 nexthop via 203.0.113.12",
    ]
    router["cpu"] = 0  # as a NIC keeps the packets of a flow on one
    with laboratory("a", topology) as lab:
        for name in SERVERS:
            lab.host(name).stop("nginx")
        yield lab
        for name in SERVERS:
            lab.host(name).run(["nginx", "-c", "/etc/application.conf", "-s", "stop"], check=False)


@pytest.fixture(scope="module")
def directory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application of someone who has read the page; its first version is up and balanced."""
    directory = tmp_path_factory.mktemp("application")
    (directory / "inventory.yml").write_text(yaml.safe_dump(inventory()))
    role = directory / "roles/application/tasks/main.yml"
    role.parent.mkdir(parents=True)
    role.write_text(yaml.safe_dump(ROLE))
    (block,) = re.findall(r"^```yaml\n(# deploy-application.yml\n.*?)^```$", PAGE, re.M | re.S)
    (directory / "deploy-application.yml").write_text(block)
    first = [{"hosts": "webservers", "gather_facts": False, "roles": ["application"]}]
    (directory / "first.yml").write_text(yaml.safe_dump(first))
    playbook(directory, lab, "first.yml", "-e", "version=1")
    playbook(directory, lab, "xdp.l4lb.deploy", "-e", "l4lb_serial=100%")
    return directory


def playbook(directory: Path, lab: Lab, *arguments: str) -> str:
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "inventory.yml",
            *arguments,
        ],
        cwd=directory,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible/collections"),
            "ANSIBLE_NOCOLOR": "1",
            "L4LB_LAB": lab.name,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_no_request_fails(directory: Path, lab: Lab) -> None:
    """Servers are cut off and restarted while clients ask, on lasting connections and new ones."""
    (command,) = re.findall(r"^\$ ansible-playbook -i inventory.yml (.*)$", PAGE, re.M)
    client = lab.host("client")
    with (
        Requests(client, (VIP, 80), kept=True) as kept,
        Requests(client, (VIP, 80), kept=False) as single,
    ):
        kept.await_answers()
        output = playbook(directory, lab, *command.split(), "-e", "version=2")
        ended = {requests: len(requests.answers) for requests in (kept, single)}
        kept.await_answers()
        single.await_answers()
    print(output)
    for requests in (kept, single):
        print(f"{len(requests.answers)} requests on {requests.opened} connections")
        assert requests.failures == []
        versions = {f"{name} {version}" for name in SERVERS for version in (1, 2)}
        assert set(requests.answers) == versions
        new = {f"{name} 2" for name in SERVERS}
        assert set(requests.answers[ended[requests] :]) <= new
    # lasting connections go back to a server only if another one ends them
    assert set(single.answers[ended[single] :]) == new
    assert kept.opened < len(kept.answers) / 5
    assert single.opened >= len(single.answers)


def test_without_draining_requests_fail(directory: Path, lab: Lab) -> None:
    """So the test above can tell."""
    with Requests(lab.host("client"), (VIP, 80), kept=False) as requests:
        requests.await_answers()
        playbook(directory, lab, "first.yml", "-e", "version=3", "--limit", "web1")
        requests.await_answers()
    assert requests.failures


def test_a_fleet_keeps_what_was_drained(directory: Path, lab: Lab) -> None:
    """The playbook drain on every balancer; deploys of the role, which verifies what it did."""
    drain = ["xdp.l4lb.drain", "-e", "l4lb_backend=203.0.113.22", "-e", "l4lb_quiet=0.5"]
    with Requests(lab.host("client"), (VIP, 80), kept=False) as before:
        before.await_answers()
        playbook(directory, lab, *drain)
    assert before.failures == []
    warned = playbook(directory, lab, "xdp.l4lb.deploy", "-e", "l4lb_serial=100%")
    assert "backend 203.0.113.22 stays drained, as an operator set" in " ".join(warned.split())
    assert served(lab) == {"web1", "web3"}
    playbook(directory, lab, *drain, "-e", "l4lb_backend_state=enabled")
    assert served(lab) == set(SERVERS)


def served(lab: Lab) -> set[str]:
    with Requests(lab.host("client"), (VIP, 80), kept=False) as requests:
        requests.await_answers()
    assert requests.failures == []
    return {answer.split()[0] for answer in requests.answers}
