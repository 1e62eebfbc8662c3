# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook upgrade: three balancers, of which the router knows two, under load."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.host import CHECKOUT, Host
from lab.traffic.requests import Requests
from tests.fleet.bgp.conftest import (
    CHECK,
    DEPLOYED,
    SPARE,
    Fleet,
    announced,
    connections,
    services,
    start_agent,
)
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.play import run
from tests.fleet.rig.services import VIP, service

PAGE = (CHECKOUT / "docs/fleet.md").read_text()
COMMAND = "/usr/lib/l4lb/l4lb"
METRICS = "127.0.0.1:9942"
WEB = service(1, 2, check={**CHECK, "type": "http"}, min_healthy=0)
OLD: dict[str, Any] = {**DEPLOYED, "services": [*services(), WEB]}
NEW: dict[str, Any] = {**OLD, "flow_table_size": 4096}


class Upgrades:
    """The three balancers, and runs of the playbook for them."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self.lb1, self.lb2 = fleet.balancers
        self.lb3 = fleet.lab.host("lb3")
        self.three = [self.lb1, self.lb2, self.lb3]
        there = {"ansible_host": SPARE["lb3"][0], "ansible_netns_host": "lb3"}
        self._more = directory / "more.json"
        self._more.write_text(json.dumps({"balancers": {"hosts": {"lb3": there}}}))

    def play(self, command: str, code: int = 0, **variables: Any) -> str:
        """What a command prints, with these variables of the role."""
        program, *arguments = shlex.split(command.replace("-i inventory.yml", f"-i {self._more}"))
        given = json.dumps({f"l4lb_{key}": value for key, value in variables.items()})
        done = run(self.fleet.lab, *arguments, "-e", given, program=program)
        assert done.returncode == code, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    def outdate(self) -> None:
        """What a new version has other than this one: the command, and a program to be replaced."""
        for host in self.three:
            host.run(["chmod", "700", COMMAND])

    def outdated(self) -> list[str]:
        return [host.name for host in self.three if mode(host) == "700"]


def mode(host: Host) -> str:
    return host.run(["stat", "-c", "%a", COMMAND]).stdout.strip()


def changed(output: str) -> dict[str, int]:
    found = re.findall(r"(lb\d) : ok=\d+ changed=(\d+)", output)
    return {name: int(count) for name, count in found}


@pytest.fixture
def upgrades(fleet: Fleet, tmp_path: Path) -> Iterator[Upgrades]:
    found = Upgrades(fleet, tmp_path)
    deploy = "ansible-playbook -i inventory.yml xdp.l4lb.deploy"
    found.play(deploy, serial="100%", **OLD)
    for host in found.three:
        host.stop("agent")
        start_agent(host, "--listen", METRICS)
    fleet.until(lambda: all(len(announced(host)) == 2 for host in found.three))
    fleet.until(fleet.agree)
    yield found
    found.lb3.stop("agent")
    l4lb(found.lb3, "remove", "eth0")
    for host in fleet.balancers:
        host.stop("agent")
        l4lb(host, "apply", "-", given=DEPLOYED)
        start_agent(host)


@contextmanager
def unwritable(host: Host) -> Iterator[None]:
    """The command cannot be replaced there."""
    directory = str(Path(COMMAND).parent)
    host.run(["mount", "--bind", directory, directory])
    host.run(["mount", "-o", "remount,bind,ro", directory])
    yield
    host.run(["umount", directory])


def test_under_load(upgrades: Upgrades) -> None:
    """It fails on the second; the third is withdrawn by an operator when it goes on."""
    lb1, lb2, lb3 = upgrades.three
    predict, upgrade = re.findall(r"^\$ (.* xdp.l4lb.upgrade.*)$", PAGE, re.MULTILINE)
    upgrades.outdate()
    l4lb(lb3, "withdraw", "--by", "Two words", code=2)
    refused = upgrades.play(upgrade, 2, serial=3, **NEW)
    assert f"nobody would be left that is known to announce {VIP}" in refused
    assert changed(refused) == {"lb1": 0, "lb2": 0, "lb3": 0}

    with (
        connections(upgrades.fleet),
        Requests(upgrades.fleet.client, (VIP, 80), kept=False, connections=2) as requests,
    ):
        requests.await_answers()
        with unwritable(lb2):
            failed = upgrades.play(upgrade, 2, **NEW)
        assert "lb2: " in failed and "It stays withdrawn. Mend that and run this again" in failed
        assert upgrades.outdated() == ["lb2", "lb3"]
        assert (len(announced(lb1)), announced(lb2), len(announced(lb3))) == (2, [], 2)
        upgrades.fleet.until_hops("lb1")

        assert l4lb(lb3, "withdraw").endswith("is withdrawn\n")
        predicted = upgrades.play(predict, **NEW)
        assert "lb2 was withdrawn by an upgrade that did not end" in predicted
        assert upgrades.outdated() == ["lb2", "lb3"]
        done = upgrades.play(upgrade, **NEW)
        assert "lb1 is as it should be" in done
        assert "lb3 is upgraded, and stays withdrawn by the operator" in done
        assert upgrades.outdated() == []
        assert (len(announced(lb1)), len(announced(lb2)), announced(lb3)) == (2, 2, [])
        upgrades.fleet.until_hops("lb1", "lb2")
        said = lb1.log("agent").read_text().count("is withdrawn")
        again = upgrades.play(upgrade, **NEW)
        assert changed(again) == {"lb1": 0, "lb2": 0, "lb3": 0}
        assert lb1.log("agent").read_text().count("is withdrawn") == said
        requests.await_answers()
        assert requests.failures == []
    l4lb(lb3, "announce")
