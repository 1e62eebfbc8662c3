# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is for the balancer and what is the host's, on real hosts: MAC addresses, whoever has them,
and packets to a service's address on a host that forwards.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab import Lab
from lab.host import CHECKOUT
from lab.traffic.frames import Frames
from lab.traffic.stream import Stream
from tests.fleet.rig.families import (
    FAILOVER,
    TOPOLOGY,
    VIPS,
    WEBSERVERS,
    Balancer,
    Options,
    ask,
    balance,
    service,
    udp_service,
)
from tests.fleet.rig.labs import laboratory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Host

OWN = {4: "203.0.113.11", 6: "2001:db8:2::11"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:2::1"}
WEB_MACS: Options = {
    f"web{n}": {"mac": "02:00:" + bytes([203, 0, 113, 20 + n]).hex(":")} for n in range(1, 5)
}
NEW_MAC, BRIDGE_MAC = "02:00:00:00:00:77", "02:00:00:00:00:bb"
VRRP_MAC = "00:00:5e:00:01:33"
"""Of the virtual router 51 (RFC 9568)."""
MOST_TTL = 255


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("o", TOPOLOGY) as lab:
        # An address that moves is announced, as by keepalived.
        announce = ["net.ipv4.conf.all.arp_notify=1", "net.ipv6.conf.all.ndisc_notify=1"]
        lab.host("lb1").run(["sysctl", "-qw", *announce])
        yield lab


@pytest.fixture(scope="module")
def balancer(lab: Lab) -> Balancer:
    return Balancer(lab)


@pytest.fixture
def client(lab: Lab) -> Host:
    return lab.host("client")


@pytest.fixture(scope="module", params=[4, 6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def mac_of(host: Host, interface: str = "eth0") -> str:
    return host.run(["cat", f"/sys/class/net/{interface}/address"]).stdout.strip()


@contextlib.contextmanager
def known_as(lab: Lab, mac: str) -> Iterator[None]:
    """The router sends lb1's packets to this address."""
    router = lab.host("router")
    entries = [f"{address} dev servers" for address in OWN.values()]
    router.ip([f"neighbour replace {entry} lladdr {mac} nud permanent" for entry in entries])
    try:
        yield
    finally:
        router.ip([f"neighbour delete {entry}" for entry in entries])


def received(host: Host) -> int:
    """Frames that an interface got."""
    path = "/sys/class/net/eth0/statistics/rx_packets"
    return int(host.run(["cat", path]).stdout)


# MAC addresses.


@pytest.mark.parametrize(
    "mac",
    [
        pytest.param("02:00:00:00:00:99", id="of nobody, which the switch floods"),
        pytest.param("ff:ff:ff:ff:ff:ff", id="of all"),
        pytest.param("01:00:5e:00:00:01", id="of many"),
    ],
)
def test_frames_for_others(balancer: Balancer, client: Host, family: int, mac: str) -> None:
    balancer.apply(service(family, family))
    before, frames = balancer.counters(), received(balancer.host)
    with known_as(balancer.lab, mac):
        client.run(["ping", "-c5", "-i0.1", "-W1", VIPS[family]], check=False)
        syn = ["curl", "-sS", "--connect-timeout", "1", f"http://{host_of(family)}/"]
        client.run(syn, check=False)
    assert received(balancer.host) - frames >= 6
    assert balancer.counters() == before


def host_of(family: int) -> str:
    return f"[{VIPS[6]}]" if family == 6 else VIPS[4]


def test_a_virtual_router_s_address(balancer: Balancer, client: Host, family: int) -> None:
    """keepalived's use_vmac makes a macvlan on the interface."""
    lb1 = balancer.host
    lb1.ip([f"link add vrrp.51 link eth0 address {VRRP_MAC} type macvlan mode private"])
    lb1.ip(["link set vrrp.51 up"])
    try:
        balancer.apply(service(family, family))
        with known_as(balancer.lab, VRRP_MAC):
            assert set(ask(client, family)) == set(WEBSERVERS)
            assert_answers_from(balancer, client, family, VRRP_MAC)
    finally:
        lb1.ip(["link delete vrrp.51"])
    balancer.apply(service(family, family))
    before = balancer.counters()
    with known_as(balancer.lab, VRRP_MAC):
        client.run(["ping", "-c3", "-i0.1", "-W1", VIPS[family]], check=False)
    assert balancer.counters() == before


def assert_answers_from(balancer: Balancer, client: Host, family: int, mac: str) -> None:
    """What the balancer itself sends comes from the address that was asked."""
    router, sources = balancer.lab.host("router"), set()
    packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, VIPS[family])
    start = 22 if family == 6 else 26
    with router.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        tap.bind(("lb1", 3))
        tap.setblocking(False)
        client.run(["ping", "-c1", "-W2", VIPS[family]])
        with contextlib.suppress(BlockingIOError):
            while frame := tap.recv(2048):
                if frame[start : start + len(packed)] == packed:
                    sources.add(frame[6:12].hex(":"))
    assert sources == {mac}


@pytest.fixture
def bridged(balancer: Balancer) -> Iterator[Host]:
    """lb1 with its interface in a bridge that has the addresses, and a MAC address of its own."""
    lb1 = balancer.host
    addresses = ["203.0.113.11/24", "2001:db8:2::11/64"]
    routes = [f"route replace default via {router}" for router in ROUTER.values()]
    lb1.ip([f"link add br0 address {BRIDGE_MAC} type bridge mcast_snooping 0"])
    lb1.ip([f"address delete {address} dev eth0" for address in addresses])
    lb1.ip(["link set eth0 master br0", "link set br0 up"])
    lb1.ip([f"address add {address} dev br0" for address in addresses])
    lb1.ip(routes)
    yield lb1
    lb1.ip(["link delete br0"])
    lb1.ip([f"address add {address} dev eth0" for address in addresses])
    lb1.ip(routes)
    balancer.lab.host("router").run(["ip", "neighbour", "flush", "dev", "servers"])


def test_a_port_of_a_bridge(bridged: Host, balancer: Balancer, client: Host, family: int) -> None:
    """The router knows the host by the bridge's address, and the switch floods nothing."""
    sources = {"source_address": OWN[4], "source_address6": OWN[6]}
    services = [service(family, family, backends=WEB_MACS)]
    balance(bridged, {"interface": "eth0", **sources, "services": services})
    router = balancer.lab.host("router")
    router.run(["ip", "neighbour", "flush", "dev", "servers"])
    assert mac_of(bridged) != BRIDGE_MAC
    assert set(ask(client, family)) == set(WEBSERVERS)
    known = router.run(["ip", "neighbour", "show", OWN[family], "dev", "servers"]).stdout
    assert BRIDGE_MAC in known


@pytest.fixture
def given_back(balancer: Balancer) -> Iterator[Host]:
    """lb1, which gets its MAC address back in the end."""
    lb1 = balancer.host
    original = mac_of(lb1)
    yield lb1
    lb1.ip([f"link set eth0 address {original}"])


def test_a_new_mac_address_is_followed_under_load(
    given_back: Host, balancer: Balancer, client: Host, family: int
) -> None:
    """And nothing is deployed; the neighbours that the kernel forgets with the old address are
    found again."""
    balancer.apply(udp_service(family))
    with Stream(client, (VIPS[family], 7)) as stream:
        stream.await_answers()
        given_back.ip([f"link set eth0 address {NEW_MAC}"])
        stream.await_answers()
        time.sleep(FAILOVER)
        stream.await_answers()
    gaps = [stream.gap(flow) for flow in range(len(stream.answers))]
    print(f"MAC address of the balancer, IPv{family}: {min(gaps):.2f} to {max(gaps):.2f} s")
    assert max(gaps) <= FAILOVER
    assert stream.duplicates() == 0
    known = balancer.lab.host("router").run(["ip", "neighbour", "show", OWN[family]]).stdout
    assert NEW_MAC in known


def test_with_given_addresses_the_next_run_follows(
    given_back: Host, balancer: Balancer, client: Host, family: int
) -> None:
    config = {"interface": "eth0", "services": [service(family, family, backends=WEB_MACS)]}
    balance(given_back, config)
    given_back.ip([f"link set eth0 address {NEW_MAC}"])
    with known_as(balancer.lab, NEW_MAC):
        before = balancer.counters()
        client.run(["ping", "-c3", "-i0.5", "-W1", VIPS[family]], check=False)
        assert balancer.counters() == before
        balance(given_back, config)
        assert set(ask(client, family)) == set(WEBSERVERS)


# Packets that no service takes.


@contextlib.contextmanager
def forwarding(host: Host, value: str = "1") -> Iterator[None]:
    """Have a host forward, or not; to where the packets come from, as its route says."""
    names = ["net.ipv4.conf.eth0.forwarding", "net.ipv6.conf.all.forwarding"]
    host.run(["sysctl", "-qw", *(f"{name}={value}" for name in names)])
    try:
        yield
    finally:
        host.run(["sysctl", "-qw", *(f"{name}=0" for name in names)])


def send_strays(client: Host, family: int, count: int = 10) -> None:
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with client.socket(kind, socket.SOCK_DGRAM) as sender:
        if family == 6:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, MOST_TTL)
        else:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, MOST_TTL)
        for _turn in range(count):
            sender.sendto(b"stray", (VIPS[family], 9))
            time.sleep(0.01)


