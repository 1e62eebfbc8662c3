# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as sent leaves, on a host that is a bridge: by the balanced port, by others, and by
another bridge; or is refused before anything changes.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab import Lab
from lab.host import CHECKOUT
from lab.traffic.stream import Stream
from tests.fleet.rig.exits import Balancer
from tests.fleet.rig.families import VIPS
from tests.fleet.rig.labs import laboratory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Host

TOPOLOGY = CHECKOUT / "lab/topologies/bridges.yml"
INTERFACE = "router-lb"
SOURCES = {4: "203.0.113.11", 6: "2001:db8:2::11"}
SERVERS = {
    "web1": {4: "198.51.100.130", 6: "2001:db8:3::2"},
    "guest1": {4: "203.0.113.21", 6: "2001:db8:2::21"},
    "guest2": {4: "203.0.113.22", 6: "2001:db8:2::22"},
    "inner1": {4: "198.18.0.21", 6: "2001:db8:18::21"},
    "inner2": {4: "198.18.0.22", 6: "2001:db8:18::22"},
}
ALL = tuple(SERVERS)
ECHO = 7
ETH_P_IP = 0x0800
FLOWS = 64  # of which each server gets some
COUNTED = 1.0  # seconds for which events are
FAILOVER = 2.0  # seconds after which a new next hop is in use


def config(
    *servers: str, family: int = 4, encapsulation: str = "ipip", **options: Any
) -> dict[str, Any]:
    """All of them behind one service, lab/servers/echo.py."""
    service = {
        "name": "echo",
        "address": VIPS[family],
        "port": ECHO,
        "protocol": "udp",
        "encapsulation": encapsulation,
        "backends": [{"address": SERVERS[server][family]} for server in servers],
    }
    return {
        "interface": INTERFACE,
        "source_address": SOURCES[4],
        "source_address6": SOURCES[6],
        "services": [service],
        **options,
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("x", TOPOLOGY) as lab:
        yield lab


@pytest.fixture
def lb1(lab: Lab) -> Iterator[Balancer]:
    balancer = Balancer(lab.host("lb1"), INTERFACE)
    yield balancer
    balancer.do("apply", None)
    assert "xdp" not in lab.host("lb1").run(["ip", "link", "show", INTERFACE]).stdout


def works(lab: Lab, lb1: Balancer, *servers: str, family: int = 4) -> None:
    """Each of them answers, and what was counted as sent is what the client sent."""
    client = lab.host("client")
    sent, dropped = lb1.counted()
    with Stream(client, (VIPS[family], ECHO), flows=FLOWS) as stream:
        stream.await_answers()
    found = {server for flow in range(FLOWS) for server in stream.servers(flow)}
    assert found == set(servers)
    assert [stream.lost(flow) for flow in range(FLOWS)] == [[]] * FLOWS
    now, dropped_now = lb1.counted()
    assert now - sent == stream.numbers * FLOWS
    assert dropped_now == dropped


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "l2"])
@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_behind_bridges(
    lab: Lab, lb1: Balancer, family: int, encapsulation: str, mode: str
) -> None:
    """Servers behind the router, which is behind the balanced port of a bridge; guests behind
    other ports of it; and containers behind another bridge.
    """
    servers = [name for name in ALL if encapsulation != "l2" or name != "web1"]
    wanted = config(*servers, family=family, encapsulation=encapsulation, mode=mode)
    assert "error" not in lb1.do("apply", wanted)
    assert lb1.do("apply", wanted)["steps"] == []
    assert lb1.do("facts")["mode"] == mode
    assert lb1.outdated() == []
    works(lab, lb1, *servers, family=family)


def mac_of(server: Host) -> str:
    return server.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()


def test_gro_is_enough_at_the_other_end_of_a_veth(lab: Lab, lb1: Balancer) -> None:
    """Without a program there, and without GRO, whatever is redirected is lost."""
    inner2 = lab.host("inner2")
    wanted = config("inner1", "inner2", encapsulation="l2")
    inner2.run(["ip", "link", "set", "eth0", "xdp", "off"])
    try:
        assert "error" not in lb1.do("apply", wanted)
        works(lab, lb1, "inner1", "inner2")
        inner2.run(["ethtool", "-K", "eth0", "gro", "off"])
        redirects_that_fail_are_seen(lab, lb1)
        refusal = (
            f"packets to {SERVERS['inner2'][4]} would leave by br1, as the other end of inner2 "
            "takes nothing from XDP; switch GRO on there, as ethtool -K INTERFACE gro on does, or "
            "set mode to generic"
        )
        assert refusal in lb1.outdated()
        for action in ("plan", "apply"):
            assert lb1.do(action, wanted) == {"error": refusal}
        outcome = lb1.do("apply", wanted, accepted=True)
        assert refusal in outcome["warnings"]
        assert lb1.do("apply", wanted, accepted=True)["steps"] == []
        generic = {**wanted, "mode": "generic"}
        assert "error" not in lb1.do("apply", generic)
        works(lab, lb1, "inner1", "inner2")
    finally:
        inner2.run(["ethtool", "-K", "eth0", "gro", "on"])


