# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters, and the module that asks for them; what is not balanced is not counted."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from lab import Lab
from lab.host import Host
from lab.traffic.frames import Frames
from tests.fleet.rig.balancers import apply, counters, packets
from tests.fleet.rig.clients import answers, works
from tests.fleet.rig.hosts import go_on, python
from tests.fleet.rig.play import ansible, stats
from tests.fleet.rig.services import OTHER_VIP, ROUTED, VIP, WEB, service, wanted
from tests.fleet.there import looking

OUTER = 20  # bytes of an outer IPv4 header


def test_counters_are_exact(lab: Lab, lb1: Host) -> None:
    client = lab.host("client")
    udp = service(1, 2, 3, name="dns", port=53, protocol="udp")
    apply(lb1, wanted(service(1, 2, 3, 4), udp))
    with (
        Frames(client, "eth0", [VIP]) as frames,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        answers(lab, 60)
        for length in range(0, 1400, 7):
            sender.sendto(bytes(length), (VIP, 53))
        http, datagrams = frames.count(VIP, 80), frames.count(VIP, 53)
    found = {one["name"]: one for one in counters(lb1)["services"]}
    assert datagrams[0] == 200
    for name, (count, size) in (("web", http), ("dns", datagrams)):
        assert (found[name]["packets"], found[name]["bytes"]) == (count, size + count * OUTER)
        for key in ("packets", "bytes"):
            assert sum(one[key] for one in found[name]["backends"]) == found[name][key]
    assert not any(counters(lb1)["drops"].values())


def test_counters_are_exact_across_changes(lab: Lab, lb1: Host) -> None:
    """Backends come and go and the program is replaced while packets flow."""
    client = lab.host("client")
    states = [
        wanted(service(1, 2, 3, protocol="udp", scheduler=scheduler), *more)
        for scheduler in ("maglev", "jhash")
        for more in ([], [service(4, name="more", port=81)])
    ]
    apply(lb1, states[0])
    sent = 0
    stop = threading.Event()

    def send() -> None:
        nonlocal sent
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stop.is_set():
                sender.sendto(b"x", (VIP, 80))
                sent += 1
                time.sleep(0.0002)  # a full queue on the way would lose some

    thread = threading.Thread(target=send)
    thread.start()
    try:
        apply(lb1, *states, *states)
    finally:
        stop.set()
        thread.join()
    found = counters(lb1)
    total = next(one for one in found["services"] if one["name"] == "web")["packets"]
    assert total + sum(found["drops"].values()) == sent
    assert not any(found["drops"].values())


# The rest of what the host does.


def test_other_traffic_is_untouched(lab: Lab, lb1: Host) -> None:
    client = lab.host("client")
    own = lb1.address
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=1"])
    apply(lb1, wanted(service(1, 2), service(1, 2, name="every", address=OTHER_VIP, port=0)))
    before = packets(lb1)

    with (
        lb1.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as there,
    ):
        server.bind((own, 80))  # a service's port, at another address
        server.listen()
        there.settimeout(5)
        there.connect((own, 80))
        here, _client = server.accept()
        with here:
            here.sendall(bytes(300_000))
            there.sendall(b"ssh")
            assert here.recv(3) == b"ssh"
            received = 0
            while received < 300_000:
                received += len(there.recv(1 << 16))

    for target in (own, lb1.address6):
        client.run(["ping", "-c2", "-i0.01", "-W1", target])
    lab.host("router").run(["ip", "neigh", "flush", "dev", "servers"])
    client.run(["ping", "-c2", "-i0.01", "-W1", own])
    works(lab, 4, url=f"http://{ROUTED}/")

    assert packets(lb1) == before
    assert not any(counters(lb1)["drops"].values())
    works(lab, 1, 2)


# l4lb_stats.


def test_stats(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    (nothing,) = ansible(lab, tmp_path, stats())
    assert nothing["ansible_facts"] == {"l4lb": {}}

    drained = {"address": WEB["web3"], "weight": 5, "state": "drained"}
    apply(lb1, wanted(service(1, 2, drained), service(4, name="other", port=81)))
    apply(lb1, wanted(service(1, address=OTHER_VIP), interface="eth1"))
    works(lab, 1, 2)
    everything, checked, one, other, nowhere, unknown, negative, rates = ansible(
        lab,
        tmp_path,
        stats(),
        {**stats(interface="eth0"), "check_mode": True},
        stats(interface="eth0", service="other"),
        stats(interface="eth0", service="nope"),
        stats(interface="eth9"),
        stats(interface="lo"),
        stats(interval=-1),
        stats(interval=0.1, interface="eth0"),
    )
    found = everything["ansible_facts"]["l4lb"]
    assert not everything["changed"]
    assert found.keys() == {"eth0", "eth1"}
    assert checked["ansible_facts"]["l4lb"] == {"eth0": found["eth0"]}
    assert one["ansible_facts"]["l4lb"]["eth0"]["services"] == [found["eth0"]["services"][0]]
    assert other["msg"] == "service: 'nope': eth0 has no such service, but other, web"
    assert nowhere["msg"].startswith("interface: 'eth9': no such interface; this host has ")
    assert unknown["msg"] == "no balancer is attached to lo"
    assert negative["msg"] == "interval: -1.0: give a number of seconds, 0 or more"

    eth0 = found["eth0"]
    counted = {"services", "drops", "answers", "flow_table"}
    compared = {"digest", "versions", "settings", "announcement"}
    assert eth0.keys() == {"mode", *counted, *compared}
    assert eth0["mode"] == "native"
    assert set(eth0["drops"].values()) == {0}
    web = eth0["services"][1]
    names = ("name", "address", "port", "protocol", "packets", "bytes", "backends")
    assert web.keys() == {*names, "digests", "options"}
    assert [web[name] for name in names[:4]] == ["web", VIP, 80, "tcp"]
    shown = [(each["address"], each["weight"], each["state"]) for each in web["backends"]]
    assert shown == [
        (WEB["web1"], 1, "enabled"),
        (WEB["web2"], 1, "enabled"),
        (WEB["web3"], 5, "drained"),
    ]
    assert all(type(each["packets"]) is type(each["bytes"]) is int for each in web["backends"])
    assert web["backends"][0].keys() == {"address", "weight", "state", "held", "packets", "bytes"}
    assert web["packets"] == sum(each["packets"] for each in web["backends"]) > 0

    idle = rates["ansible_facts"]["l4lb"]["eth0"]["services"][1]
    for each in (idle, *idle["backends"]):
        assert each["packets_per_second"] == each["bits_per_second"] == 0.0


def test_rates(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, protocol="udp")))
    python(lb1, looking.rates, seconds=0.5)
    with lab.host("client").socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _turn in range(50):
            sender.sendto(bytes(100), (VIP, 80))
    (found,) = go_on(lb1)["services"]
    # Ethernet, two IP headers, UDP, and what is in it.
    size = 14 + 20 + 20 + 8 + 100
    for each in (found, *found["backends"]):
        assert each["packets_per_second"] == 100
        assert each["bits_per_second"] == 100 * size * 8