def frames_from(balancer: Balancer, client: Host, family: int) -> int:
    """How many frames lb1 makes of ten packets."""
    with Frames(balancer.host, "eth0", VIPS.values()) as frames:
        send_strays(client, family)
        time.sleep(1)
        return frames.count(VIPS[family], 9)[0]


def test_packets_do_not_go_round(balancer: Balancer, client: Host, family: int) -> None:
    config: dict[str, Any] = {"interface": "eth0", "services": [service(family, family)]}
    balance(balancer.host, config)
    with forwarding(balancer.host):
        before = balancer.drops()
        assert frames_from(balancer, client, family) == 0
        assert balancer.drops()["no_service"] - before["no_service"] == 10
        client.run(["ping", "-c3", "-i0.1", "-W2", VIPS[family]])
        assert set(ask(client, family)) == set(WEBSERVERS)

        balance(balancer.host, {**config, "no_service": "pass"})
        assert frames_from(balancer, client, family) > 100, "they do go round"
        assert balancer.drops()["no_service"] - before["no_service"] == 10


def test_where_the_host_does_not_forward_it_is_asked(
    balancer: Balancer, client: Host, family: int
) -> None:
    balance(balancer.host, {"interface": "eth0", "services": [service(family, family)]})
    before = balancer.counters()
    assert frames_from(balancer, client, family) == 0
    assert balancer.counters() == before


