# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to the backends: how long packets may be there, and what happens when the kernel says
nothing of them any more.
"""

from __future__ import annotations

import itertools
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab import Lab
from lab.traffic.download import STALLED
from lab.traffic.stream import Stream
from tests.fleet.rig.exits import Balancer as Exits
from tests.fleet.rig.families import (
    ALL,
    BACKENDS,
    ECHO,
    FAILOVER,
    MTU,
    TOPOLOGY,
    VIPS,
    Balancer,
    await_equal,
    digest,
    overhead,
    path_mtu,
    service,
    udp_service,
    url,
)
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory
from tests.fleet.there import library
from tests.packet import packets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab import Host

SERVER = "web1"
UPLOAD = 4 << 20
JUMBO = 3000  # as much as a link of the laboratory takes
TIMED_OUT = 28  # as curl says
CLAIMED = {4: 576, 6: 1280}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("m", TOPOLOGY) as lab:
        lab.host("client").run(["sh", "-ec", f"head -c {UPLOAD} /dev/urandom >/srv/big"])
        lab.host(SERVER).run(["install", "-d", "-o", "www-data", "/srv/blob"])
        yield lab


@pytest.fixture(scope="module")
def balancer(lab: Lab) -> Balancer:
    return Balancer(lab)


@pytest.fixture(autouse=True)
def nothing_learned(lab: Lab) -> None:
    """No host has learned any path MTU yet."""
    for name in ("client", "lb1"):
        for family in ("-4", "-6"):
            lab.host(name).run(["ip", family, "route", "flush", "cache"])


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def remove(balancer: Balancer) -> None:
    """Nothing is remembered from before."""
    python(balancer.host, library.remove, interfaces=["eth0"])


def upload(lab: Lab, family: int) -> None:
    """It arrives whole, and nobody was told of a narrower path than there is."""
    client, server = lab.host("client"), lab.host(SERVER)
    client.run(["curl", "-sS", "-f", *STALLED, "-T/srv/big", url(family, "/blob/uploaded")])
    assert digest(server, "/srv/blob/uploaded") == digest(client, "/srv/big")
    server.run(["rm", "/srv/blob/uploaded"])
    assert path_mtu(client, VIPS[family]) == MTU - overhead("ipip", family)


def forge(lab: Lab, family: int) -> None:
    """Any host can send the balancer an error about a reply that it might have sent."""
    lb1, backend = lab.host("lb1"), BACKENDS[family][SERVER]
    frame = packets.too_big(
        CLAIMED[family],
        own={4: lb1.address, 6: lb1.address6}[family],
        backend=backend,
        ethernet_destination=lb1.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip(),
    )
    with lab.host("router").socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("lb1", 0))
        raw.send(frame)
    await_equal(lambda: path_mtu(lb1, backend), lambda: CLAIMED[family])


@pytest.mark.parametrize("before", [True, False], ids=["before the deploy", "after it"])
def test_forged_errors_are_not_believed(
    lab: Lab, balancer: Balancer, family: int, before: bool
) -> None:
    """The host itself believes them, for ten minutes."""
    web = service(family, family, backends={SERVER: {}})
    remove(balancer)
    if before:
        forge(lab, family)
    balancer.apply(web)
    if not before:
        upload(lab, family)  # so that the next hop is known
        forge(lab, family)
        time.sleep(FAILOVER)
        lab.host("client").run(["ip", f"-{family}", "route", "flush", "cache"])
    upload(lab, family)


def test_the_mtu_of_a_route_counts(lab: Lab, balancer: Balancer, family: int) -> None:
    """Locked or not, as behind an interface whose own is larger than what the way takes."""
    lb1, backend = lab.host("lb1"), BACKENDS[family][SERVER]
    lb1.ip([f"link set eth0 mtu {JUMBO}", f"route add {backend} dev eth0 mtu {MTU}"])
    try:
        balancer.apply(service(family, family, backends={SERVER: {}}))
        upload(lab, family)
    finally:
        lb1.ip([f"route delete {backend} dev eth0", f"link set eth0 mtu {MTU}"])


def test_the_interface_gets_another_mtu_where_next_hops_are_given(
    lab: Lab, balancer: Balancer
) -> None:
    """What a driver would refuse is not followed by itself then; but it shows, and the next run
    does. Where routing finds the next hops nothing is to be done."""
    server, lb1 = lab.host(SERVER), Exits(balancer.host, "eth0")
    mac = server.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
    given = {"interface": "eth0", "services": [service(4, 4, backends={SERVER: {"mac": mac}})]}
    routed = {"interface": "eth0", "services": [service(4, 4, backends={SERVER: {}})]}
    for config, changes in ((given, [f"MTU of eth0: {JUMBO} -> {MTU}"]), (routed, [])):
        lb1.host.ip([f"link set eth0 mtu {JUMBO}"])
        try:
            lb1.do("apply", config)
        finally:
            lb1.host.ip([f"link set eth0 mtu {MTU}"])
        assert lb1.outdated() == changes
        assert lb1.do("apply", config)["steps"] == changes
        assert lb1.outdated() == []
        upload(lab, 4)
        lab.host("client").run(["ip", "route", "flush", "cache"])


def test_more_neighbours_than_are_known_to_fit(balancer: Balancer) -> None:
    """The kernel's limits do not show in a network namespace: that is told, and the run goes on.
    Only planned, as these tables are all the machine's."""
    balancer.host.ip(["route add 198.18.0.0/22 dev eth0"])
    try:
        many = [{"address": f"198.18.{n // 250}.{n % 250 + 1}"} for n in range(700)]
        wanted = {**service(4, 4), "backends": many}
        config = {"interface": "eth0", "services": [wanted], "manage_sysctls": True}
        outcome = Exits(balancer.host, "eth0").do("plan", config)
    finally:
        balancer.host.ip(["route delete 198.18.0.0/22 dev eth0"])
    (warning,) = (one for one in outcome["warnings"] if "neighbours" in one)
    assert "does not show in this network namespace" in warning
    assert "net.ipv4.neigh.default.gc_thresh2 is to be 2048" in warning


