# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three balancers that should be alike, and playbooks that say whether they are."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from tests.fleet.rig.families import balance
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.orders import order
from tests.fleet.rig.play import playbook
from tests.fleet.rig.services import WEB, service, wanted
from tests.fleet.there import library

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


def test_balancers_that_are_alike(alike: Lab, inventory: Path) -> None:
    for arguments in ((), ("--check", "--diff")):
        code, told = verify(alike, inventory, *arguments)
        assert code == 0, told
        assert "3 of 3 balancers were asked, and do not differ" in told


def test_the_wrong_one_is_named(alike: Lab, inventory: Path) -> None:
    wrong = service(1, 2, {"address": WEB["web3"], "weight": 2}, check=CHECK)
    balance(alike.host("lb3"), wanted(wrong, hash_seed=2**60 + 1))
    order(alike.host("lb2"), {"address": WEB["web1"], "state": "drained"})
    code, told = verify(alike, inventory, limit=f"{','.join(BALANCERS)},lb4")
    assert code == 2
    for line in (
        "lb4 cannot be reached: ",
        f"web: the weight of {WEB['web3']} is 2 on lb3, and 1 on lb1, lb2; the lookup table",
        f"web: {WEB['web1']} is drained by an order on lb2, and enabled on lb1, lb3; the lookup",
    ):
        assert line in told
    summary = "3 of 4 balancers differ: lb4 (no answer), lb3 (configuration of web), lb2 (states"
    assert summary in told

    balance(alike.host("lb3"), ALIKE)
    code, told = verify(alike, inventory, ignore=["states"])
    assert code == 0, told
    assert "enabled on lb1, lb3; the lookup table is another one, too (ignored)" in told
    order(alike.host("lb2"), {"address": WEB["web1"], "state": "enabled"})


def test_nobody_to_compare_is_no_success(lab: Lab, inventory: Path) -> None:
    code, told = verify(lab, inventory, limit="all,localhost", hosts="nobody")
    assert code == 2
    assert "no host of the inventory is among nobody; say with l4lb_hosts whom to compare" in told
