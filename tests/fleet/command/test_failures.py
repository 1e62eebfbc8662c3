# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures leave all as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


REFUSED = "Numerical result out of range (veth: Peer MTU is too large to set XDP)"
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
        assert told == f"attach to eth0 in mode native: {REFUSED}"
        assert state(lb1) == before
        assert {who(lab, port + n) for n in range(8)} == {"web1", "web2"}
    assert l4lb(lb1, "apply", "-", given=generic) == "eth0: nothing to change\n"


def test_auto_says_why_it_is_generic(lab: Lab, lb1: Host) -> None:
    """Until it is not, whatever else is deployed, and after a reboot."""
    l4lb(lb1, "remove", "eth0")
    why = f"eth0 runs in mode generic, as native was refused: {REFUSED}"
    with refusing(lab):
        assert warned(lb1, DEPLOYED) == [why]
        assert f"\n{why}\n" in l4lb(lb1, "status")
        l4lb(lb1, "apply", "-", given=OTHER)
        l4lb(lb1, "apply", "-", given={**OTHER, "services": [service("web2", scheduler="jhash")]})
        assert f"\n{why}\n" in l4lb(lb1, "status")
        assert json.loads(l4lb(lb1, "status", "--json"))["eth0"]["native_refused"] == REFUSED
        assert json.loads(l4lb(lb1, "stats", "--json"))["eth0"]["native_refused"] == REFUSED
        assert warned(lb1, DEPLOYED) == [], "it is no news"
        lb1.run(["sh", "-ec", "ip link set eth0 xdpgeneric off; rm -r /sys/fs/bpf/l4lb"])
        l4lb(lb1, "restore")
        assert f"\n{why}\n" in l4lb(lb1, "status")
    native = {**DEPLOYED, "mode": "native"}
    step = "attach the program to eth0, mode native; the link may pause"
    assert f"eth0: {step}\n" in l4lb(lb1, "apply", "--check", "-", given=native, code=3)
    with refusing(lab):
        before = state(lb1)
        assert REFUSED in l4lb(lb1, "apply", "-", given=native, code=1)
        assert state(lb1) == before
        assert f"\n{why}\n" in l4lb(lb1, "status")
        assert {who(lab, 24400 + n) for n in range(8)} == {"web1", "web2"}
    l4lb(lb1, "apply", "-", given=native)
    l4lb(lb1, "apply", "-", given=DEPLOYED)
    assert "generic" not in l4lb(lb1, "status")


def test_native_may_work_by_now(lb1: Host) -> None:
    """As far as that shows: what was too long is shorter."""
    lb1.ip(["link add veth9 type veth peer name veth8", "link set veth8 mtu 9000"])
    lb1.ip(["link set veth9 up", "link set veth8 up"])
    here = {"interface": "veth9", "services": []}
    assert warned(lb1, here) == [f"veth9 runs in mode generic, as native was refused: {REFUSED}"]
    assert warned(lb1, here) == []
    lb1.ip(["link set veth8 mtu 3000"])
    hint = (
        "veth9 may take mode native by now, as the MTU is 1500/3000 and was 1500/9000; "
        "mode: native tries that, and the link may pause"
    )
    assert warned(lb1, here) == warned(lb1, here) == [hint]
    assert f"\n{hint}\n" in l4lb(lb1, "status")
    l4lb(lb1, "apply", "-", given={**here, "mode": "native"})
    assert warned(lb1, here) == []
    l4lb(lb1, "apply", "-", given={**here, "mode": "generic"})
    l4lb(lb1, "apply", "-", given=here)
    (untried,) = warned(lb1, here)
    assert untried.startswith("veth9 runs in mode generic, and its driver may take native; ")
    l4lb(lb1, "remove", "veth9")
    lb1.ip(["link delete veth9"])


def warned(host: Host, given: dict[str, Any]) -> list[str]:
    """What an apply warns of about the mode."""
    done = host.run(["l4lb", "apply", "-"], input=json.dumps(given))
    lines = [line.removeprefix("l4lb: warning: ") for line in done.stderr.splitlines()]
    return [line for line in lines if " mode " in line]


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
    assert told == f"eth0: attach to eth0 in mode native: {REFUSED}"
    assert state(lb1) == before
    l4lb(lb1, "restore")
    assert {who(lab, 24300 + n) for n in range(8)} == {"web1", "web2"}
