# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel's messages say, as it writes them."""

from __future__ import annotations

import contextlib
import struct
from ipaddress import ip_address

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import KernelError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import (
    netlink,
    routes,
    rtnetlink,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.rtnetlink import (
    LinkEntry,
    Vlan,
)

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_LINK_NETNSID = 18, 37
INFO_KIND, INFO_DATA = 1, 2
VLAN_ID, VLAN_PROTOCOL = 1, 5
NESTED = 0x8000

MAC = bytes.fromhex("02000000000b")


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def info(kind: str, *data: bytes) -> bytes:
    content = attribute(INFO_KIND, kind.encode() + b"\0")
    if data:
        content += attribute(INFO_DATA | NESTED, b"".join(data))
    return attribute(IFLA_LINKINFO | NESTED, content)


def vlan(protocol: int, tag: int) -> bytes:
    return info(
        "vlan",
        attribute(VLAN_ID, struct.pack("=H", tag)),
        attribute(VLAN_PROTOCOL, struct.pack(">H", protocol)),
    )


def message(*attributes: bytes) -> bytes:
    head = struct.pack("=BxHiII", 0, 1, 7, 0x1003, 0)
    common = (
        attribute(IFLA_IFNAME, b"eth7\0"),
        number(IFLA_MTU, 1500),
        attribute(IFLA_ADDRESS, MAC),
    )
    return head + b"".join((*common, *attributes))


@pytest.mark.parametrize(
    ("attributes", "kind", "master", "lower", "tag"),
    [
        pytest.param((), "", 0, 0, None, id="hardware"),
        pytest.param((info("bridge"),), "bridge", 0, 0, None, id="bridge"),
        pytest.param((number(IFLA_MASTER, 3), info("veth")), "veth", 3, 0, None, id="port"),
        pytest.param((number(IFLA_LINK, 2), info("macvlan")), "macvlan", 0, 2, None, id="macvlan"),
        pytest.param(
            (number(IFLA_LINK, 2), info("macvlan"), number(IFLA_LINK_NETNSID, 0)),
            "macvlan",
            0,
            0,
            None,
            id="on an interface of another namespace",
        ),
        pytest.param(
            (number(IFLA_LINK, 2), vlan(0x8100, 100)), "vlan", 0, 2, Vlan(0x8100, 100), id="vlan"
        ),
        pytest.param(
            (number(IFLA_LINK, 2), vlan(0x88A8, 4094)), "vlan", 0, 2, Vlan(0x88A8, 4094), id="ad"
        ),
    ],
)
def test_links_say_their_kind(
    monkeypatch: pytest.MonkeyPatch,
    attributes: tuple[bytes, ...],
    kind: str,
    master: int,
    lower: int,
    tag: Vlan | None,
) -> None:
    monkeypatch.setattr(rtnetlink.netlink, "dump", lambda *_arguments: [message(*attributes)])

    assert rtnetlink.links() == [
        LinkEntry(7, "eth7", 0x1003, MAC, 1500, 0, 0, kind, master, lower, tag)
    ]


def test_links_have_alternative_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """As bytes, which need be no UTF-8."""
    names = attribute(53, b"a-name-of-more-than-15-bytes\0") + attribute(53, b"a\xff\0")
    sent = [message(attribute(52 | NESTED, names))]
    monkeypatch.setattr(rtnetlink.netlink, "dump", lambda *_arguments: sent)
    (entry,) = rtnetlink.links()
    assert entry.alternatives == ("a-name-of-more-than-15-bytes", "a\udcff")


def answer(flags: int, request: bytes, *attributes: bytes) -> rtnetlink.netlink.Message:
    body = struct.pack("=i", -34) + request + b"".join(attributes)
    return rtnetlink.netlink.Message(2, flags, 0, body)


WORDS = attribute(1, b"veth: Peer MTU is too large\0")
HEADER = struct.pack("=IHHI4x", 22, 19, 5, 0)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(0x300, HEADER, WORDS), "veth: Peer MTU is too large"),
        (answer(0x200, HEADER + b"6bytes\0\0", WORDS), "veth: Peer MTU is too large"),
        (answer(0x300, HEADER, number(2, 16), attribute(1, b"\x1b[31m\xff\0")), "\\x1b[31m\ufffd"),
        (answer(0x100, HEADER), ""),
        (answer(0x300, HEADER), ""),
    ],
    ids=["short", "with the request", "anything", "an old kernel", "no words"],
)
def test_the_kernels_words(said: rtnetlink.netlink.Message, words: str) -> None:
    assert rtnetlink.netlink.reason(said) == words


