# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three balancers that should be alike, and playbooks that say whether they are."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.plugin_utils.fleet import KINDS

from lab import Lab
from lab.host import CHECKOUT
from tests.fleet.rig.clients import answers
from tests.fleet.rig.families import balance
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.orders import order
from tests.fleet.rig.play import playbook, run
from tests.fleet.rig.readme import blocks
from tests.fleet.rig.services import WEB, service, wanted
from tests.fleet.there import damage, library
from tests.pages import Page

PAGE = (CHECKOUT / "docs/verify.md").read_text()
BALANCERS = ("lb1", "lb2", "lb3")
CHECK = {"type": "tcp", "via": "address", "interval": 60}
ALIKE = wanted(service(1, 2, 3, check=CHECK), hash_seed=2**60 + 1)


def topology() -> dict[str, Any]:
    """With a third balancer."""
    found = plan()
    third = copy.deepcopy(found["hosts"]["lb2"])
    third["interfaces"]["eth0"]["addresses"] = ["203.0.113.13/24", "2001:db8:2::13/64"]
    found["hosts"]["lb3"] = third
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("vf", topology()) as lab:
        yield lab
        for name in BALANCERS:
            python(lab.host(name), library.remove, interfaces=["eth0"])


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hosts that the laboratory's own inventory lacks: lb3, and one that is not there."""
    names = {"lb3": "203.0.113.13", "lb4": "203.0.113.14"}
    hosts = {
        name: {"ansible_host": address, "ansible_netns_host": name}
        for name, address in names.items()
    }
    path = tmp_path_factory.mktemp("verify") / "more.yml"
    path.write_text(yaml.safe_dump({"all": {"children": {"balancers": {"hosts": hosts}}}}))
    return path


@pytest.fixture
def alike(lab: Lab) -> Lab:
    """All balance the same, in the order of each."""
    (web,) = ALIKE["services"]
    for number, name in enumerate(BALANCERS):
        backends = web["backends"][number:] + web["backends"][:number]
        balance(lab.host(name), {**ALIKE, "services": [{**web, "backends": backends}]})
    return lab


def verify(
    lab: Lab, inventory: Path, *arguments: str, limit: str = ",".join(BALANCERS), **variables: Any
) -> tuple[int, str]:
    """The exit code, and what it prints, on one line as far as it is one text."""
    more = ("-i", str(inventory), *arguments)
    done: subprocess.CompletedProcess[str]
    done = playbook(lab, "verify", *more, limit=limit, settings={"FORCE_COLOR": "0"}, **variables)
    assert not re.search(r"changed=[1-9]", done.stdout)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_check_mode_compares_as_well(alike: Lab, inventory: Path) -> None:
    code, told = verify(alike, inventory, "--check", "--diff")
    assert code == 0, told
    assert "3 of 3 balancers were asked, and do not differ" in told


def test_the_wrong_one_is_named(alike: Lab, inventory: Path) -> None:
    wrong = service(1, 2, {"address": WEB["web3"], "weight": 2}, check=CHECK)
    balance(alike.host("lb3"), wanted(wrong, hash_seed=2**60 + 1))
    order(alike.host("lb2"), {"address": WEB["web1"], "state": "drained"})
    code, told = verify(alike, inventory, limit=f"{','.join(BALANCERS)},lb4")
    assert code == 2
    (shown,) = blocks("text", PAGE)
    unreachable, *lines = shown.splitlines()
    assert unreachable.partition(": ")[0] in told
    for line in lines:
        assert line in told
    (summary,) = re.findall("`(3 of 4 balancers differ: .*?)`", PAGE)
    assert summary in told

    balance(alike.host("lb3"), ALIKE)
    python(alike.host("lb1"), damage.a_lookup_table)
    code, told = verify(alike, inventory, ignore=["states", "lookup_table"])
    assert code == 0, told
    assert "enabled on lb1, lb3; the lookup table is another one, too (ignored)" in told
    assert "web: for the same configuration and states the digest of its lookup table is" in told
    order(alike.host("lb2"), {"address": WEB["web1"], "state": "enabled"})


def test_nobody_to_compare_is_no_success(lab: Lab, inventory: Path) -> None:
    code, told = verify(lab, inventory, limit="all,localhost", hosts="nobody")
    assert code == 2
    assert "no host of the inventory is among nobody; say with l4lb_hosts whom to compare" in told


def test_the_report_says_what_the_counters_say(alike: Lab, inventory: Path, tmp_path: Path) -> None:
    alike.host("router").run(["ip", "route", "replace", "192.0.2.10", "via", "203.0.113.11"])
    assert sum(answers(alike, 12).values()) == 12
    file = tmp_path / "fleet.html"
    more = ("-i", str(inventory), "--check")
    for arguments in (more, more[:2]):
        assert not file.exists()
        limit = ",".join((*BALANCERS, "lb4"))
        done = playbook(alike, "report", *arguments, limit=limit, report_file=str(file), interval=0)
        assert done.returncode == 0, done.stdout
    (service,) = python(alike.host("lb1"), library.counters, interface="eth0")["services"]
    page = Page(file.read_text())
    found = {backend["address"]: backend["packets"] for backend in service["backends"]}
    assert sum(found.values()) >= 12 * 3
    for address, packets in found.items():
        expected = f"{100 * packets / sum(found.values()):.1f} %"
        assert page.row(address) == [expected, "33.3 %", "1", str(packets), "healthy"]
    assert page.row("lb2")[:2] == ["0.0 %", "0"]
    assert "1 of 4 balancers differ" in page.words


def test_what_the_page_has_one_type(alike: Lab, inventory: Path, tmp_path: Path) -> None:
    """With the laboratory's inventory in place of the reader's."""
    commands = [block.partition("\n")[::2] for block in blocks("console", PAGE)]
    assert len(commands) == 3
    for command, expected in commands:
        program, *arguments = shlex.split(command.removeprefix("$ "))
        assert arguments.pop(0) == "-i" and arguments.pop(0) == "inventory.yml"
        more = ("-i", str(inventory), "--limit", ",".join(BALANCERS))
        done = run(alike, *more, *arguments, program=program, PWD=str(tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
        assert expected.strip() in done.stdout
    assert Page((tmp_path / "fleet.html").read_text()).row("lb3")


def test_a_deploy_of_a_large_fleet_begins_with_one(alike: Lab, inventory: Path) -> None:
    (command,) = blocks("console", (CHECKOUT / "docs/large-fleets.md").read_text())
    program, *arguments = shlex.split(command.removeprefix("$ "))
    assert arguments[:2] == ["-i", "inventory.yml"]
    given = {f"l4lb_{key}": value for key, value in ALIKE.items()}
    more = ("-i", str(inventory), "--limit", ",".join(BALANCERS), "-e", json.dumps(given))
    done = run(alike, *more, *arguments[2:], program=program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PLAY [Deploy balancers]") == 2  # one, then all that are left


def test_what_may_be_ignored_is_on_the_page() -> None:
    named = re.findall(r"`(\w+)`(?=[^|]*\|$)", PAGE.partition("`l4lb_ignore` |")[2], re.MULTILINE)
    assert {*KINDS} <= {*named}