def redirects_that_fail_are_seen(lab: Lab, lb1: Balancer) -> None:
    """The program has counted them as sent; by the commands of README the host tells that they were
    not, and so does what it has at hand of the kernel."""
    readme = (CHECKOUT / "README.md").read_text()
    driver, kernel = "ethtool -S eth0 | grep -i drop", "perf stat -a -e xdp:xdp_redirect_err"
    assert driver in readme
    assert kernel in readme

    def dropped() -> int:
        lines = lb1.host.run(["sh", "-c", driver.replace("eth0", INTERFACE)]).stdout.splitlines()
        return sum(int(line.split()[-1]) for line in lines)

    before, (sent, _drops) = dropped(), lb1.counted()
    with counted(kernel) as seen, Stream(lab.host("client"), (VIPS[4], ECHO), FLOWS) as stream:
        time.sleep(COUNTED)
    lost = sum(len(stream.lost(flow)) for flow in range(FLOWS))
    assert 0 < lost < stream.numbers * FLOWS
    assert lb1.counted()[0] - sent == stream.numbers * FLOWS
    assert dropped() - before == lost
    assert all(count > 0 for count in seen)


@contextlib.contextmanager
def counted(command: str) -> Iterator[list[int]]:
    """What an event was counted to while something goes on, if this machine has perf(1)."""
    counts: list[int] = []
    if not shutil.which("perf"):
        yield counts
        return
    # it mounts what it reads
    counting = ["unshare", "--mount", *command.split(), "-x,", "sleep", str(COUNTED)]
    with subprocess.Popen(counting, stderr=subprocess.PIPE, text=True) as perf:
        yield counts
        assert perf.stderr
        counts += [int(line.split(",")[0]) for line in perf.stderr if "xdp_redirect_err" in line]


def test_a_next_hop_moves_behind_another_port(lab: Lab, lb1: Balancer) -> None:
    """As a guest does from one host to another. Nobody tells the program; but it shows."""
    mac = mac_of(lab.host("guest1"))
    wanted = config("guest1")
    lb1.do("apply", wanted)
    works(lab, lb1, "guest1")
    moved = ["bridge", "fdb", "replace", mac, "dev", "guest2", "master", "static"]
    lb1.host.run(moved)
    try:
        change = f"frames by br0 to {mac} leave by guest1 -> guest2"
        assert lb1.outdated() == [change]
        assert lb1.do("apply", wanted)["steps"] == [change]
        assert lb1.outdated() == []
    finally:
        lb1.host.run(["bridge", "fdb", "delete", mac, "dev", "guest2", "master"])
    lb1.host.run(["ping", "-c1", "-W5", SERVERS["guest1"][4]])
    assert lb1.do("apply", wanted)["steps"] == [f"frames by br0 to {mac} leave by guest2 -> guest1"]
    works(lab, lb1, "guest1")


def test_what_a_bridge_forgets_is_remembered(lab: Lab, lb1: Balancer) -> None:
    """It forgets who was silent for five minutes, and floods; there is no harm in knowing."""
    wanted = config("guest1", "inner1")
    lb1.do("apply", wanted)
    for bridge in ("br0", "br1"):
        lb1.host.run(["ip", "link", "set", bridge, "type", "bridge", "fdb_flush"])
    assert lb1.do("apply", wanted)["steps"] == []
    works(lab, lb1, "guest1", "inner1")


def test_a_next_hop_that_answers_only_later(lab: Lab, lb1: Balancer) -> None:
    """Between containers nobody knows beforehand behind which port it will be."""
    late = "198.18.0.99"
    wanted = config("inner1")
    wanted["services"][0]["backends"] = [{"address": late}]
    unknown = (
        f"packets to {late} would leave by br1, as br1 has not heard its next hop behind any of "
        "its ports; run again when it answers"
    )
    outcome = lb1.do("apply", wanted)
    assert unknown in outcome["warnings"]
    assert unknown in lb1.outdated()
    inner1 = lab.host("inner1")
    inner1.run(["ip", "address", "add", f"{late}/24", "dev", "eth0"])
    try:
        inner1.run(["ping", "-c3", "-W5", "-I", late, "198.18.0.1"])  # one may be lost
        with Stream(lab.host("client"), (VIPS[4], ECHO), flows=2):
            time.sleep(0.5)
        assert lb1.counted()[1].get("no_egress", 0) > 0
        outcome = lb1.do("apply", wanted)
        assert unknown not in outcome["warnings"]
        mac = mac_of(inner1)
        assert outcome["steps"][0] == f"frames by br1 to {mac} leave by nowhere -> inner1"
    finally:
        inner1.run(["ip", "address", "delete", f"{late}/24", "dev", "eth0"])


