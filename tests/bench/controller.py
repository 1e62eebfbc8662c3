# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an unchanged deploy takes of the controller: CPU time of ansible-playbook, less that of what
runs on the hosts, which are all this machine."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer

from tests.bench import ROOT
from tests.bench.control import HOST_PYTHON, INTERFACE, UnexpectedError, options
from tests.bench.subjects import sources

DEPLOY = "xdp.l4lb.deploy"
INTERPRETER = """#!/bin/sh
{python} "$@"
code=$?
times >>"{times}"
exit $code
"""
"""The hosts' Python, which notes the CPU time that it and all it started have taken."""


def unchanged_deploy(services: list[dict[str, Any]], hosts: int, times: int) -> list[float]:
    """CPU seconds of the controller per host, a fifth as often as asked: a deploy takes long."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write(place, services, hosts)
        _play(place, DEPLOY, 1)  # one of them sets up what is the same for all
        taken = [_play(place, DEPLOY, hosts) / hosts for _turn in range(-(-times // 5))]
    Balancer(INTERFACE, sources()).apply(None)
    return taken


def ten_empty_tasks(hosts: int, times: int) -> list[float]:
    """The same for a play that does nothing, ten times on each host."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write(place, [], hosts)
        play = {"hosts": "balancers", "gather_facts": False, "become": True, "serial": hosts}
        play["tasks"] = [{"ansible.builtin.ping": None}] * 10
        book = place / "empty.json"
        book.write_text(json.dumps([play]), encoding="utf-8")
        return [_play(place, str(book), hosts) / hosts for _turn in range(-(-times // 5))]


def _write(place: Path, services: list[dict[str, Any]], hosts: int) -> None:
    """An inventory of hosts that are all the same."""
    interpreter = place / "python"
    interpreter.write_text(INTERPRETER.format(python=HOST_PYTHON, times=place / "times"))
    interpreter.chmod(0o755)
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": str(interpreter),
        "l4lb_serial": hosts,
        **{f"l4lb_{name}": value for name, value in options(services).items()},
    }
    group: dict[str, Any] = {"hosts": {f"host{number}": {} for number in range(hosts)}}
    inventory = {"all": {"vars": variables, "children": {"balancers": group}}}
    (place / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")


def _play(place: Path, book: str, hosts: int) -> float:
    """Run it, after the first time without a change; returns CPU seconds of the controller."""
    times = place / "times"
    first = not times.exists()
    times.write_text("")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(place / "local"),
        "ANSIBLE_REMOTE_TMP": str(place / "remote"),
    }
    command = [sys.executable, "-m", "ansible.cli.playbook", "-i", str(place / "inventory.json")]
    command += [book, "--limit", "host0" if hosts == 1 else "balancers"]
    before = cpu()
    ran = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    taken = cpu() - before
    recap = re.findall(r"ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", ran.stdout)
    if len(recap) != hosts or (not first and set(recap) != {"0"}):
        raise UnexpectedError(f"{ran.stdout}{ran.stderr}")
    return taken - noted(times.read_text(encoding="ascii"))


def cpu() -> float:
    """Of all that this process started and waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def noted(times: str) -> float:
    """From what the shell's `times` writes, "1m2.3s 0m0.4s", a line for itself and one for what it
    started."""
    found = re.findall(r"(\d+)m([\d.]+)s", times)
    return sum(int(minutes) * 60 + float(seconds) for minutes, seconds in found)
