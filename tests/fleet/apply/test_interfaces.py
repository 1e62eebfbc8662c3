# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several interfaces of a host in one play, as the role's README says."""

from __future__ import annotations

import re
from typing import Any

import yaml

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.balancers import FOLDERS, packets, saved, traces
from tests.fleet.rig.clients import works
from tests.fleet.rig.play import playbook
from tests.fleet.rig.services import OTHER_VIP, WEB


def example() -> dict[str, Any]:
    """The variables that the README shows, without prefix."""
    page = (CHECKOUT / "roles/l4lb/README.md").read_text().partition("\n## Several interfaces\n")[2]
    shown = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    return {name.removeprefix("l4lb_"): value for name, value in shown.items()}


def ran(lab: Lab, name: str, *arguments: str, **variables: Any) -> int:
    """How many tasks of a playbook have changed something."""
    done = playbook(lab, name, *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (changed,) = re.findall(r"changed=(\d+)", done.stdout)
    return int(changed)


def refused(lab: Lab, **variables: Any) -> str:
    """Why a deploy stops."""
    done = playbook(lab, "deploy", **variables)
    assert done.returncode == 2
    assert "changed=0 " in done.stdout
    return " ".join(done.stdout.split())


def test_several_interfaces(lab: Lab, lb1: Host) -> None:
    variables = example()
    predicted = ran(lab, "deploy", "--check", **variables)
    assert ran(lab, "deploy", **variables) == predicted == 5, "command, two balancers"
    assert ran(lab, "deploy", **variables) == 0
    works(lab, 1, 2, 3, 4)
    works(lab, 2, url=f"http://{OTHER_VIP}/")
    assert packets(lb1, "eth1").keys() == {f"inside {WEB['web2']}"}
    there = {file: (one["hash_seed"], one["echo_rate"]) for file, one in saved(lb1).items()}
    assert there == {"eth0.json": (20260101, 10000), "eth1.json": (20260101, 100)}

    assert ran(lab, "drain", backend=WEB["web2"], wait=False, force=True) == 1
    works(lab, 1, 3, 4)
    assert ran(lab, "remove", **variables, interface="eth1") == 1
    works(lab, 1, 3, 4)
    assert ran(lab, "remove", **variables) == 2, "the other, and the command"
    assert traces(lb1) == []


def test_what_is_wrong_with_one_of_them(lab: Lab, lb1: Host) -> None:
    """None is changed then; what only the host knows is asked before, too."""
    eth0, eth1 = example()["interfaces"]
    own = {**eth1, "services": [{**eth1["services"][0], "address": "10.77.0.2"}]}
    loopback = {**eth1, "services": [{**eth1["services"][0], "address": "127.0.0.2"}]}
    for interfaces, more, told in (
        ([eth0, own], {}, "services[inside].address: '10.77.0.2': this host's own"),
        ([eth0, loopback], {}, "l4lb_interfaces: l4lb_services[inside].address: '127.0.0.2'"),
        (
            [eth0, {**eth1, "interface": "eth0"}],
            {},
            "l4lb_interfaces: eth0: give each interface once",
        ),
        ([eth0, eth1], {"interface": "eth0"}, "l4lb_interfaces: give either these, or l4lb_inter"),
    ):
        assert told in refused(lab, interfaces=interfaces, **more)
    assert lb1.run(["find", "/usr/lib/l4lb", *FOLDERS], check=False).stdout == ""
