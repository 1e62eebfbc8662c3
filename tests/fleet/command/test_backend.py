# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders for backends on the balancer itself, and one format for what it has, saves and takes."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import state
from tests.fleet.rig.command import DEPLOYED, l4lb, play, who
from tests.fleet.rig.services import WEB

WEB1, WEB2 = WEB["web1"], WEB["web2"]


def listed(host: Host) -> list[str]:
    """What status says of the backends."""
    return [line.strip() for line in l4lb(host, "status").splitlines() if line.startswith("  ")]


def test_a_night(lab: Lab, lb1: Host) -> None:
    """What is held is listed, deployed over, and ended."""
    drain = ("drain", WEB2)
    step = f"web: 1 backend drained ({WEB2}), hold of {WEB2} off -> on, 50.0 % of new flows move"
    assert l4lb(lb1, *drain, "--check", code=3).startswith(step)
    assert listed(lb1) == [f"{WEB1}  weight 1, enabled", f"{WEB2}  weight 1, enabled"]
    drained = l4lb(lb1, *drain, "--wait", "60", "--quiet", "0.5").splitlines()
    assert drained[0].startswith(step) and drained[1:] == ["web on eth0: 0 flows left"]
    assert l4lb(lb1, *drain, "--check").splitlines()[0] == "nothing to change"
    weighed = l4lb(lb1, "weight", WEB2, "5", "--service", "web", "--interface", "eth0")
    assert weighed.startswith(
        f"web: weight of {WEB2} 1 -> 5, configured weight of {WEB2} none -> 1"
    )
    held = [f"{WEB1}  weight 1, enabled", f"{WEB2}  weight 5 held, drained held"]
    assert listed(lb1) == held
    assert {who(lab, 25000 + n) for n in range(8)} == {"web1"}

    assert play(lab, "deploy") == 0
    assert listed(lb1) == held
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    l4lb(lb1, "restore")
    assert listed(lb1) == held

    l4lb(lb1, "enable", WEB2)
    assert listed(lb1) == [f"{WEB1}  weight 1, enabled", f"{WEB2}  weight 1, enabled"]
    l4lb(lb1, "disable", WEB1)
    assert listed(lb1)[0] == f"{WEB1}  weight 1, disabled held"
    assert {who(lab, 25100 + n) for n in range(8)} == {"web2"}
    last = f"web on eth0: {WEB2} is the last backend that takes new flows, which would be dropped; "
    assert l4lb(lb1, "weight", WEB2, "0", code=1).startswith(last)
    l4lb(lb1, "weight", WEB2, "0", "--force")
    l4lb(lb1, "enable", WEB1)
    l4lb(lb1, "enable", WEB2)
    assert play(lab, "deploy", "--check") == 0


def test_a_backend_that_is_not_quiet_in_time(lab: Lab, lb1: Host) -> None:
    while who(lab, next(PORTS)) != "web2":
        pass
    told = l4lb(lb1, "drain", WEB2, "--wait", "0", "--quiet", "60", code=1)
    assert re.search(rf"\nweb on eth0: (\d+) flows? left\n{WEB2} was not quiet within 0 sec", told)
    assert told.endswith(" still sent to it; it stays drained")
    assert listed(lb1)[1] == f"{WEB2}  weight 1, drained held"
    l4lb(lb1, "enable", WEB2)


PORTS = itertools.count(25200)


def test_what_it_says_it_takes(lb1: Host) -> None:
    """What status and /etc/l4lb have is applied as it is, holds, seed and all."""
    secret = 0x1234567890ABCDEF
    given: dict[str, Any] = {**DEPLOYED, "mode": "auto", "hash_seed": secret}
    lb1.run(["sh", "-ec", "ip link add veth9 type veth peer name veth8; ip link set veth9 up"])
    l4lb(lb1, "apply", "-", given=given)
    l4lb(lb1, "apply", "-", given={"interface": "veth9", "services": [], "mode": "generic"})
    l4lb(lb1, "drain", WEB2)
    l4lb(lb1, "weight", WEB1, "7")
    saved = lb1.run(["cat", "/etc/l4lb/eth0.json"]).stdout
    status = l4lb(lb1, "status", "--json")
    found = json.loads(status)
    assert found.keys() == {"eth0", "veth9"}
    shown = {**json.loads(saved)["config"], "hash_seed": found["eth0"]["config"]["hash_seed"]}
    assert found["eth0"]["config"] == shown
    assert str(secret) not in status

    unchanged = "eth0: nothing to change\n"
    before = state(lb1)
    assert l4lb(lb1, "apply", "-", given=saved) == unchanged
    assert l4lb(lb1, "apply", "/etc/l4lb/eth0.json") == unchanged
    assert l4lb(lb1, "apply", "-", given=status) == f"{unchanged}veth9: nothing to change\n"
    assert l4lb(lb1, "apply", "-", given=found["eth0"]) == unchanged
    assert state(lb1) == before

    l4lb(lb1, "enable", WEB1)
    l4lb(lb1, "enable", WEB2)
    l4lb(lb1, "remove", "veth9")
    wrong = {**found, "veth9": {**found["veth9"], "version": 2}}
    for unread in (wrong, {"eth0": found["eth0"], "veth9": {"config": {}}}):
        l4lb(lb1, "apply", "-", given=unread, code=1)
    assert listed(lb1) == [f"{WEB1}  weight 1, enabled", f"{WEB2}  weight 1, enabled"]
    l4lb(lb1, "apply", "-", given=status)
    assert state(lb1)["saved"] == before["saved"]
    l4lb(lb1, "remove", "veth9")
    lb1.run(["ip", "link", "del", "veth9"])

    l4lb(lb1, "remove", "eth0")
    told = l4lb(lb1, "apply", "-", given=found["eth0"], code=1)
    assert told.startswith("hash_seed: 'set (") and "give the number" in told
    l4lb(lb1, "apply", "-", given=saved)
    assert listed(lb1) == [f"{WEB1}  weight 7 held, enabled", f"{WEB2}  weight 1, drained held"]
    l4lb(lb1, "remove", "eth0")