class Changing:
    """A kernel whose interfaces change while they are listed, for so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def send(self, _request: bytes) -> None:
        pass

    def recv(self, _size: int) -> bytes:
        """The end of a listing (NLMSG_DONE), with NLM_F_DUMP_INTR if it is not whole."""
        self.times -= 1
        return struct.pack("=IHHI4x", 16, 3, 0x10 if self.times >= 0 else 0, 0)


@pytest.mark.parametrize(("times", "fails"), [(0, False), (9, False), (10, True)])
def test_a_listing_is_whole(monkeypatch: pytest.MonkeyPatch, times: int, fails: bool) -> None:
    kernel = Changing(times)
    monkeypatch.setattr(
        rtnetlink.netlink, "connect", lambda *_arguments: contextlib.nullcontext(kernel)
    )
    if not fails:
        assert rtnetlink.links() == []
        return
    with pytest.raises(KernelError, match="changed 10 times while it was read; run again"):
        rtnetlink.links()


@pytest.mark.parametrize("length", range(9))
def test_attributes_follow_each_other_as_the_kernel_reads_them(length: int) -> None:
    two = netlink.attribute(1, bytes(length)) + netlink.attribute(2, b"next")
    assert len(two) % 4 == 0
    assert netlink.attributes(two) == {1: bytes(length), 2: b"next"}


def test_requests_for_routes_follow_each_other() -> None:
    """The kernel reads on at the next multiple of four, and is silent if no message is there."""
    for text in ("203.0.113.21", "2001:db8::21"):
        address = ip_address(text)
        for source in (None, address):
            request = routes._request(0, address, routes._from(address.version, source))
            assert len(request) % 4 == 0


def test_a_kernel_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "PATIENCE", 0.01)
    with pytest.raises(KernelError, match="no answer for"), netlink.connect() as kernel:
        list(netlink.received(kernel))


NEWLINK, NEWROUTE, NEWNEIGH, DELNEIGH, NDA_DST, NDA_PROTOCOL = 16, 24, 28, 29, 1, 12


def removed(*attributes: bytes) -> bytes:
    """That a neighbour is."""
    body = struct.pack("=4xiH2x", 2, 0) + attribute(NDA_DST, bytes(4)) + b"".join(attributes)
    return netlink.message(DELNEIGH, 0, 0, body)


HEARD = {
    "a link": (netlink.message(NEWLINK, 0, 0, bytes(16)), True),
    "a route": (netlink.message(NEWROUTE, 0, 0, bytes(12)), True),
    "a neighbour of ours": (removed(attribute(NDA_PROTOCOL, b"\xd6")), True),
    "somebody else's": (removed(attribute(NDA_PROTOCOL, b"\x10")), False),
    "a neighbour of nobody": (removed(), False),
    "one of several": (removed() + removed(attribute(NDA_PROTOCOL, b"\xd6")), True),
    "nothing": (BlockingIOError(), False),
    "more than there is room for": (OSError(105, "No buffer space available"), True),
}


@pytest.mark.parametrize(("comes", "counts"), HEARD.values(), ids=HEARD)
def test_what_counts_as_a_change(
    monkeypatch: pytest.MonkeyPatch, comes: bytes | Exception, counts: bool
) -> None:
    class Kernel:
        def recv(self, _size: int) -> bytes:
            if isinstance(comes, Exception):
                raise comes
            return comes

    def subscribe(groups: object, but_for: int) -> Kernel:
        assert groups and but_for == NEWNEIGH
        return Kernel()

    monkeypatch.setattr(netlink, "subscribe", subscribe)
    assert rtnetlink.Changes(214).heard() == counts