def test_forwarding_switched_off(lab: Lab, balancer: Balancer, family: int) -> None:
    """By another tool, which toggles it for the whole host. Backends in use go on; what is new is
    dropped and counted until the next run.
    """
    lb1 = lab.host("lb1")
    used = udp_service(family, {"web1": {}})
    unused = service(family, family, backends={"web2": {}})
    balancer.apply(used, unused)
    setting = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}[family]
    dropped = balancer.drops()["forwarding_off"]
    with Stream(lab.host("client"), (VIPS[family], ECHO)) as stream:
        stream.await_answers()
        for value in (1, 0):
            lb1.run(["sysctl", "-qw", f"{setting}={value}"])
        time.sleep(FAILOVER)
        stream.await_answers()
        curl = ["curl", "-s", "--max-time", "1", url(family)]
        assert lab.host("client").run(curl, check=False).returncode == TIMED_OUT
        assert balancer.drops()["forwarding_off"] > dropped
        balancer.apply(used, unused)
        assert lab.host("client").run(curl).stdout.strip() == "web2"
    assert [stream.lost(flow) for flow in range(16)] == [[]] * 16


# Several ways: routing is asked as for the packets themselves.

ROUTER = {4: "203.0.113.1", 6: "2001:db8:2::1"}
BYPASS = {4: "198.51.100.129", 6: "2001:db8:3::1"}
BEHIND_BYPASS = {4: "198.51.100.130", 6: "2001:db8:3::2"}
"""lb1's address there."""
OTHER_MAC = "02:00:00:00:00:98"
FLOWS = 48  # of which each server gets some
EVERY = 0.02  # seconds from one datagram of a flow to the next


def by_source(family: int) -> dict[str, Any]:
    """A configuration whose tunnels come from lb1's second address, for which there is a rule."""
    source = {4: "source_address", 6: "source_address6"}[family]
    wanted = {"interface": "eth0", "services": [udp_service(family)]}
    return {**wanted, source: BEHIND_BYPASS[family]}