TRANSLATION = """
table ip l4lb {
  chain prerouting {
    type nat hook prerouting priority dstnat
    ip daddr 192.0.2.10 udp dport 9 dnat to 203.0.113.21:7
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip daddr 203.0.113.21 masquerade
  }
}
"""


def test_a_host_that_translates_addresses(balancer: Balancer, client: Host) -> None:
    """What no service takes is for another server, as only the host knows."""
    lb1, web1 = balancer.host, balancer.lab.host("web1")
    config: dict[str, Any] = {"interface": "eth0", "services": [service(4, 4)]}
    echo = ["/usr/bin/python3", str(CHECKOUT / "lab/servers/echo.py"), "7", web1.address]
    lb1.run(["nft", "-f", "-"], input=TRANSLATION)
    web1.start("echo of its own", echo)
    try:
        with forwarding(lb1):
            for no_service, answers in (("pass", True), ("drop", False)):
                balance(lb1, {**config, "no_service": no_service})
                assert is_answered(client) is answers
    finally:
        web1.stop("echo of its own")
        lb1.run(["nft", "delete", "table", "ip", "l4lb"])


def is_answered(client: Host) -> bool:
    with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        asker.connect((VIPS[4], 9))
        asker.send(b"who")
        try:
            return asker.recv(100) == b"web1 who"
        except TimeoutError:
            return False
