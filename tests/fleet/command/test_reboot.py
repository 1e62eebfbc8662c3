# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reboot, and what the role does around it."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.command import DEPLOYED, l4lb, play, who
from tests.fleet.rig.play import INVENTORY, changes
from tests.fleet.rig.services import WEB

UNIT = CHECKOUT / "roles/l4lb/files/l4lb@.service"


def test_restore_of_nothing(lb1: Host) -> None:
    """Whoever removes a balancer by the command need not know of the unit."""
    assert l4lb(lb1, "restore", "lo") == "lo: nothing is saved\n"
    assert l4lb(lb1, "remove", "eth0")
    assert l4lb(lb1, "restore", "eth0") == "eth0: nothing is saved\n"


def test_restore(lab: Lab, lb1: Host) -> None:
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    lb1.run(["sh", "-c", "for n in 1 2; do ip neigh del 203.0.113.2$n dev eth0; done"])
    assert "web on eth0 (not attached), " in l4lb(lb1, "status", code=4)
    assert "eth0: compile and load the program\n" in l4lb(lb1, "restore", "eth0")
    assert {who(lab, 23000 + n) for n in range(8)} == {"web1", "web2"}
    assert l4lb(lb1, "restore") == "eth0: nothing to change\n"
    assert play(lab, "deploy") == 0


def test_alternative_names(lab: Lab, lb1: Host) -> None:
    """Wherever an interface is named; and one does not become another balancer's name."""
    name = "a-name-of-more-than-15-bytes"
    lb1.ip([f"link property add dev eth0 altname {name}"])
    try:
        given = {**DEPLOYED, "interface": name}
        assert l4lb(lb1, "apply", "--check", "-", given=given) == "eth0: nothing to change\n"
        assert l4lb(lb1, "apply", "-", given=given) == "eth0: nothing to change\n"
        assert l4lb(lb1, "restore", name) == "eth0: nothing to change\n"
        assert l4lb(lb1, "stats", name).startswith("web on eth0 (native)")
        flow = ("flow", "--interface", name, "tcp", "198.51.100.2:1", "192.0.2.10:80")
        assert "web on eth0" in l4lb(lb1, *flow)
        drain = ("drain", WEB["web1"], "--check", "--interface", name)
        assert "drained" in l4lb(lb1, *drain, code=3)
        assert lb1.run(["ls", "/etc/l4lb"]).stdout.split() == ["eth0.json"]
        assert l4lb(lb1, "remove", name).startswith("eth0: detach the program from eth0\n")
        l4lb(lb1, "apply", "-", given=given)
        assert lb1.run(["ls", "/etc/l4lb", "/sys/fs/bpf/l4lb"]).stdout.count("eth0") == 2
        assert changes(lab, "deploy", **given) == 0
        assert changes(lab, "remove", "--check", **given) == 2
    finally:
        lb1.ip([f"link property del dev eth0 altname {name}"])
    assert f"interface: '{name}': no such interface" in l4lb(lb1, "remove", name, code=1)


def test_restore_goes_on_after_an_error(lb1: Host) -> None:
    lb1.run(["sh", "-c", "echo nonsense >/etc/l4lb/a.json"])
    told = l4lb(lb1, "restore", code=1)
    lb1.run(["rm", "/etc/l4lb/a.json"])
    assert told.startswith("eth0: nothing to change\na: /etc/l4lb/a.json is not readable")


def test_restore_waits_for_nobody(lb1: Host) -> None:
    lb1.run(["mkfifo", "/etc/l4lb/a.json"])
    told = l4lb(lb1, "restore", code=1)
    assert "web on eth0 (native), " in l4lb(lb1, "status", code=4)
    lb1.run(["rm", "/etc/l4lb/a.json"])
    assert told.startswith("eth0: nothing to change\na: /etc/l4lb/a.json: not a regular file; ")


def test_restore_as_the_unit_does(lab: Lab, lb1: Host) -> None:
    """With the capabilities that it has, and a system that is read-only."""
    (capabilities,) = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    bounds = ",".join(["-all", *(f"+{name[4:].lower()}" for name in capabilities.split())])
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    command = f"""
mount -o remount,bind,ro /
exec setpriv --bounding-set={bounds} --no-new-privs l4lb restore -- eth0
"""
    lb1.run(["unshare", "--mount", "sh", "-ec", command])
    assert {who(lab, 23100 + n) for n in range(8)} == {"web1", "web2"}
    assert l4lb(lb1, "restore") == "eth0: nothing to change\n"


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="cannot run here: there is no systemd-analyze"
)
def test_the_unit(deployed: Host) -> None:
    deployed.run(["sh", "-c", "cat >/root/l4lb@.service"], input=UNIT.read_text())
    done = deployed.run(["systemd-analyze", "verify", "--man=no", "/root/l4lb@.service"])
    assert done.stdout + done.stderr == ""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20"]
    deployed.run([*command, "/root/l4lb@.service"])  # fails if it is worse than 2.0
    deployed.run(["rm", "/root/l4lb@.service"])


def test_another_interface_keeps_the_command(lab: Lab, lb1: Host) -> None:
    lb1.run(["sh", "-ec", "ip link add veth9 type veth peer name veth8; ip link set veth9 up"])
    l4lb(lb1, "apply", "-", given={"interface": "veth9", "services": [], "mode": "generic"})
    assert play(lab, "remove") == 1
    assert json.loads(l4lb(lb1, "status", "--json")).keys() == {"veth9"}
    l4lb(lb1, "remove", "veth9")
    lb1.run(["ip", "link", "del", "veth9"])
    assert play(lab, "deploy") == 1


def test_the_inventory_is_what_this_file_says() -> None:
    inventory = yaml.safe_load(INVENTORY.read_text())
    servers = inventory["all"]["children"]["webservers"]["hosts"]
    assert {name: host["ansible_host"] for name, host in servers.items()} == WEB