def by_any(family: int) -> dict[str, Any]:
    return {"interface": "eth0", "services": [udp_service(family)]}


def rules(family: int) -> list[str]:
    """Commands: only what comes from lb1's second address gets to the servers."""
    ways = [f"route add {one} via {BYPASS[family]} table 7" for one in BACKENDS[family].values()]
    main = [f"route add unreachable {one}" for one in BACKENDS[family].values()]
    return [*ways, *main, f"-{family} rule add from {BEHIND_BYPASS[family]} table 7"]


def equal_cost(family: int) -> list[str]:
    """Commands: to the servers there are two ways, by both interfaces."""
    hops = f"nexthop via {ROUTER[family]} dev eth0 nexthop via {BYPASS[family]} dev eth1"
    return [
        f"route add {one}/{32 if family == 4 else 128} {hops}" for one in BACKENDS[family].values()
    ]


def undone(command: str) -> str:
    """The command that undoes one."""
    return command.replace(" add ", " delete ", 1)


def forget_neighbours(host: Host) -> None:
    for version, name in itertools.product(("-4", "-6"), ("eth0", "eth1")):
        host.run(["ip", version, "neigh", "flush", "dev", name])


@pytest.fixture
def silent(lab: Lab) -> None:
    """The balancer knows no neighbour yet, and gateways announce what hardware they are on."""
    remove(Balancer(lab))
    forget_neighbours(lab.host("lb1"))
    announce = ["net.ipv4.conf.all.arp_notify=1", "net.ipv6.conf.all.ndisc_notify=1"]
    lab.host("bypass").run(["sysctl", "-qw", *announce])


@pytest.mark.parametrize(
    ("ways", "config"),
    [
        pytest.param(rules, by_source, id="a rule for the source"),
        pytest.param(equal_cost, by_any, id="equal cost"),
    ],
)
@pytest.mark.usefixtures("silent")
def test_all_ways_are_kept_resolved(
    lab: Lab,
    family: int,
    ways: Callable[[int], list[str]],
    config: Callable[[int], dict[str, Any]],
) -> None:
    """So not even first packets are lost, and a gateway may move to other hardware. If the kernel
    forgets them all the same, packets have them resolved."""
    lb1, bypass = Exits(lab.host("lb1"), "eth0"), lab.host("bypass")
    client, commands = lab.host("client"), ways(family)
    original = bypass.run(["cat", "/sys/class/net/lb1/address"]).stdout.strip()
    for command in commands:
        lb1.host.run(["ip", *command.split()])
    try:
        outcome = lb1.do("apply", config(family))
        assert "error" not in outcome, outcome
        assert not any("next hop" in warning for warning in outcome["warnings"])
        with Stream(client, (VIPS[family], ECHO), flows=FLOWS, interval=EVERY) as stream:
            stream.await_answers()
            before = stream.numbers
            bypass.ip([f"link set lb1 address {OTHER_MAC}"])
            time.sleep(1)
            stream.await_answers()
        first = [number for flow in range(FLOWS) for number in stream.lost(flow) if number < before]
        assert first == []
        assert {server for flow in range(FLOWS) for server in stream.servers(flow)} == {*ALL}
        gaps = [stream.gap(flow) for flow in range(FLOWS)]  # none where flows have the other way
        assert max(gaps) <= FAILOVER
        assert ways is not rules or min(gaps) > 0
        assert lb1.do("apply", config(family))["steps"] == []
        time.sleep(1)  # what the program has been told is out of date
        forget_neighbours(lb1.host)
        with Stream(client, (VIPS[family], ECHO), flows=FLOWS, interval=EVERY) as stream:
            stream.await_answers()
        assert max(stream.gap(flow) for flow in range(FLOWS)) <= FAILOVER
    finally:
        bypass.ip([f"link set lb1 address {original}"])
        for command in map(undone, reversed(commands)):
            lb1.host.run(["ip", *command.split()])
