# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a balancer, or being told why not."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.host import ENVIRONMENT, Host
from tests.fleet.rig.command import CLIENT, DEPLOYED, l4lb, service, who
from tests.fleet.rig.play import playbook
from tests.fleet.rig.services import VIP, WEB
from tests.interruptible import interruptible


def test_apply(lab: Lab, lb1: Host) -> None:
    other = {**DEPLOYED, "services": [service("web2", "web3", scheduler="jhash")]}
    same = l4lb(lb1, "apply", "--check", "-", given=DEPLOYED)
    assert same == "eth0: nothing to change\n"
    plan = l4lb(lb1, "apply", "--check", "--diff", "-", given=other, code=3)
    assert "-  - {address: 203.0.113.21, weight: 1, state: enabled}" in plan.splitlines()
    assert "+  scheduler: jhash" in plan.splitlines()
    assert ", 1 backend added (203.0.113.23), 1 backend removed (203.0.113.21), " in plan
    assert l4lb(lb1, "apply", "--check", "-", given=DEPLOYED) == same, "nothing has changed yet"

    lb1.run(["sh", "-c", "cat >/root/wanted.json"], input=json.dumps(other))
    assert l4lb(lb1, "apply", "--diff", "/root/wanted.json") == plan
    lb1.run(["rm", "/root/wanted.json"])
    assert {who(lab, 21100 + n) for n in range(8)} == {"web2", "web3"}
    saved = json.loads(lb1.run(["cat", "/etc/l4lb/eth0.json"]).stdout)
    assert saved["config"]["services"][0]["scheduler"] == "jhash"


def test_remove_and_absent(lb1: Host) -> None:
    removed = l4lb(lb1, "remove", "eth0")
    assert removed.splitlines() == [
        "eth0: detach the program from eth0",
        "eth0: remove /sys/fs/bpf/l4lb/eth0",
        "eth0: remove /etc/l4lb/eth0.json",
    ]
    assert l4lb(lb1, "remove", "eth0") == "eth0: nothing to change\n"
    assert l4lb(lb1, "status") == l4lb(lb1, "stats") == "This host does not balance.\n"
    assert l4lb(lb1, "status", "--json") == l4lb(lb1, "stats", "--json") == "{}\n"
    assert l4lb(lb1, "restore") == "nothing is saved\n"
    flow = ("flow", "tcp", f"{CLIENT}:1", f"{VIP}:80")
    assert l4lb(lb1, *flow, code=1) == "this host does not balance"
    l4lb(lb1, "apply", "-", given=DEPLOYED)
    absent = {**DEPLOYED, "state": "absent"}
    assert l4lb(lb1, "apply", "-", given=absent) == removed


WRONG: dict[str, tuple[list[str], Any, str]] = {
    "no such file": (["apply", "/nowhere"], None, "/nowhere: No such file or directory"),
    "a directory": (["apply", "/etc"], None, "/etc: Is a directory"),
    "a device": (["apply", "/dev/zero"], None, "/dev/zero: not a regular file or a pipe"),
    "no end": (["apply", "/root/long"], None, "/root/long: longer than 32 MiB, as no configu"),
    "no end by a pipe": (["apply", "-"], " " * (33 << 20), "standard input: longer than 32 MiB"),
    "no JSON": (["apply", "-"], "{", "standard input is not JSON: Expecting property name"),
    "no text": (["apply", "/usr/bin/env"], None, "/usr/bin/env is not JSON: "),
    "no mapping": (["apply", "-"], [], "standard input: give a mapping of options"),
    "wrong option": (["apply", "-"], {"interfce": "eth0"}, "interfce: 'eth0': no such option"),
    "wrong state": (["apply", "-"], {"state": "on"}, "state: 'on': choose one of present, absent"),
    "wrong replace": (["apply", "-"], {"replace": 1}, "replace: 1: give true or false"),
    "wrong interface": (["apply", "-"], {"interface": "eth9", "services": []}, "'eth9': no such"),
    "no services": (["apply", "-"], {"interface": "eth0"}, "services: None: give the services; an"),
    "nobody to remove": (["remove", "eth9"], None, "interface: 'eth9': no such interface"),
    "no name": (["remove", "a/b"], None, "interface: 'a/b': not an interface name"),
    "nobody to restore": (["restore", "eth9"], None, "eth9: interface: 'eth9': no such interface"),
    "no balancer": (["stats", "lo"], None, "no balancer is attached to lo"),
    "nothing to watch": (["top", "--interval", "0"], None, "--interval: 0.0: top needs more"),
    "no address": (["drain", "web1"], None, "ADDRESS: 'web1': not an IP address"),
    "no backend": (["enable", "10.0.0.1"], None, "address: '10.0.0.1': eth0 has no such backend"),
    "no weight": (["weight", WEB["web1"], "256"], None, "weight: 256: give a whole number from 0"),
    "no endpoint": (["flow", "tcp", "2001:db8::1:80", f"{VIP}:80"], None, "CLIENT:PORT: '2001:"),
    "no port": (["flow", "tcp", f"{CLIENT}:1", f"{VIP}:65536"], None, f"VIP:PORT: '{VIP}:65536'"),
    "two families": (["flow", "tcp", "[2001:db8::1]:1", f"{VIP}:80"], None, "source: '2001:db8"),
}


