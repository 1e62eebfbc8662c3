# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane under real traffic: every encapsulation, path MTU, UDP, and what happens to flows
when routes, neighbours and backends change.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab import Lab
from lab.traffic.download import STALLED, Download
from lab.traffic.frames import Frames
from lab.traffic.stream import Stream
from tests.fleet.rig.families import (
    ALL,
    BACKENDS,
    ECHO,
    FAILOVER,
    MTU,
    TOPOLOGY,
    VIPS,
    WEBSERVERS,
    Balancer,
    ask,
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
from tests.fleet.there import older_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Host


ENCAPSULATIONS = ("ipip", "gue", "gre", "l2")
BLOB = 100 << 20


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("p", TOPOLOGY) as lab:
        big = f"seq 20000000 | head -c {BLOB} >/srv"
        lab.host("client").run(["sh", "-ec", f"{big}/big"])
        for name in WEBSERVERS:
            lab.host(name).run(["sh", "-ec", f"install -d -o www-data /srv/blob && {big}/blob/big"])
        yield lab


@pytest.fixture(scope="module")
def balancer(lab: Lab) -> Balancer:
    return Balancer(lab)


@pytest.fixture(scope="module", params=[4, 6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    """All tests of one come before those of the other, so that few need another program."""
    return int(request.param)


@pytest.fixture
def client(lab: Lab) -> Host:
    """A client that has not learned any path MTU yet."""
    host = lab.host("client")
    for family in ("-4", "-6"):
        host.run(["ip", family, "route", "flush", "cache"])
    return host


# HTTP through every encapsulation.

Way = tuple[int, int, str, int]
"""Families of service and backends, encapsulation, port."""


def assert_balances(balancer: Balancer, client: Host, ways: list[Way]) -> None:
    """All servers answer, and the balancer counts exactly what the client sends."""
    before = balancer.counters()
    with Frames(client, "eth0", VIPS.values()) as frames:
        for inner, _outer, _encapsulation, port in ways:
            assert set(ask(client, inner, port)) == set(WEBSERVERS)

        def sent() -> dict[str, tuple[int, int]]:
            result = {}
            for inner, outer, encapsulation, port in ways:
                packets, octets = frames.count(VIPS[inner], port)
                octets += packets * overhead(encapsulation, outer)
                name = service(inner, outer, encapsulation, port)["name"]
                result[str(name)] = packets, octets
            return result

        await_equal(lambda: counted(before, balancer.counters()), sent)
    assert balancer.drops() == before["drops"]


def counted(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Packets and bytes by service between two samples; those of the backends add up to them."""
    result = {}
    for was, now in zip(before["services"], after["services"]):
        for backend, old in zip(now["backends"], was["backends"]):
            assert backend["packets"] > old["packets"]
        for counter in ("packets", "bytes"):
            assert sum(backend[counter] for backend in now["backends"]) == now[counter]
        result[now["name"]] = now["packets"] - was["packets"], now["bytes"] - was["bytes"]
    return result


def test_all_encapsulations_at_once(balancer: Balancer, client: Host) -> None:
    """One program for all there is, deployed with Ansible."""
    combinations = itertools.product([4, 6], [4, 6], ENCAPSULATIONS)
    ways = [(*combination, port) for port, combination in enumerate(combinations, 8001)]
    balancer.deploy(*(service(*way) for way in ways))
    assert_balances(balancer, client, ways)


@pytest.mark.parametrize("encapsulation", ENCAPSULATIONS)
def test_one_encapsulation(
    balancer: Balancer, client: Host, family: int, encapsulation: str
) -> None:
    """Another program each, as it has only what is needed."""
    ways = [(family, 4, encapsulation, 80), (family, 6, encapsulation, 8080)]
    balancer.apply(*(service(*way) for way in ways))
    assert_balances(balancer, client, ways)


def test_ping(balancer: Balancer, client: Host, family: int) -> None:
    balancer.apply(service(family, family))
    before = balancer.counters()
    client.run(["ping", "-c3", "-i0.1", "-W2", VIPS[family]])
    after = balancer.counters()
    assert after["answers"]["echo_reply"] - before["answers"]["echo_reply"] == 3
    assert after["services"] == before["services"]


# Path MTU.


@pytest.mark.parametrize(
    ("inner", "outer", "encapsulation"),
    [(4, 4, "ipip"), (6, 6, "ipip"), (4, 6, "gue"), (6, 4, "gre")],
)
def test_upload_of_packets_that_are_too_big(
    balancer: Balancer, client: Host, inner: int, outer: int, encapsulation: str
) -> None:
    """The client sends as much as its own link takes, until the balancer tells it better."""
    balancer.apply(service(inner, outer, encapsulation))
    before = balancer.counters()
    assert path_mtu(client, VIPS[inner]) == MTU
    upload = ["curl", "-sS", "-f", *STALLED, "-D-", "-T/srv/big", url(inner, "/blob/uploaded")]
    headers = client.run(upload).stdout
    (server,) = (name for name in WEBSERVERS if f"X-Server: {name}" in headers)

    host = balancer.lab.host(server)
    assert digest(host, "/srv/blob/uploaded") == digest(client, "/srv/big")
    host.run(["rm", "/srv/blob/uploaded"])
    assert path_mtu(client, VIPS[inner]) == MTU - overhead(encapsulation, outer)
    after = balancer.counters()
    assert after["answers"]["packet_too_big"] > before["answers"]["packet_too_big"]
    assert after["drops"] == before["drops"]


def test_download_through_a_narrow_link(balancer: Balancer, client: Host, family: int) -> None:
    """The router's errors are to the VIP, so the balancer must find the server that they mean."""
    balancer.apply(service(family, family))
    route = {4: "198.51.100.0/25", 6: "2001:db8:1::/64 metric 256"}[family] + " dev client"
    router = balancer.lab.host("router")
    router.ip([f"route replace {route} mtu lock {MTU - 100}"])
    try:
        download = Download(client, url(family, "/blob/big"))
        server = balancer.lab.host(download.server)
        assert download.digest() == digest(server, "/srv/blob/big")
        mtu = path_mtu(server, client_address(client, family), "from", VIPS[family])
    finally:
        router.ip([f"route replace {route}"])
        server.run(["ip", f"-{family}", "route", "flush", "cache"])
    assert mtu == MTU - 100


def client_address(client: Host, family: int) -> str:
    return client.address6 if family == 6 else client.address


# Flows, while everything around them changes.


def test_udp_flows_stay_where_they_are(balancer: Balancer, client: Host, family: int) -> None:
    """Nothing is lost, doubled or moved while weights change and a server is drained."""
    balancer.apply(udp_service(family))
    before = balancer.drops()
    with Stream(client, (VIPS[family], ECHO), flows=32) as stream:
        stream.await_answers()
        for options in ({"weight": 9}, {"weight": 0}, {"state": "drained"}):
            balancer.apply(udp_service(family, {**ALL, "web2": options}))
            stream.await_answers()
        late = Stream(client, (VIPS[family], ECHO), flows=32)
        with late:
            late.await_answers()
    assert {server for flow in range(32) for server in stream.servers(flow)} == set(WEBSERVERS)
    assert {server for flow in range(32) for server in late.servers(flow)} == {*WEBSERVERS} - {
        "web2"
    }
    for one in (stream, late):
        assert [one.lost(flow) for flow in range(32)] == [[]] * 32
        assert [len(one.servers(flow)) for flow in range(32)] == [1] * 32
        assert one.duplicates() == 0
    assert balancer.drops() == before


def test_a_removed_backend_takes_no_flows_of_others_along(
    balancer: Balancer, client: Host, family: int
) -> None:
    """Nor does the scheduler, which deals new flows to the others in quite another way."""
    jhash = {"scheduler": "jhash"}
    rest = {name: options for name, options in ALL.items() if name != "web3"}
    balancer.apply({**udp_service(family), **jhash})
    with Stream(client, (VIPS[family], ECHO), flows=32) as stream:
        stream.await_answers()
        balancer.apply({**udp_service(family, rest), **jhash})
        stream.await_answers()
    moved = 0
    for flow in range(32):
        was, *later = stream.servers(flow)
        assert stream.lost(flow) == []
        assert len(later) == (was == "web3"), stream.servers(flow)
        moved += len(later)
    assert moved


def test_draining_lets_downloads_finish(balancer: Balancer, client: Host, family: int) -> None:
    balancer.apply(service(family, family))
    download = Download(client, url(family, "/blob/big"), rate="15M")
    drained = {**ALL, download.server: {"state": "drained"}}
    balancer.apply(service(family, family, backends=drained))
    assert set(ask(client, family)) == {*WEBSERVERS} - {download.server}
    assert download.running
    host = balancer.lab.host(download.server)
    assert download.digest() == digest(host, "/srv/blob/big")


# Next hops: what changes is what the kernel knows, and nobody tells the balancer.

BYPASS = {4: "198.51.100.129", 6: "2001:db8:3::1"}


def flows_of(stream: Stream, server: str) -> list[int]:
    return [flow for flow in range(len(stream.answers)) if stream.servers(flow) == [server]]


def assert_followed(stream: Stream, affected: list[int], what: str) -> None:
    """Flows of the server in question lost little; those of others nothing."""
    assert affected
    gaps = [stream.gap(flow) for flow in affected]
    print(f"{what}: {min(gaps):.2f} to {max(gaps):.2f} s without answers")
    assert max(gaps) <= FAILOVER
    for flow in range(len(stream.answers)):
        assert len(stream.servers(flow)) == 1
        assert flow in affected or stream.lost(flow) == []


def test_a_route_moves_to_another_interface(balancer: Balancer, client: Host, family: int) -> None:
    """The way to a server breaks, and routing sends it around: out of lb1's other interface."""
    lb1, router = balancer.host, balancer.lab.host("router")
    route = f"{BACKENDS[family]['web1']} via {BYPASS[family]} dev eth1"
    balancer.apply(udp_service(family), service(family, family, backends={"web1": {}}))
    with Stream(client, (VIPS[family], ECHO)) as stream:
        stream.await_answers()
        affected = flows_of(stream, "web1")
        download = Download(client, url(family, "/blob/big"), rate="15M")
        try:
            isolate(router, "lb1", "web1")
            lb1.ip([f"route add {route}"])
            stream.await_answers()
        finally:
            isolate(router, "lb1", "web1", isolated=False)
        back = stream.numbers
        lb1.ip([f"route delete {route}"])
        stream.await_answers()
        time.sleep(FAILOVER)
        assert download.digest() == digest(balancer.lab.host("web1"), "/srv/blob/big")
    assert_followed(stream, affected, f"route, IPv{family}")
    for flow in affected:
        assert all(number < back for number in stream.lost(flow))


def isolate(router: Host, *ports: str, isolated: bool = True) -> None:
    """Have the switch pass nothing between these ports, as if there were no way."""
    state = "on" if isolated else "off"
    router.ip([f"link set {port} type bridge_slave isolated {state}" for port in ports])


def test_a_backend_gets_another_mac_address(balancer: Balancer, client: Host, family: int) -> None:
    """As when another machine takes over its address, and says so."""
    web1 = balancer.lab.host("web1")
    balancer.apply(udp_service(family), service(family, family, backends={"web1": {}}))
    with Stream(client, (VIPS[family], ECHO)) as stream:
        stream.await_answers()
        affected = flows_of(stream, "web1")
        download = Download(client, url(family, "/blob/big"), rate="15M")
        original = web1.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
        for address in ("02:00:00:00:00:99", original):
            web1.ip([f"link set eth0 address {address}"])
            stream.await_answers()
        assert download.digest() == digest(web1, "/srv/blob/big")
    assert_followed(stream, affected, f"MAC address, IPv{family}")


def test_unknown_neighbours_are_resolved(balancer: Balancer, client: Host, family: int) -> None:
    """The kernel has forgotten them all; packets to them are what makes it ask.

    Unless it has learnt them again before the first packet, as the servers talk too.
    """
    lb1 = balancer.host
    balancer.apply(udp_service(family))
    for _attempt in range(10):
        lb1.run(["ip", f"-{family}", "neigh", "flush", "dev", "eth0"])
        before = balancer.counters()["drops"]["no_neighbour"]
        with Stream(client, (VIPS[family], ECHO)) as stream:
            stream.await_answers()
        gaps = [stream.gap(flow) for flow in range(len(stream.answers))]
        print(f"neighbours, IPv{family}: up to {max(gaps):.2f} s without answers")
        assert max(gaps) <= FAILOVER
        dropped = balancer.counters()["drops"]["no_neighbour"] - before
        assert dropped == sum(len(stream.lost(flow)) for flow in range(len(stream.answers)))
        if dropped:
            break
    assert dropped


def test_kernels_without_managed_neighbours_resolve_them_too(balancer: Balancer) -> None:
    """Before Linux 5.16 the flag is ignored, as none is here; done again, nothing is forgotten."""
    lb1, addresses = balancer.host, [one["web4"] for one in BACKENDS.values()]
    for family in ("-4", "-6"):
        lb1.run(["ip", family, "neigh", "flush", "dev", "eth0"])
    assert python(lb1, older_kernel.managed_twice, addresses=addresses) == [[], []]
