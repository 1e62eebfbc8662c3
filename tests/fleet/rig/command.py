# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The l4lb command on a balancer, as the role installs it."""

from __future__ import annotations

import json
from typing import Any

from lab import Lab
from lab.host import Host
from tests.fleet.rig.play import changes
from tests.fleet.rig.services import VIP, WEB

CLIENT = "198.51.100.2"


def service(*backends: str, **options: Any) -> dict[str, Any]:
    """A service on the VIP, its backends by the server's name."""
    there = {"name": "web", "address": VIP, "port": 80, "protocol": "tcp"}
    return {**there, "backends": [{"address": WEB[name]} for name in backends], **options}


DEPLOYED: dict[str, Any] = {"interface": "eth0", "services": [service("web1", "web2")]}


def play(lab: Lab, name: str, *arguments: str) -> int:
    """Run a playbook of the collection for lb1; returns how many tasks changed something."""
    return changes(lab, name, *arguments, **DEPLOYED)


def l4lb(host: Host, *arguments: str, code: int = 0, given: Any = None) -> str:
    """What the command prints; errors are one line, without a traceback, and only then; of what
    should balance and does not, a line each."""
    text = given if isinstance(given, str) else json.dumps(given)
    done = host.run(["l4lb", *arguments], check=False, input=text)
    assert done.returncode == code, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith("l4lb: warning")]
    if code == 1:
        assert len(errors) == 1 and errors[0].startswith("l4lb: ")
        return done.stdout + errors[0].removeprefix("l4lb: ")
    if code == 4:
        return done.stdout + "".join(f"{line.removeprefix('l4lb: ')}\n" for line in errors)
    assert code or not errors, errors
    return done.stdout


def who(lab: Lab, port: int) -> str:
    """Which server answers the client from this source port."""
    curl = ["curl", "-sS", "--max-time", "5", "--local-port", str(port), f"http://{VIP}/"]
    return lab.host("client").run(curl).stdout.strip()
