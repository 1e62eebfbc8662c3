# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the control plane takes, on a balancer of its own that is attached to a veth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import forwarding
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.judge import Judge

from tests.bench import ROOT
from tests.bench.sandbox import ip
from tests.bench.subjects import GATEWAY_MAC, OWN_ADDRESS, sources

INTERFACE = "bench0"
GATEWAY = "192.0.2.1"
HOST_PYTHON = "/usr/bin/python3"
"""That of the distribution, to which bcc belongs and which Ansible would use."""


class UnexpectedError(Exception):
    """A change changed nothing, or the other way round."""


@contextmanager
def interface() -> Iterator[None]:
    """The balancer's interface, with a route to all backends."""
    ip(f"link add {INTERFACE} type veth peer name {INTERFACE}p")
    ip(f"link set {INTERFACE}p up")
    ip(f"link set {INTERFACE} up")
    ip(f"address add {OWN_ADDRESS}/24 dev {INTERFACE}")
    ip(f"neighbour add {GATEWAY} lladdr {GATEWAY_MAC} dev {INTERFACE}")
    ip(f"route add 10.0.0.0/8 via {GATEWAY}")
    forwarding.let_routing_answer(Paths(), 4)
    try:
        yield
    finally:
        ip(f"link delete {INTERFACE}")


def options(services: list[dict[str, Any]]) -> dict[str, Any]:
    """Those of the module."""
    return {"interface": INTERFACE, "gateway_mac": GATEWAY_MAC, "services": services}


def first_time(services: list[dict[str, Any]], times: int) -> list[float]:
    """Seconds that the library takes where there is no balancer yet."""
    config = parse_config(options(services))
    balancer = Balancer(INTERFACE, sources())
    taken = []
    for _turn in range(times):
        taken.append(_seconds(lambda: balancer.apply(config)))
        balancer.apply(None)
    return taken


def replace_one(services: list[dict[str, Any]], times: int) -> list[float]:
    """Seconds that the library takes to exchange the last backend of the first service."""
    either = [parse_config(options(each)) for each in _either(services)]
    balancer = Balancer(INTERFACE, sources())
    balancer.apply(either[0])
    taken = []
    for turn in range(1, times + 1):
        start = time.perf_counter()
        outcome = balancer.apply(either[turn % 2])
        taken.append(time.perf_counter() - start)
        if not outcome.plan.changed or outcome.plan.load:
            raise UnexpectedError(f"replacing a backend did: {outcome.plan.steps}")
    balancer.apply(None)
    return taken


def judge_one(services: list[dict[str, Any]], times: int) -> list[float]:
    """Seconds from the verdict that a server which all services have does not answer any more, or
    does again, to the switch: those of others each time, as an agent meets them."""
    checked = [{**one, "check": {"type": "tcp", "interval": 60}} for one in services]
    balancer = Balancer(INTERFACE, sources())
    balancer.apply(parse_config(options(checked)))
    judge = Judge(balancer)
    judge.look()
    taken = []
    for turn in range(times):
        address = ip_address(services[0]["backends"][turn // 2]["address"])
        found = {} if turn % 2 else {address: Verdict(answered=False, reason="refused")}
        verdicts = {one["name"]: found for one in services}
        taken.append(_seconds(partial(judge.follow, verdicts)))
        if judge.look().verdicts != (verdicts if found else {}):
            raise UnexpectedError("the balancer did not follow")
    balancer.apply(None)
    return taken


def run_to_replace_one(services: list[dict[str, Any]], times: int) -> list[float]:
    """Seconds that the module takes on the host for the same: from the start of Python to its end,
    with the very file that Ansible sends."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        folders = Path(first), Path(second)
        payloads = [_payload(options(s), f) for s, f in zip(_either(services), folders)]
        turns = [payloads[turn % 2] for turn in range(times)]  # the second is what it does now
        taken = [_seconds(partial(_run, payload, True)) for payload in turns]
    Balancer(INTERFACE, sources()).apply(None)
    return taken


def second_run(services: list[dict[str, Any]], times: int) -> list[float]:
    """Seconds that the module takes on the host when there is nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        payload = _payload(options(services), Path(folder))
        taken = [_seconds(lambda: _run(payload, False)) for _turn in range(times)]
    Balancer(INTERFACE, sources()).apply(None)
    return taken


def _either(services: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The services, and the same with another last backend in the first."""
    first, *others = services
    kept, last = first["backends"][:-1], first["backends"][-1]
    spare = {**last, "address": "10.255.255.1"}
    return [[{**first, "backends": [*kept, one]}, *others] for one in (last, spare)]


def _run(payload: Path, changes: bool) -> None:
    command = [HOST_PYTHON, str(payload)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(ran.stdout)
    if result["changed"] != changes:
        raise UnexpectedError(f"the run did: {result['steps']}")


def _payload(module_options: dict[str, Any], folder: Path) -> Path:
    """Let Ansible apply the options, and keep what it ran."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_KEEP_REMOTE_FILES": "1",
        "ANSIBLE_REMOTE_TMP": str(folder),
        "ANSIBLE_PYTHON_INTERPRETER": HOST_PYTHON,
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
    }
    playbook = folder / "playbook.json"
    task = {"xdp.l4lb.l4lb": module_options}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    ansible = [sys.executable, "-m", "ansible.cli.playbook", "-i", "localhost,", "-c", "local"]
    ansible.append(str(playbook))
    ran = subprocess.run(
        ansible, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    if ran.returncode != 0:
        raise UnexpectedError(f"{ran.stdout}{ran.stderr}")
    (payload,) = folder.glob("ansible-tmp-*/AnsiballZ_l4lb.py")
    return payload


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
