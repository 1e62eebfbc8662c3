# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accidents: what befalls interfaces, file systems and pins."""

from __future__ import annotations

import pytest

from lab import Lab
from lab.host import Host
from lab.traffic.stream import Stream
from tests.fleet.rig.balancers import apply, leftovers, packets, plan, program, renamed, traces
from tests.fleet.rig.clients import traffic
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import ECHO, VIP, WEB, echoes, wanted
from tests.fleet.there import accidents, library


def test_the_interface_goes_down_and_up(lab: Lab, lb1: Host) -> None:
    """The kernel forgets routes and neighbours; what is left of the balancer goes on."""
    config = wanted(*echoes(*WEB))
    apply(lb1, config)
    loaded = program(lb1)
    client = lab.host("client")
    with Stream(client, (VIP, ECHO)) as stream:
        stream.await_answers()
        lb1.run(["ip", "link", "set", "eth0", "down"])
        lb1.run(["ip", "link", "set", "eth0", "up"])
        lb1.ip(["route replace default via 203.0.113.1"])
        stream.await_answers()
        assert program(lb1) == loaded
        apply(lb1, config)
        assert apply(lb1, config)["steps"] == []
        stream.await_answers()
    hops = lb1.run(["ip", "neigh", "show", "nud", "all", "proto", "214"]).stdout
    assert {line.split()[0] for line in hops.splitlines()} == set(WEB.values())
    assert [len(stream.servers(flow)) for flow in range(16)] == [1] * 16


def test_a_renamed_interface(lb1: Host) -> None:
    """Its balancer goes on under the new name."""
    apply(lb1, wanted(*echoes(*WEB)))
    loaded = program(lb1)
    before = sum(packets(lb1).values())
    with renamed(lb1, "eth0", "wan0"):
        gone = apply(lb1, wanted(*echoes(*WEB)))
        assert (
            gone["message"] == "interface: 'eth0': no such interface; its balancer is on wan0 now"
        )
        moved = apply(lb1, {**wanted(*echoes(*WEB)), "interface": "wan0"})
        assert moved["steps"][0] == "interface: eth0 -> wan0"
        assert "compile" not in str(moved["steps"])
        assert "state: absent for eth0" in str(moved["warnings"])
        assert apply(lb1, {**wanted(*echoes(*WEB)), "interface": "wan0"})["steps"] == []
        assert program(lb1, "wan0") == loaded
        assert sum(packets(lb1, "wan0").values()) >= before
        # What is left under the old name is not the balancer.
        assert "detach" not in str(apply(lb1, None)["steps"])
        assert program(lb1, "wan0") == loaded
        assert leftovers(lb1, "wan0") == []
        python(lb1, library.remove, interfaces=["wan0"])
        assert traces(lb1) == []


def test_a_renamed_interface_is_freed(lb1: Host) -> None:
    """`absent` finds it under its new name."""
    apply(lb1, wanted(*echoes(*WEB)))
    with renamed(lb1, "eth0", "wan0"):
        assert apply(lb1, None)["steps"][0] == "detach the program from wan0"
        assert traces(lb1) == []


def test_another_interface_takes_the_name(lb1: Host) -> None:
    """It gets a balancer of its own; that of the renamed one is another."""
    apply(lb1, wanted(*echoes(*WEB)))
    loaded = program(lb1)
    with renamed(lb1, "eth0", "wan0"):
        lb1.run(["sh", "-ec", "ip link add eth0 type veth peer name end; ip link set eth0 up"])
        lb1.run(["ip", "address", "add", "10.78.0.1/24", "dev", "eth0"])
        assert "error" not in apply(lb1, wanted(*echoes("web1")))
        assert loaded == program(lb1, "wan0") != program(lb1)
        assert "error" not in apply(lb1, {**wanted(*echoes(*WEB)), "interface": "wan0"})
        assert {each.split()[1] for each in packets(lb1, "wan0")} == set(WEB.values())
        assert {each.split()[1] for each in packets(lb1)} == {WEB["web1"]}
        assert apply(lb1, wanted(*echoes("web1")))["steps"] == []
        python(lb1, library.remove, interfaces=["eth0", "wan0"])
        lb1.run(["ip", "link", "delete", "eth0"])
        assert traces(lb1) == []


def test_full_file_systems(lb1: Host) -> None:
    """Where locks are, and where clang's words go; nothing has changed when it is noticed."""
    apply(lb1, wanted(*echoes("web1")))
    loaded = program(lb1)
    lb1.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "none", "/run"])
    locked = apply(lb1, wanted(*echoes("web2")))
    lb1.run(["umount", "/run"])
    assert locked["error"] == "HostError"
    assert locked["message"] == "make /run/l4lb/eth0.lock: No space left on device"

    gue = wanted(*echoes("web1", encapsulation="gue"))
    compiled = python(lb1, accidents.without_temporary_files, wanted=gue)
    assert compiled["message"] == "make a temporary file: No such file or directory"
    assert program(lb1) == loaded
    assert apply(lb1, wanted(*echoes("web1")))["steps"] == []


def test_bpffs_is_unmounted_and_comes_back(lab: Lab, lb1: Host) -> None:
    """With the pins goes what is known of the maps; the program goes on until it is replaced."""
    config = wanted(*echoes(*WEB))
    apply(lb1, config)
    with traffic(lab):
        lb1.run(["umount", "/sys/fs/bpf"])
        assert apply(lb1, config)["steps"][0].endswith("the one in place cannot be read")
    assert apply(lb1, config)["steps"] == []
    # What is missing does not prevent removal.
    lb1.run(["umount", "/sys/fs/bpf"])
    apply(lb1, None)
    lb1.run(["sh", "-c", "mountpoint -q /sys/fs/bpf || mount -t bpf -o mode=700 bpf /sys/fs/bpf"])
    assert traces(lb1) == []


HALF_GONE = {
    "the program": "ip link set eth0 xdp off",
    "program and pins": "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb",
    "all but what the kernel keeps resolved": (
        "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb /etc/l4lb"
    ),
    "all pins": "rm -r /sys/fs/bpf/l4lb",
    "the pin of the program": "rm /sys/fs/bpf/l4lb/eth0/program",
    "neighbours": "ip neigh flush proto 214 || :; ip link set eth0 xdp off",
    "what is saved": "rm -r /etc/l4lb",
}


@pytest.mark.parametrize("command", HALF_GONE.values(), ids=HALF_GONE)
def test_removal_of_what_is_half_gone(lb1: Host, command: str) -> None:
    apply(lb1, wanted(*echoes(*WEB)))
    lb1.run(["sh", "-ec", command])
    predicted = plan(lb1, None)
    assert apply(lb1, None)["steps"] == predicted["steps"] != []
    assert traces(lb1) == []
    assert apply(lb1, None)["steps"] == []
