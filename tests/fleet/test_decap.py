# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decap.c takes off: frames that a balancer, or somebody else, sends to a server."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Padding, Raw

from lab import Lab
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory, plan
from tests.fleet.rig.tunnels import (
    CLIENT,
    CLIENT6,
    ETH_P_ALL,
    INNER4,
    INNER6,
    LB1,
    OTHER_PORT,
    PAYLOAD,
    STRANGER,
    STRANGER6,
    VIP,
    VIP6,
    WEB1,
    WEB2,
    WEB3,
    Server,
    gre,
    gue,
    outer4,
    outer6,
    to,
    tunnels,
    with_type,
)
from tests.fleet.there import looking

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """web1 knows the balancers. web2 unpacks for everyone, and has GUE at another port. web3 knows
    prefixes that the balancers are in."""
    topology = plan()
    hosts = topology["hosts"]
    prefixes = ["203.0.113.8/29", "2001:db8:2::10/124"]
    hosts["web2"] = {**hosts["web2"], "balancers": [], "gue_port": OTHER_PORT}
    hosts["web3"] = {**hosts["web3"], "balancers": prefixes}
    with laboratory("d", topology) as lab:
        yield lab


# Packets.

EMPTY6 = IPv6(src=CLIENT6, dst=VIP6)


def shorter(packet: Packet, length: int) -> bytes:
    """Less of it than it says itself."""
    return bytes(packet)[:length]


def inner_of_length(length: int) -> bytes:
    """Its own idea of its length; in truth it is as long as ever."""
    return bytes(INNER4)[:2] + length.to_bytes(2, "big") + bytes(INNER4)[4:]


def of_version(version: int, packet: Packet) -> bytes:
    return bytes([version << 4 | bytes(packet)[0] & 0xF]) + bytes(packet)[1:]


DECAPSULATED = {
    **tunnels(to(WEB1)),
    "padded": (outer4() / Padding(bytes(40)), INNER4),
    "padded, IPv6": (outer6() / Padding(bytes(40)), INNER4),
    "inner shorter than outer": (outer4(bytes(INNER4) + b"more"), INNER4 / Padding(b"more")),
    "inner of no payload": (outer6(EMPTY6, 41), EMPTY6),
}
UNTOUCHED = {
    "no tunnel": INNER4,
    "no tunnel, IPv6": INNER6,
    "another host's address": outer4(dst=WEB2.address),
    "another host's IPv6 address": outer6(dst=WEB2.address6),
    "the VIP": outer4(dst=VIP),
    "the IPv6 VIP": outer6(dst=VIP6),
    "an address that begins like ours": outer6(dst="cb00:7115::"),
    "wrong checksum": outer4(chksum=0x1234),
    "options": outer4(options=IPOption_NOP()),
    "an extension header": outer6(b"\4\0\1\4\0\0\0\0" + bytes(INNER4), 60),
    "fragment": outer4(frag=2),
    "more fragments": outer4(flags="MF"),
    "IPv6 fragment": outer6(b"\4\0\0\1\0\0\0\7" + bytes(INNER4), 44),
    "longer than the frame": outer4(len=200),
    "longer than the frame, IPv6": outer6(plen=200),
    "shorter than its header": outer4(len=19),
    "inner longer than outer": outer4(inner_of_length(len(INNER4) + 1)),
    "inner longer than outer, IPv6": outer6(INNER6, 41, plen=len(INNER6) - 1),
    "inner shorter than a header": outer4(inner_of_length(19)),
    "inner not IPv4": outer4(of_version(6, INNER4)),
    "inner not IPv6": outer4(of_version(4, INNER6), 41),
    "too short for an inner header": outer4(shorter(INNER4, 12)),
    "too short for an inner IPv6 header": outer6(shorter(INNER6, 39), 41),
    "other protocol": outer4(proto=50),
    "other UDP port": outer4(gue(INNER4, dport=OTHER_PORT), 17),
    "other UDP port, IPv6": outer6(gue(INNER4, dport=OTHER_PORT), 17),
    "UDP checksum": outer4(gue(INNER4, chksum=1), 17),
    "UDP longer than the packet": outer4(gue(INNER4, len=len(INNER4) + 9), 17),
    "UDP shorter than the packet": outer6(gue(INNER6, len=len(INNER6) + 7), 17),
    "GUE with a header": outer4(gue(b"\0\4\0\0" + bytes(INNER4)), 17),
    "GUE of nothing": outer4(gue(b""), 17),
    "GUE too short": outer6(gue(shorter(INNER6, 39)), 17),
    "GRE checksum": outer4(gre(INNER4, chksum_present=1), 47),
    "GRE key": outer4(gre(INNER4, key_present=1, key=7), 47),
    "GRE sequence number": outer6(gre(INNER4, seqnum_present=1), 47),
    "GRE version": outer4(b"\0\1" + bytes(gre(INNER4))[2:], 47),
    "GRE of something else": outer4(gre(INNER4, proto=0x6558), 47),
    "GRE of the other family": outer4(gre(INNER4, proto=0x86DD), 47),
    "GRE cut off": outer4(b"\0\0\x08", 47),
}


# Where they are sent.