def test_an_interface_that_appears_later(lab: Lab, lb1: Balancer) -> None:
    """Nobody knows whether it takes frames until the next run; that is counted, and told."""
    wanted = config("web1")
    lb1.do("apply", wanted)
    works(lab, lb1, "web1")
    lb1.host.ip(
        [
            "link add mv0 link br0 type macvlan mode bridge",
            "link set mv0 up",
            "address add 203.0.113.12/24 dev mv0",
            f"route add {SERVERS['web1'][4]} via 203.0.113.1 dev mv0",
        ]
    )
    try:
        lb1.host.run(["ping", "-c1", "-W5", "-I", "mv0", "203.0.113.1"])
        time.sleep(FAILOVER)
        with Stream(lab.host("client"), (VIPS[4], ECHO), flows=2):
            time.sleep(0.5)
        assert lb1.counted()[1].get("no_egress", 0) > 0
        change = f"frames by mv0 leave by nowhere -> {INTERFACE}"
        own, frames = lb1.outdated()
        assert own.startswith("own MAC addresses: ") and frames == change
        outcome = lb1.do("apply", wanted)
        assert change in outcome["steps"]
        time.sleep(FAILOVER)
        works(lab, lb1, "web1")
    finally:
        lb1.host.ip(["link delete mv0"])


def test_a_route_moves_to_another_interface(lab: Lab, lb1: Balancer) -> None:
    """All interfaces that have addresses are settled, whether a route leads there now or not."""
    inner1, address = lab.host("inner1"), SERVERS["web1"][4]
    lb1.host.ip(["link set inner2 nomaster"])
    try:
        lb1.do("apply", config("web1"))
        works(lab, lb1, "web1")
        lb1.host.run(["ping", "-c1", "-W5", "198.18.0.21"])
        lb1.host.ip([f"route add {address} via 198.18.0.21"])
        time.sleep(FAILOVER)
        sent, dropped = lb1.counted()
        with inner1.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as raw:
            raw.bind(("eth0", ETH_P_IP))
            with Stream(lab.host("client"), (VIPS[4], ECHO), flows=1):
                time.sleep(0.5)
            sent = lb1.counted()[0] - sent
            raw.setblocking(False)
            assert sent > 0 and arrived(raw, address) == sent
        assert lb1.counted()[1] == dropped
        assert lb1.outdated() == []
    finally:
        lb1.host.ip([f"route delete {address}", "link set inner2 master br1"])


def arrived(raw: socket.socket, address: str) -> int:
    """Packets to an address that wait to be read."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += raw.recv(2048)[30:34] == socket.inet_aton(address)
    return count


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("tun0 mode tun", "which carries no Ethernet frames"),
        ("vx0", "as the driver of vx0 takes nothing from XDP"),
    ],
)
def test_an_interface_that_takes_nothing(lb1: Balancer, device: str, why: str) -> None:
    """It is refused by name, before anything changes, unless it was accepted once."""
    name = device.split()[0]
    made = f"link add {name} type vxlan id 7 remote 203.0.113.1 dstport 4789 dev br0"
    if name == "tun0":
        lb1.host.run(["ip", "tuntap", "add", *device.split()])
    else:
        lb1.host.ip([made])
    lb1.host.ip(
        [
            f"link set {name} up",
            f"address add 198.18.1.1/24 dev {name}",
            "neighbour add 198.18.1.9 lladdr 02:00:00:00:00:09 dev vx0 nud permanent"
            if name == "vx0"
            else f"route add 198.18.1.9 dev {name}",
        ]
    )
    wanted = config("guest1")
    lb1.do("apply", wanted)
    wanted["services"][0]["backends"].append({"address": "198.18.1.9"})
    try:
        refusal = f"packets to 198.18.1.9 would leave by {name}, {why}"
        for action in ("plan", "apply"):
            assert lb1.do(action, wanted)["error"].startswith(refusal)
        assert [one["name"] for one in lb1.do("facts")["services"]] == ["echo"]
        assert len(lb1.do("facts")["services"][0]["backends"]) == 1
        outcome = lb1.do("apply", wanted, accepted=True)
        assert any(warning.startswith(refusal) for warning in outcome["warnings"])
        assert any(line.startswith(refusal) for line in lb1.outdated())
        given = {"address": "198.18.1.9", "mac": "02:00:00:00:00:09"}
        wanted["services"][0]["backends"][-1] = given
        assert "error" not in lb1.do("apply", wanted)
    finally:
        lb1.host.ip([f"link delete {name}"])


def test_a_driver_that_takes_no_programs(lb1: Balancer) -> None:
    """Mode native is refused in check mode already, where the kernel says so."""
    bridge = Balancer(lb1.host, "br1")
    wanted = {**config("inner1"), "interface": "br1"}
    for action in ("plan", "apply"):
        refused = bridge.do(action, {**wanted, "mode": "native"})
        assert refused["error"] == (
            "the driver of br1 takes no XDP program in mode native; set mode to generic or auto"
        )
    assert "error" not in bridge.do("plan", {**wanted, "mode": "auto"})
