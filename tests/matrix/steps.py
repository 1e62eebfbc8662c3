# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run in every cell: on lb1, which has all packages, and on lb2, which is bare."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.matrix.controllers import Controller

INVENTORY = CHECKOUT / "lab/inventory.yml"
VIP = "192.0.2.10"
SERVERS = {f"203.0.113.2{number}": f"web{number}" for number in range(1, 5)}
DRAINED = "203.0.113.21"
REQUESTS = 40
DEPLOYED = {
    "l4lb_interface": "eth0",
    "l4lb_services": [
        {
            "name": "web",
            "address": VIP,
            "port": 80,
            "protocol": "tcp",
            "backend_group": "webservers",
        }
    ],
}
# Beside what is written on the file system: pins, locks, what is attached, and what is kept.
VOLATILE = """
find /sys/fs/bpf /run /tmp ! -path '/tmp/ansible_*'
ip -json link show eth0 | grep -o '"xdp":.*'
ip neigh show proto 214
"""
VERSIONS = "cat /etc/debian_version; dpkg-query --show python3 python3-bpfcc python3-pyroute2"
DEPRECATION = re.compile(r"^\[DEPRECATION WARNING\]: (.*(?:\n(?![\n\[]).+)*)", re.MULTILINE)


class StepError(Exception):
    """What is not as it shall be, in words."""


class Run:
    """A laboratory, a controller, and what it has said."""

    def __init__(self, lab: Lab, controller: Controller, log: Path) -> None:
        self.lab = lab
        self.predicted = 0
        self.before: set[str] = set()
        self.deprecations: list[str] = []
        self._controller = controller
        self.log = log

    def ansible(self, program: str, *arguments: str, checkout: bool = False) -> str:
        """What a program of Ansible says. Raises StepError if it fails."""
        inventory = ["-i", str(INVENTORY), *arguments]
        done = self._controller.run(program, *inventory, checkout=checkout, L4LB_LAB=self.lab.name)
        self.note(f"\n$ {program} {' '.join(inventory)}\n{done.stdout}")
        for text in DEPRECATION.findall(done.stdout):
            if text not in self.deprecations:
                self.deprecations.append(text)
        if done.returncode:
            raise StepError(f"{program} {' '.join(arguments)}: exit code {done.returncode}")
        return done.stdout

    def note(self, text: str) -> None:
        """Keep it in the log."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    def play(self, name: str, host: str, *arguments: str, **variables: Any) -> str:
        """What a playbook of the collection says, for one host."""
        given = ["-e", json.dumps(variables)] if variables else []
        return self.ansible(
            "ansible-playbook", f"xdp.l4lb.{name}", "--limit", host, *given, *arguments
        )

    def deploy(self, host: str, *arguments: str) -> int:
        """How many tasks changed something."""
        return changes(self.play("deploy", host, "--diff", *arguments, **DEPLOYED))


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raises StepError unless it is so."""
    if found != wanted:
        raise StepError(f"{what}: {found!r}, not {wanted!r}")


def changes(output: str) -> int:
    """How many tasks of a playbook changed something on its one host."""
    (changed,) = re.findall(r"changed=(\d+)", output)
    return int(changed)


def traces(host: Host) -> set[str]:
    """All that the collection could have put there."""
    upper = host.directory / "upper"
    written = {str(path) for path in upper.rglob("*") if path.is_symlink() or not path.is_dir()}
    kept = {path for path in written if not path.startswith(f"{upper}/root/.ansible/")}
    return kept | set(host.run(["sh", "-c", VOLATILE]).stdout.splitlines())


def versions(lab: Lab) -> dict[str, str]:
    """Of the distribution, and of what balancers use, without what Debian adds."""
    debian, *packages = lab.host("lb1").run(["sh", "-ec", VERSIONS]).stdout.splitlines()
    found = dict(line.split("\t") for line in packages)
    shown = {name: re.split(r"[-+]", version)[0] for name, version in found.items()}
    return {"debian": debian, **shown}


def requests(run: Run, balancer: str) -> Counter[str]:
    """Which servers answer requests through a balancer, and how many each."""
    via = run.lab.host(balancer).address
    run.lab.host("router").ip([f"route replace {VIP}/32 via {via}"])
    urls = [f"http://{VIP}/"] * REQUESTS
    curl = ["curl", "-sS", "--max-time", "20", "-Z", "--parallel-max", "10", *urls]
    answers = Counter(run.lab.host("client").run(curl, check=False).stdout.split())
    expect("answers", answers.total(), REQUESTS)
    return answers


def check_virgin(run: Run) -> None:
    check_first(run, "lb1")


def check_first(run: Run, host: str) -> None:
    """Check mode predicts what follows, and leaves nothing."""
    run.before = traces(run.lab.host(host))
    run.predicted = run.deploy(host, "--check")
    expect("left by check mode", traces(run.lab.host(host)) - run.before, set())


def deploy(run: Run) -> None:
    expect("changed", run.deploy("lb1"), run.predicted)
    expect("traces", traces(run.lab.host("lb1")) > run.before, True)


def traffic(run: Run) -> None:
    expect("servers", set(requests(run, "lb1")), set(SERVERS.values()))


def deploy_unchanged(run: Run) -> None:
    expect("changed", run.deploy("lb1"), 0)


def check_deployed(run: Run) -> None:
    expect("changed", run.deploy("lb1", "--check"), 0)


def stats(run: Run) -> None:
    output = run.play("stats", "lb1")
    for line in ("web on eth0 (native), 192.0.2.10 tcp 80", *SERVERS):
        expect(f"table has {line}", line in output, True)


def stats_module(run: Run) -> None:
    """By its full name from what is installed, by its short one from the checkout."""
    for name, checkout in (("xdp.l4lb.l4lb_stats", False), ("l4lb_stats", True)):
        output = run.ansible("ansible", "lb1", "-m", name, checkout=checkout)
        expect(f"{name} tells of each backend", [a for a in SERVERS if a not in output], [])


def drain(run: Run) -> None:
    run.play("drain", "lb1", l4lb_backend=DRAINED, l4lb_quiet=1)
    expect("servers", set(requests(run, "lb1")), set(SERVERS.values()) - {SERVERS[DRAINED]})
    run.play("drain", "lb1", l4lb_backend=DRAINED, l4lb_backend_state="enabled")
    expect("servers", set(requests(run, "lb1")), set(SERVERS.values()))


def remove(run: Run) -> None:
    predicted = changes(run.play("remove", "lb1", "--check", l4lb_interface="eth0"))
    expect("changed", changes(run.play("remove", "lb1", l4lb_interface="eth0")), predicted)
    expect("left behind", traces(run.lab.host("lb1")) - run.before, set())


def check_bare(run: Run) -> None:
    check_first(run, "lb2")


def install(run: Run) -> None:
    expect("changed", run.deploy("lb2"), run.predicted)


def traffic_of_installed(run: Run) -> None:
    expect("servers", set(requests(run, "lb2")), set(SERVERS.values()))


def deploy_installed(run: Run) -> None:
    expect("changed", run.deploy("lb2"), 0)


STEPS: dict[str, Callable[[Run], None]] = {
    "check mode on a virgin host": check_virgin,
    "deploy": deploy,
    "traffic": traffic,
    "deploy again": deploy_unchanged,
    "check mode on a deployed host": check_deployed,
    "stats": stats,
    "l4lb_stats": stats_module,
    "drain": drain,
    "remove": remove,
    "check mode on a bare host": check_bare,
    "first install on a bare host": install,
    "its traffic": traffic_of_installed,
    "deploying to it again": deploy_installed,
}
