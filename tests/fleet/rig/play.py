# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible, with the laboratory's hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from lab import Lab
from lab.host import CHECKOUT

INVENTORY = CHECKOUT / "lab/inventory.yml"


def run(
    lab: Lab, *arguments: str, program: str = "ansible-playbook", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible, whatever its exit code."""
    variables = {"L4LB_LAB": lab.name, "ANSIBLE_NOCOLOR": "1", **environment}
    return subprocess.run(
        [str(Path(sys.executable).with_name(program)), "-i", str(INVENTORY), *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def playbook(
    lab: Lab,
    name: str,
    *arguments: str,
    limit: str = "lb1",
    settings: Mapping[str, str] = MappingProxyType({}),
    **variables: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the collection, with variables of the role and settings of Ansible,
    whatever its exit code."""
    given = json.dumps({f"l4lb_{key}": value for key, value in variables.items()})
    environment = {f"ANSIBLE_{key}": value for key, value in settings.items()}
    return run(lab, f"xdp.l4lb.{name}", "--limit", limit, "-e", given, *arguments, **environment)


def role(lab: Lab, name: str, *arguments: str, limit: str = "balancers", **variables: Any) -> str:
    """Run a role of the collection; what Ansible writes, whatever its exit code."""
    included = {"ansible.builtin.include_role": {"name": f"xdp.l4lb.{name}"}}
    book = lab.directory / f"{name}.yml"
    book.write_text(json.dumps([{"hosts": limit, "gather_facts": False, "tasks": [included]}]))
    given = json.dumps({f"l4lb_{key}": value for key, value in variables.items()})
    done = run(lab, str(book), "--limit", limit, "-e", given, *arguments)
    return done.stdout + done.stderr


def changed(output: str) -> list[int]:
    """How many tasks changed something, by host; none may have failed."""
    assert "failed=0" in output and "failed=1" not in output, output
    return [int(count) for count in re.findall(r"changed=(\d+)", output)]


def tasks(output: str) -> list[str]:
    """The names of the tasks that a run has shown, skipped ones too."""
    return re.findall(r"^TASK \[(?:xdp\.l4lb\.l4lb : )?(.*)\] \*+$", output, re.MULTILINE)


def changes(lab: Lab, name: str, *arguments: str, **variables: Any) -> int:
    """Run a playbook of the collection for lb1; how many tasks changed something."""
    done = playbook(lab, name, *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (changed,) = re.findall(r"changed=(\d+)", done.stdout)
    return int(changed)


def ansible(lab: Lab, tmp_path: Path, *tasks: dict[str, Any], hosts: str = "lb1") -> list[Any]:
    """Run tasks in one play; returns what each was registered as, also if it failed."""
    book, output = tmp_path / "play.yml", tmp_path / "results.json"
    names = [f"r{index}" for index in range(len(tasks))]
    play = {
        "hosts": hosts,
        "gather_facts": False,
        "tasks": [
            *(
                {"register": name, "ignore_errors": True, "diff": True, **task}
                for name, task in zip(names, tasks)
            ),
            {
                "delegate_to": "localhost",
                "vars": {"ansible_connection": "local"},
                "ansible.builtin.copy": {
                    "content": f"{{{{ [{', '.join(names)}] | to_json }}}}",
                    "dest": str(output),
                    "mode": "0600",
                },
            },
        ],
    }
    book.write_text(yaml.safe_dump([play]))
    done = run(lab, str(book))
    assert done.returncode == 0, done.stdout + done.stderr
    results: list[Any] = json.loads(output.read_text())
    return results


def l4lb(check: bool = False, **options: Any) -> dict[str, Any]:
    """A task that runs the module."""
    return {"xdp.l4lb.l4lb": {"interface": "eth0", **options}, "check_mode": check}


def stats(**options: Any) -> dict[str, Any]:
    """A task that runs the module for counters."""
    return {"xdp.l4lb.l4lb_stats": options}
