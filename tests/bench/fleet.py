# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks take for a fleet, by its size: 50 balancers in network namespaces of their own.
Puts a table into docs/large-fleets.md. Exit status 1 if time grows faster than the fleet does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import TOPOLOGY, Lab
from tests.bench import ROOT, controller
from tests.bench.control import HOST_PYTHON, UnexpectedError

PAGE = ROOT / "docs" / "large-fleets.md"
TABLE = re.compile(r"(<!-- bench: fleet -->\n).*?(?=<!-- end -->)", re.DOTALL)
FIRST = (5, 15, 30)
"""How many hosts are deployed to at a time that are none yet."""
SIZES = (5, 15, 50)
FORKS = 10
MOST = 1.3
"""So many times what a host takes among few it may take among many."""
TIMES = "/root/times"
PLAYS = {
    "first deploy": "xdp.l4lb.deploy",
    "deploy that changes nothing": "xdp.l4lb.deploy",
    "deploy of other backends": "xdp.l4lb.deploy",
    "stats": "xdp.l4lb.stats",
    "verify": "xdp.l4lb.verify",
    "ten tasks that do nothing": "{place}/empty.json",
}


@dataclass
class Taken:
    """CPU seconds that a run took of the controller, and of all hosts; MiB of its largest process.

    Not what it took by the clock: here hosts and controller share one machine.
    """

    what: str
    hosts: int
    controller: float
    balancers: float
    memory: float

    @property
    def row(self) -> str:
        """Of the table."""
        each = f"{self.controller / self.hosts:.2f} | {self.balancers / self.hosts:.2f}"
        return f"| {self.what} | {self.hosts} | {each} | {self.memory:.0f} |"


class Fleet:
    """A laboratory, and an inventory of its balancers."""

    def __init__(self, lab: Lab, names: list[str], place: Path) -> None:
        self._lab = lab
        self._names = names
        self._place = place
        interpreter = place / "python"
        text = controller.INTERPRETER.format(python=HOST_PYTHON, times=TIMES)
        interpreter.write_text(text, encoding="ascii")
        interpreter.chmod(0o755)
        play = {"hosts": "balancers", "gather_facts": False, "become": True, "serial": "100%"}
        play["tasks"] = [{"ansible.builtin.ping": None}] * 10
        (place / "empty.json").write_text(json.dumps([play]), encoding="ascii")
        self.write(4)

    def write(self, backends: int) -> None:
        """The inventory, with so many backends of each of ten services."""
        services = [
            {
                "name": f"s{number}",
                "address": f"192.0.2.{number}",
                "port": 80,
                "protocol": "tcp",
                "backends": [{"address": f"203.0.113.{21 + n}"} for n in range(backends)],
            }
            for number in range(10, 20)
        ]
        variables = {
            "ansible_connection": "xdp.l4lb.netns",
            "ansible_python_interpreter": str(self._place / "python"),
            "l4lb_interface": "eth0",
            "l4lb_flow_table_size": 4096,
            "l4lb_serial": "100%",
            "l4lb_interval": 0,
            "l4lb_services": services,
        }
        group = {"hosts": {name: {"ansible_netns_host": name} for name in self._names}}
        inventory = {"all": {"vars": variables, "children": {"balancers": group}}}
        (self._place / "inventory.json").write_text(json.dumps(inventory), encoding="ascii")

    def play(self, what: str, names: list[str], changes: bool = False) -> Taken:
        """Run a playbook for some of them. Raises UnexpectedError if that changes something, or
        does not where it should, or fails."""
        hosts = [self._lab.host(name) for name in names]
        for host in hosts:
            host.run(["rm", "-f", TIMES])
        book = PLAYS[what].format(place=self._place)
        command = [sys.executable, "-m", "ansible.cli.playbook", book]
        command += ["-i", str(self._place / "inventory.json"), "--limit", ",".join(names)]
        command += ["--forks", str(FORKS)]
        before = controller.cpu()
        with (self._place / "output").open("w+") as output:
            ran = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=self._environment(), cwd=ROOT
            )
            _pid, _status, usage = os.wait4(ran.pid, 0)
            cpu = controller.cpu() - before
            output.seek(0)
            said = output.read()
        recap = re.findall(r"lb\d+ +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", said)
        if len(recap) != len(names) or {count != "0" for count in recap} != {changes}:
            raise UnexpectedError(said)
        noted = "".join(host.run(["cat", TIMES]).stdout for host in hosts)
        theirs = controller.noted(noted)
        return Taken(what, len(names), cpu - theirs, theirs, usage.ru_maxrss / 1024)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "L4LB_LAB": self._lab.name,
        }


def main() -> int:
    """The command."""
    taken = []
    with _fleet(max(SIZES)) as (fleet, names):
        left = names
        for size in FIRST:
            taken.append(_told(fleet.play("first deploy", left[:size], changes=True)))
            left = left[size:]
        for what in PLAYS.keys() - {"first deploy", "deploy of other backends"}:
            taken += [_told(fleet.play(what, names[:size])) for size in SIZES]
        for backends, size in enumerate(SIZES, 1):
            fleet.write(backends)
            what = "deploy of other backends"
            taken.append(_told(fleet.play(what, names[:size], changes=True)))
    order = [*PLAYS]
    taken.sort(key=lambda one: (order.index(one.what), one.hosts))
    head = (
        "| run | hosts | CPU s of the controller per host | CPU s of a host | MiB |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
    )
    table = head + "\n".join(one.row for one in taken)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda found: f"{found[1]}{table}\n", page), encoding="utf-8")
    growing = [what for what in PLAYS if _grows(what, taken)]
    return 1 if growing else 0


def _grows(what: str, taken: list[Taken]) -> bool:
    """Whether a host takes more of the controller in the largest fleet than in the middle one."""
    few, many = [one for one in taken if one.what == what][1:]
    ratio = (many.controller / many.hosts) / (few.controller / few.hosts)
    print(f"{what}: {ratio:.2f} x for each of {many.hosts} hosts as of {few.hosts}")
    return ratio > MOST


def _told(taken: Taken) -> Taken:
    print(taken.row, flush=True)
    return taken


@contextmanager
def _fleet(size: int) -> Iterator[tuple[Fleet, list[str]]]:
    """One that is up."""
    topology: dict[str, Any] = yaml.safe_load(TOPOLOGY.read_text(encoding="utf-8"))
    balancer = topology["hosts"].pop("lb1")
    del topology["hosts"]["lb2"]
    names = [f"lb{number}" for number in range(1, size + 1)]
    for number, name in enumerate(names, 101):
        addresses = [f"203.0.113.{number}/24", f"2001:db8:2::{number}/64"]
        interface: Mapping[str, Any] = {"to": "router/servers", "addresses": addresses}
        topology["hosts"][name] = {**balancer, "interfaces": {"eth0": interface}}
    lab = Lab(f"scale{os.getpid()}")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    # in the checkout, which hosts see as it is
    with tempfile.TemporaryDirectory(dir=build) as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "topology.yml").write_text(yaml.safe_dump(topology), encoding="utf-8")
        lab.up(place / "topology.yml")
        try:
            yield Fleet(lab, names, place), names
        finally:
            lab.down()


if __name__ == "__main__":
    sys.exit(main())
