# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer that stands aside for a while: nothing but its operator has it go on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.balancers import program
from tests.fleet.rig.command import DEPLOYED, l4lb, play, service, who
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import playbook
from tests.fleet.rig.services import VIP, WEB
from tests.fleet.there import strangers

MARK = "/etc/l4lb/eth0.paused"


@pytest.fixture
def paused(lb1: Host) -> Iterator[Host]:
    done = l4lb(lb1, "pause", "eth0").splitlines()
    assert done[0] == "eth0: pause eth0"
    assert done[1].startswith("eth0: detach the program from eth0, which keeps its services")
    assert program(lb1) is None
    yield lb1
    l4lb(lb1, "resume")
    assert program(lb1) is not None
    assert lb1.run(["ls", "/etc/l4lb"]).stdout.split() == ["eth0.json"]


def answers(lab: Lab) -> bool:
    curl = ["curl", "-sS", "--max-time", "1", "-o", "/dev/null", f"http://{VIP}/"]
    return lab.host("client").run(curl, check=False).returncode == 0


def test_packets_go_past_it(lab: Lab, paused: Host) -> None:
    """And come back to the same servers, as it keeps what it knows."""
    assert not answers(lab)
    assert l4lb(paused, "pause", "eth0") == "eth0: nothing to change\n"
    told = l4lb(paused, "resume", "eth0").splitlines()
    assert told == ["eth0: end the pause of eth0", "eth0: attach the program to eth0, mode auto"]
    assert answers(lab)
    assert l4lb(paused, "resume", "eth0") == "eth0: nothing to change\n"
    l4lb(paused, "pause")


def test_it_is_said(paused: Host) -> None:
    shown = l4lb(paused, "status", code=4)
    assert shown.startswith("eth0 is paused since 2")
    assert "l4lb resume eth0 ends that\n" in shown
    assert "web on eth0 (paused), " in shown
    (status,) = json.loads(l4lb(paused, "status", "--json", code=4)).values()
    assert status["paused_since"] > 0
    assert l4lb(paused, "stats", code=4).startswith("eth0 is paused since 2")


def test_a_deploy_keeps_it(lab: Lab, paused: Host) -> None:
    """It takes effect when the pause ends; so does a replacement of the program."""
    for arguments in (["--check"], []):
        done = playbook(lab, "deploy", *arguments, **DEPLOYED)
        assert "changed=0 " in done.stdout and "]: eth0 is paused since" in done.stderr
    l4lb(paused, "apply", "-", given={**DEPLOYED, "services": [service("web2")]})
    assert l4lb(paused, "restore") == "eth0: nothing to change\n"
    l4lb(paused, "drain", WEB["web1"], "--force", code=1)
    l4lb(paused, "resume")
    assert {who(lab, 25000 + n) for n in range(8)} == {"web2"}
    l4lb(paused, "pause")
    other = {**DEPLOYED, "flow_table_size": 4096}
    assert "compile" in l4lb(paused, "apply", "-", given=other)
    assert l4lb(paused, "apply", "--check", "-", given=other) == "eth0: nothing to change\n"
    assert program(paused) is None
    l4lb(paused, "drain", WEB["web1"])
    l4lb(paused, "resume")
    assert {who(lab, 25100 + n) for n in range(8)} == {"web2"}
    l4lb(paused, "enable", WEB["web1"])
    l4lb(paused, "pause")
    assert play(lab, "deploy") == 1
    assert program(paused) is None


def test_it_lasts_over_a_reboot(paused: Host) -> None:
    """What restores the rest leaves it, ready to go on at once."""
    paused.run(["sh", "-ec", "rm -r /sys/fs/bpf/l4lb"])
    paused.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    assert "attach" not in l4lb(paused, "restore", "eth0")
    assert program(paused) is None
    assert l4lb(paused, "restore", "eth0") == "eth0: nothing to change\n"
    assert "compile" not in l4lb(paused, "resume", "eth0")
    l4lb(paused, "pause")


def test_somebody_else_has_the_interface_meanwhile(paused: Host) -> None:
    python(paused, strangers.foreign, mode="native")
    other = program(paused)
    assert l4lb(paused, "apply", "-", given=DEPLOYED) == "eth0: nothing to change\n"
    assert "which is not ours" in l4lb(paused, "resume", "eth0", code=1)
    assert program(paused) == other
    paused.run(["ip", "link", "set", "eth0", "xdp", "off"])


def test_all_or_none(lb1: Host) -> None:
    before = program(lb1)
    assert "eth9 does not balance" in l4lb(lb1, "pause", "eth0", "eth9", code=1)
    assert program(lb1) == before
    assert lb1.run(["ls", "/etc/l4lb"]).stdout.split() == ["eth0.json"]
    lb1.run(["mount", "--bind", "/etc/l4lb", "/etc/l4lb"])
    lb1.run(["mount", "-o", "remount,bind,ro", "/etc/l4lb"])
    assert f"write {MARK}: Read-only file system" in l4lb(lb1, "pause", code=1)
    assert program(lb1) == before
    lb1.run(["umount", "/etc/l4lb"])


def test_what_the_page_says(lb1: Host) -> None:
    page = (CHECKOUT / "docs/upkeep.md").read_text()
    (commands,) = re.findall(r"```sh\n# on a balancer\n(.*?)```", page, re.DOTALL)
    attached = []
    for command in commands.splitlines():
        lb1.run(["sh", "-c", command], check="status" not in command)
        attached.append(program(lb1) is not None)
    assert attached == [False, False, True]


def test_it_goes_with_the_balancer(lb1: Host) -> None:
    l4lb(lb1, "pause")
    l4lb(lb1, "remove", "eth0")
    assert lb1.run(["ls", "/etc/l4lb"], check=False).returncode
    assert "this host does not balance" in l4lb(lb1, "pause", code=1)