class Wire(NamedTuple):
    """What lb1 sends, and what the stack of each server gets."""

    sent: socket.socket
    seen: dict[str, socket.socket]

    def send(self, server: Server, packet: Packet, tags: int = 0) -> bytes:
        """The packet that reaches the stack, behind its EtherType, without padding."""
        addresses = server.mac + bytes.fromhex("020000000001")
        tag = bytes.fromhex("81000007")
        self.sent.send((addresses + tag * tags + with_type(packet)).ljust(60, b"\0"))
        while not (frame := self.seen[server.name].recv(2048)).startswith(addresses):
            pass
        # The stack has taken off the first tag, and would cut the padding off later.
        between = addresses + tag * (tags - 1)
        assert frame.startswith(between)
        return frame[len(between) :].rstrip(b"\0")


@pytest.fixture(scope="module")
def wire(lab: Lab) -> Iterator[Wire]:
    sent = lab.host("lb1").socket(socket.AF_PACKET, socket.SOCK_RAW)
    sent.bind(("eth0", 0))
    seen = {
        server.name: lab.host(server.name).socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
        )
        for server in (WEB1, WEB2, WEB3)
    }
    for one in seen.values():
        one.settimeout(10)
    yield Wire(sent, seen)
    for one in (sent, *seen.values()):
        one.close()


@pytest.mark.parametrize(
    ("packet", "expected"),
    [pytest.param(*case, id=name) for name, case in DECAPSULATED.items()]
    + [pytest.param(packet, packet, id=name) for name, packet in UNTOUCHED.items()],
)
@pytest.mark.parametrize("tags", [0, 1, 2])
def test_decapsulation(wire: Wire, packet: Packet, expected: Packet, tags: int) -> None:
    assert wire.send(WEB1, packet, tags) == with_type(expected).rstrip(b"\0")


# Whose packets they are, and whom they are for.


def cases(name: str, server: Server, unpacked: bool, *options: Any, **more: Any) -> list[Any]:
    """Packets of all kinds, and what becomes of them."""
    return [
        pytest.param(server, packet, inner if unpacked else packet, id=f"{name}, {kind}")
        for kind, (packet, inner) in tunnels(*options, **more).items()
    ]


def for_address(address: str, address6: str) -> dict[str, Packet]:
    """Packets to others than the VIPs."""
    return {
        "4": IP(src=CLIENT, dst=address) / PAYLOAD,
        "6": IPv6(src=CLIENT6, dst=address6) / PAYLOAD,
    }


ANYONE, PORT = to(WEB2, STRANGER, STRANGER6), OTHER_PORT
INSIDE, BESIDE = ("203.0.113.15", "2001:db8:2::1f"), ("203.0.113.16", "2001:db8:2::20")
NO_VIP, SERVER = ("192.0.2.11", "2001:db8:ffff::11"), (WEB1.address, WEB1.address6)


@pytest.mark.parametrize(
    ("server", "packet", "expected"),
    [
        *cases("a stranger's", WEB1, False, to(WEB1, STRANGER, STRANGER6)),
        *cases("no balancer is known", WEB2, True, ANYONE, port=PORT),
        *cases("in the balancers' prefix", WEB3, True, to(WEB3, *INSIDE)),
        *cases("beside the balancers' prefix", WEB3, False, to(WEB3, *BESIDE)),
        *cases("for no VIP", WEB1, False, to(WEB1), for_address(*NO_VIP)),
        *cases("for the server", WEB1, False, to(WEB1), for_address(*SERVER)),
        *cases("for no VIP, from anyone", WEB2, False, ANYONE, for_address(*NO_VIP), port=PORT),
    ],
)
def test_whose_they_are(wire: Wire, server: Server, packet: Packet, expected: Packet) -> None:
    assert wire.send(server, packet) == with_type(expected).rstrip(b"\0")


@pytest.mark.parametrize("case", [name for name in tunnels(to(WEB2)) if "GUE" in name])
def test_the_port_of_gue(wire: Wire, case: str) -> None:
    there, inner = tunnels(to(WEB2), port=OTHER_PORT)[case]
    assert wire.send(WEB2, there) == with_type(inner)
    usual, _inner = tunnels(to(WEB2))[case]
    assert wire.send(WEB2, usual) == with_type(usual)


def counted(lab: Lab) -> list[int]:
    """How many packets were unpacked, were of no balancer, were for no VIP."""
    return list(python(lab.host("web1"), looking.unpacked))


def test_counters(lab: Lab, wire: Wire) -> None:
    before = counted(lab)
    for source, vip in ((LB1, VIP), (STRANGER, VIP), (STRANGER, CLIENT), (LB1, CLIENT)):
        wire.send(WEB1, outer4(IP(src=CLIENT, dst=vip) / PAYLOAD, src=source))
    wire.send(WEB1, INNER4)
    assert [now - then for now, then in zip(counted(lab), before)] == [1, 2, 1]


def test_who_is_answered(lab: Lab, wire: Wire) -> None:
    """A balancer's request is answered directly; a stranger's, which comes before it, never."""
    with lab.host("client").socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
        client.settimeout(10)
        for source, number in ((STRANGER, 76), (LB1, 77)):
            request = IP(src=CLIENT, dst=VIP) / ICMP(id=number) / Raw(b"who?")
            wire.send(WEB1, outer4(request, src=source))
        answer = IP(client.recv(2048))
    assert (answer.src, answer.dst, answer[ICMP].id) == (VIP, CLIENT, 77)
    assert answer[Raw].load == b"who?"
