# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures leave all as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import state
from tests.fleet.rig.command import DEPLOYED, l4lb, service, who


@contextmanager
def mounted(host: Host, *mount: str) -> Iterator[None]:
    """Something else in the place of /etc/l4lb, or on it."""
    host.run(["mount", *mount, "/etc/l4lb"])
    try:
        yield
    finally:
        host.run(["umount", "/etc/l4lb"])


@contextmanager
def refusing(lab: Lab) -> Iterator[None]:
    """The driver refuses programs in native mode, as frames may be too long for one."""
    router = lab.host("router")
    router.ip(["link set lb1 mtu 9000"])
    try:
        yield
    finally:
        router.ip(["link set lb1 mtu 1500"])


OTHER = {"interface": "eth0", "services": [service("web2", "web3")]}


def test_an_apply_whose_mode_is_refused(lab: Lab, lb1: Host) -> None:
    """With other backends in the same run, with and without other features."""
    generic = {**DEPLOYED, "mode": "generic"}
    l4lb(lb1, "apply", "-", given=generic)
    for port, scheduler in ((24000, "maglev"), (24010, "jhash")):
        services = [service("web2", "web3", scheduler=scheduler)]
        native = {**OTHER, "mode": "native", "services": services}
        before = state(lb1)
        with refusing(lab):
            told = l4lb(lb1, "apply", "-", given=native, code=1)
        assert told == "attach to eth0 in mode native: Numerical result out of range"
        assert state(lb1) == before
        assert {who(lab, port + n) for n in range(8)} == {"web1", "web2"}
    assert l4lb(lb1, "apply", "-", given=generic) == "eth0: nothing to change\n"


def test_an_apply_that_cannot_be_saved(lab: Lab, lb1: Host) -> None:
    before = state(lb1)
    with mounted(lb1, "-o", "bind,ro", "/etc/l4lb"):
        told = l4lb(lb1, "apply", "-", given=OTHER, code=1)
    assert told == "write /etc/l4lb/eth0.json.new: Read-only file system"
    assert state(lb1) == before
    assert {who(lab, 24100 + n) for n in range(8)} == {"web1", "web2"}


def test_a_removal_that_fails(lab: Lab, lb1: Host) -> None:
    """On a disk that is read-only, and with a pin that somebody keeps."""
    before = state(lb1)
    with mounted(lb1, "-o", "bind,ro", "/etc/l4lb"):
        told = l4lb(lb1, "remove", "eth0", code=1)
    assert told == "remove /etc/l4lb/eth0.json: Read-only file system"
    assert state(lb1) == before

    lb1.run(["mkdir", "/sys/fs/bpf/l4lb/eth0/kept"])
    told = l4lb(lb1, "remove", "eth0", code=1)
    lb1.run(["rmdir", "/sys/fs/bpf/l4lb/eth0/kept"])
    assert told == "remove /sys/fs/bpf/l4lb/eth0: Is a directory"
    assert state(lb1) == before
    assert {who(lab, 24200 + n) for n in range(8)} == {"web1", "web2"}


def test_a_restore_whose_mode_is_refused(lab: Lab, lb1: Host) -> None:
    """After a reboot. There is a balancer as soon as the driver takes the program."""
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "mode": "native"})
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    lb1.run(["sh", "-c", "for n in 1 2; do ip neigh del 203.0.113.2$n dev eth0; done"])
    before = state(lb1)
    with refusing(lab):
        told = l4lb(lb1, "restore", code=1)
    assert told == "eth0: attach to eth0 in mode native: Numerical result out of range"
    assert state(lb1) == before
    l4lb(lb1, "restore")
    assert {who(lab, 24300 + n) for n in range(8)} == {"web1", "web2"}
