# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input, as the user sees it by module, role and command. The balancer of before goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, plan, renamed, state
from tests.fleet.rig.clients import works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import ansible, l4lb, playbook, run
from tests.fleet.rig.services import service
from tests.fleet.there import wrong as there
from tests.wrong import CASES, Case, Options, wanted

OF_THE_HOST = [
    Case(
        wanted(interface="eth9"),
        "interface: 'eth9': no such interface; this host has lo, eth0, eth1",
    ),
]
"""What only the host can tell."""
BALANCED: dict[str, Any] = {"interface": "eth0", "services": [service(1, 2)]}


@pytest.fixture
def balancer(lab: Lab, lb1: Host) -> Iterator[Host]:
    """It is the same afterwards."""
    apply(lb1, BALANCED)
    before = state(lb1)
    yield lb1
    assert state(lb1) == before
    works(lab, 1, 2)


def check(case: Case, message: str) -> None:
    """One message, which names option, value and remedy."""
    assert message.startswith(case.message)
    assert len(message) < 300
    assert "\n" not in message and "Traceback" not in message


@pytest.mark.usefixtures("balancer")
def test_the_module(lab: Lab, tmp_path: Path) -> None:
    cases = [case for case in [*CASES, *OF_THE_HOST] if "module" in case.faces]
    all_options = [case.options for case in cases]
    # Many at once, for a task takes time; not all, for a loop takes the square of its length.
    tasks = [
        {"xdp.l4lb.l4lb": "{{ item }}", "loop": all_options[first : first + 32], "no_log": True}
        for first in range(0, len(cases), 32)
    ]
    *found, last = ansible(lab, tmp_path, *tasks, l4lb(**BALANCED))
    results = [result for one in found for result in one["results"]]
    assert len(results) == len(cases) > 190
    for case, result in zip(cases, results):
        assert result["failed"] and not result["changed"], case
        check(case, result["msg"])
    assert not last["failed"] and not last["changed"]


def test_the_command(balancer: Host) -> None:
    cases = [case for case in [*CASES, *OF_THE_HOST] if "command" in case.faces]
    answers = python(balancer, there.applied, configurations=[case.options for case in cases])
    for case, (code, output, errors) in zip(cases, answers):
        assert (code, output) == (1, ""), case
        (line,) = errors.splitlines()
        check(case, line.removeprefix("l4lb: "))
    odd = [BALANCED, {"interface": "eth0"}, BALANCED]
    same, refused, again = python(balancer, there.applied, configurations=odd)
    assert same == again == [0, "eth0: nothing to change\n", ""]
    assert refused[0] == 1 and "services: None: give the services" in refused[2]


def some(cases: list[Case]) -> list[Case]:
    """Of every table, as each takes the role half a second; the others are in tests/unit."""
    everywhere = [case for case in cases if len(case.faces) == 3]
    return [*everywhere[::12], *(case for case in cases if case.faces == ("role",))][:32]


@pytest.mark.usefixtures("balancer")
def test_the_role(lab: Lab, tmp_path: Path) -> None:
    """Ansible's own check of its arguments says nothing."""
    cases = some(CASES)
    lines = told(lab, tmp_path, [case.options for case in cases])
    for case, message in zip(cases, lines):
        assert message.startswith("l4lb_")
        check(case, message.removeprefix("l4lb_"))


def told(lab: Lab, tmp_path: Path, rows: list[Options]) -> list[str]:
    """The message of the role, for each of these variables."""
    row, book, output = (tmp_path / name for name in ("row.yml", "play.yml", "told.json"))
    names = sorted({name for options in rows for name in options})
    given = {f"l4lb_{name}": f"{{{{ item.{name} | default(none) }}}}" for name in names}
    role = {"ansible.builtin.include_role": {"name": "xdp.l4lb.l4lb"}, "vars": given}
    note = "{{ told | default([]) + [ansible_failed_result.msg] }}"
    rescue = {"ansible.builtin.set_fact": {"told": note}}
    row.write_text(yaml.safe_dump([{"block": [role], "rescue": [rescue]}]))
    copied = {"content": "{{ told | to_json }}", "dest": str(output), "mode": "0600"}
    here = {"delegate_to": "localhost", "vars": {"ansible_connection": "local"}}
    tasks = [
        {"ansible.builtin.include_tasks": str(row), "loop": rows},
        {"ansible.builtin.copy": copied, **here},
    ]
    book.write_text(yaml.safe_dump([{"hosts": "lb1", "gather_facts": False, "tasks": tasks}]))
    done = run(lab, str(book))
    assert done.returncode == 0, done.stdout + done.stderr
    messages: list[str] = json.loads(output.read_text())
    assert len(messages) == len(rows)
    return messages


# What is taken, with a warning.


def test_what_may_be_meant_is_warned_of(lab: Lab, lb1: Host) -> None:
    """And facts, which are asked for, say nothing of the addresses that the inventory has."""
    ways = [{"address": f"10.9.9.{n}", "mac": "02:00:00:00:00:09"} for n in (1, 2, 3, 4)]
    apply(lb1, wanted(service(*ways)))
    weighted = [{"address": "10.9.9.1", "mac": "02:00:00:00:00:09", "weight": 2}]
    done = playbook(
        lab,
        "deploy",
        "--check",
        interface="{{ ansible_facts.default_ipv4.interface }}",
        gather_facts="true",
        manage_packages="false",
        hash_sed=4711,
        services=[service(*weighted, scheduler="jhash", backend_group="webservers")],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING]: l4lb_hash_sed: did you mean l4lb_hash_seed?" in done.stderr
    assert "services[web].scheduler: 'jhash': ignores weights other than 0" in done.stderr
    removed = ", ".join(f"10.9.9.{n}" for n in (2, 3, 4))
    words = " ".join(done.stdout.split())  # lines are broken
    assert f"4 backends added, 3 backends removed ({removed})" in words
    assert "95.0 % of new flows move" in words
    assert "4711" not in done.stdout + done.stderr


def test_an_interface_that_is_down_is_warned_of(lb1: Host) -> None:
    down = wanted(service({"address": "10.9.9.1", "mac": "02:00:00:00:00:09"}), interface="eth1")
    with renamed(lb1, "eth1"):
        assert not [one for one in plan(lb1, down)["warnings"] if "is down" in one]
        lb1.ip(["link set eth1 down"])
        found = plan(lb1, down)
    assert "interface: 'eth1': is down, so that nothing comes in; run ip link set eth1 up" in str(
        found
    )
