# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine of Debian 13 is made a balancer, and is one again after a reboot.

It has a kernel, a systemd and a disk of its own, where nothing of a balancer's is installed. The
client and the servers are of the laboratory. The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import CHECKOUT
from lab.machines import Machine, Machines, Plan, qemu
from tests.fleet.rig.labs import laboratory, plan

VIP, VIP6 = "192.0.2.10", "2001:db8:ffff::10"
WEB1 = "203.0.113.21"
SERVERS = {f"web{number}" for number in range(1, 5)}
REQUESTS = 100

# Where a machine is emulated beside others, what takes a second elsewhere may take a minute.
pytestmark = pytest.mark.timeout(3600)

NETWORK = """\
cat >/etc/systemd/network/20-eth1.network <<'END'
[Match]
Name=eth1

[Network]
Address=203.0.113.11/24
Address=2001:db8:2::11/64
Gateway=203.0.113.1
Gateway=2001:db8:2::1
IPv6AcceptRA=no
END
networkctl reload
/usr/lib/systemd/systemd-networkd-wait-online --timeout 120 --interface eth1
"""


def service(name: str, **options: Any) -> dict[str, Any]:
    """A service of all web servers."""
    backends = [{"address": f"203.0.113.2{number}"} for number in range(1, 5)]
    plain = {"name": name, "address": VIP, "port": 80, "protocol": "tcp", "backends": backends}
    return {**plain, **options}


SERVICES = [service("web"), service("web6", address=VIP6, encapsulation="gue")]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if os.geteuid():
        pytest.skip("cannot run here: a laboratory takes root")
    if platform.machine() != qemu.MACHINES:
        pytest.skip(f"cannot run here: machines are for {qemu.MACHINES}")
    topology = plan()
    for name in ("lb1", "lb2"):
        del topology["hosts"][name]
    with laboratory("m", topology) as lab:
        yield lab


@pytest.fixture(scope="module")
def lb1(lab: Lab) -> Iterator[Machine]:
    machines = Machines(lab, {"lb1": Plan("debian-13", ("router/servers",))})
    machines.up()
    try:
        machines["lb1"].run(NETWORK)
        yield machines["lb1"]
    finally:
        machines.down()


def deploy(lb1: Machine, directory: Path) -> int:
    """Run the playbook; returns how many tasks changed something."""
    variables = {
        "ansible_user": "root",
        "ansible_ssh_common_args": f"-F {lb1.ssh_config}",
        "ansible_control_path_dir": str(directory),
        "l4lb_interface": "eth1",
        "l4lb_services": SERVICES,
    }
    inventory = directory / "inventory.yml"
    hosts = {"balancers": {"hosts": {lb1.name: None}, "vars": variables}}
    inventory.write_text(yaml.safe_dump({"all": {"children": hosts}}))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    done = subprocess.run(
        [program, "-i", str(inventory), "xdp.l4lb.deploy"],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (changed,) = re.findall(r"changed=(\d+)", done.stdout)
    return int(changed)


def ask(lab: Lab, one: dict[str, Any]) -> Counter[str]:
    """Who answers requests."""
    address = f"[{one['address']}]" if ":" in one["address"] else one["address"]
    curl = ["curl", "-sS", "--globoff", "-Z", "--parallel-max", "4", "--max-time", "60"]
    urls = [f"http://{address}:{one['port']}/"] * REQUESTS
    answers = Counter(lab.host("client").run([*curl, *urls]).stdout.split())
    assert answers.total() == REQUESTS
    return answers


def mode(lb1: Machine) -> str:
    """In which the program is attached."""
    found: str = json.loads(lb1.run("l4lb status --json").stdout)["eth1"]["mode"]
    return found


def test_deploy(lab: Lab, lb1: Machine, tmp_path: Path) -> None:
    assert deploy(lb1, tmp_path) > 0
    assert mode(lb1) == "native"
    for one in SERVICES:
        assert ask(lab, one).keys() == SERVERS


def test_reboot(lab: Lab, lb1: Machine) -> None:
    """It forwards again by itself, and what is drained stays so."""
    lb1.run(f"l4lb drain {WEB1}")
    lb1.reboot()
    # "systemctl is-system-running --wait" ends when all that starts at boot has done so.
    state = lb1.run("systemctl is-system-running --wait; systemctl --failed", check=False).stdout
    assert state.startswith("running\n"), state
    assert lb1.run("systemctl is-active l4lb@eth1 l4lb-agent").stdout.split() == ["active"] * 2
    print(lb1.run("systemd-analyze; systemd-analyze blame | grep l4lb@").stdout)
    for one in SERVICES:
        assert ask(lab, one).keys() == SERVERS - {"web1"}
    assert mode(lb1) == "native"