@pytest.mark.parametrize(("arguments", "given", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input(deployed: Host, arguments: list[str], given: Any, message: str) -> None:
    deployed.run(["truncate", "--size=100G", "/root/long"])
    assert message in l4lb(deployed, *arguments, given=given, code=1)
    deployed.run(["rm", "/root/long"])


def test_a_playbook_with_nobody_to_remove(lab: Lab, deployed: Host) -> None:
    done = playbook(lab, "remove", interface="eth9")
    assert done.returncode and "interface: 'eth9': no such interface" in done.stdout
    assert l4lb(deployed, "status")


def test_a_pipe(deployed: Host) -> None:
    told = deployed.run(
        ["bash", "-c", "l4lb apply --check <(sleep 0.1; cat)"], input=json.dumps(DEPLOYED)
    )
    assert told.stdout == "eth0: nothing to change\n"


@pytest.mark.parametrize("arguments", [[], ["x"], ["stats", "--interval", "-1"], ["remove"]])
def test_wrong_usage(deployed: Host, arguments: list[str]) -> None:
    l4lb(deployed, *arguments, code=2)


COMMANDS = ["status", "stats", "flow", "drain", "enable", "disable", "weight"]
COMMANDS += ["apply", "restore", "remove", "pause", "resume"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(deployed: Host, command: str) -> None:
    top = l4lb(deployed, "--help")
    assert f"\n    {command} " in top and "exit codes:" in top
    assert "usage: l4lb " + command in l4lb(deployed, command, "--help")


def test_no_root(deployed: Host) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "l4lb"]
    flow = ["flow", "tcp", f"{CLIENT}:1", f"{VIP}:80"]
    for arguments in (["status"], ["stats"], ["restore"], ["remove", "eth0"], flow):
        done = deployed.run([*as_nobody, *arguments], check=False)
        assert done.returncode == 1
        assert re.fullmatch(r"l4lb: root is needed .* sudo\n", done.stderr)


def test_no_bcc(lb1: Host) -> None:
    """All works but what must be compiled."""
    folder = "/usr/lib/python3/dist-packages/bcc"
    lb1.run(["mount", "-t", "tmpfs", "none", folder])
    try:
        jhash = {**DEPLOYED, "services": [service("web1", scheduler="jhash")]}
        for command in (["apply", "-"], ["flow", "tcp", f"{CLIENT}:1", f"{VIP}:80"]):
            assert "bcc is not installed" in l4lb(lb1, *command, given=jhash, code=1)
        assert l4lb(lb1, "restore") == "eth0: nothing to change\n"
        l4lb(lb1, "status")
    finally:
        lb1.run(["umount", folder])


def test_ctrl_c(deployed: Host) -> None:
    with interruptible(
        deployed.inside("l4lb", "apply", "-"),
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin and running.stderr
        running.stdin.write(" " * (1 << 20))  # more than a pipe holds: it is being read
        running.stdin.flush()
        while "pipe_read" not in Path(f"/proc/{running.pid}/wchan").read_text():
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.stderr.read() == "l4lb: interrupted\n"
    assert running.returncode == 130
