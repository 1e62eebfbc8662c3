# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which interfaces get what comes in by eth0, however they stand on each other."""

from __future__ import annotations

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Receivers
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import stack
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.rtnetlink import (
    LinkEntry,
    Vlan,
)

ETH0 = 2


def link(
    index: int,
    kind: str = "",
    *,
    master: int = 0,
    lower: int = 0,
    vlan: int | None = None,
    mac: int | None = None,
    protocol: int = 0x8100,
) -> LinkEntry:
    """mac: its last byte; default: the index."""
    return LinkEntry(
        index=index,
        name=f"link{index}",
        flags=0,
        mac=bytes.fromhex(f"0200000000{index if mac is None else mac:02x}"),
        mtu=1500,
        xdp_mode=0,
        xdp_program=0,
        kind=kind,
        master=master,
        lower=lower,
        vlan=None if vlan is None else Vlan(protocol, vlan),
    )


def mac(last: int) -> str:
    return f"02:00:00:00:00:{last:02x}"


def tag(index: int, number: int, lower: int = ETH0, **more: int) -> LinkEntry:
    return link(index, "vlan", lower=lower, vlan=number, **more)


ALONE = [link(ETH0), link(3), link(4, "bridge"), link(5, "macvlan", lower=3), tag(6, 1, lower=3)]

CASES: dict[str, tuple[list[LinkEntry], Receivers]] = {
    "alone": (ALONE, Receivers((), {0: ETH0})),
    "port of a bridge": (
        [link(ETH0, master=3), link(3, "bridge")],
        Receivers((mac(3),), {0: 3}),
    ),
    "port of a bridge that has its address": (
        [link(ETH0, master=3), link(3, "bridge", mac=ETH0)],
        Receivers((), {0: 3}),
    ),
    "another port's bridge": (
        [link(ETH0), link(3, "bridge"), link(4, master=3)],
        Receivers((), {0: ETH0}),
    ),
    "slave of a bond": (
        [link(ETH0, master=3), link(3, "bond", mac=ETH0)],
        Receivers((), {0: 3}),
    ),
    "slave of a bond that is a port of a bridge": (
        [link(ETH0, master=3), link(3, "bond", master=4), link(4, "bridge")],
        Receivers((mac(3), mac(4)), {0: 4}),
    ),
    "slave of a team": (
        [link(ETH0, master=3), link(3, "team")],
        Receivers((mac(3),), {0: 3}),
    ),
    "in a VRF": (
        [link(ETH0, master=3), link(3, "vrf")],
        Receivers((), {0: ETH0}),
    ),
    "port of a switch that does not say who receives": (
        [link(ETH0, master=3), link(3, "openvswitch")],
        Receivers((), {0: ETH0}),
    ),
    "with VLANs": (
        [link(ETH0), tag(3, 100, mac=ETH0), tag(4, 200)],
        Receivers((mac(4),), {0: ETH0, 100: 3, 200: 4}),
    ),
    "with a VLAN that is a port of a bridge": (
        [link(ETH0), tag(3, 100, mac=ETH0, master=4), link(4, "bridge")],
        Receivers((mac(4),), {0: ETH0, 100: 4}),
    ),
    "with a VLAN of its bond": (
        [link(ETH0, master=3), link(3, "bond", mac=ETH0), tag(4, 100, lower=3, mac=ETH0)],
        Receivers((), {0: 3, 100: 4}),
    ),
    "with the same VLAN below and above a bridge": (
        [link(ETH0, master=3), link(3, "bridge"), tag(4, 100, lower=3), tag(5, 100)],
        Receivers((mac(3), mac(4), mac(5)), {0: 3, 100: 5}),
    ),
    "with a VLAN in a VLAN": (
        [link(ETH0), tag(3, 100, protocol=0x88A8, mac=ETH0), tag(4, 7, lower=3)],
        Receivers((mac(4),), {0: ETH0, 100: 3}),
    ),
    "with macvlans": (
        [link(ETH0), link(3, "macvlan", lower=ETH0), link(4, "macvlan", lower=ETH0)],
        Receivers((mac(3), mac(4)), {0: ETH0}, {mac(3): 3, mac(4): 4}),
    ),
    "with keepalived's macvlan on a VLAN": (
        [link(ETH0), tag(3, 100, mac=ETH0), link(4, "macvlan", lower=3)],
        Receivers((mac(4),), {0: ETH0, 100: 3}, {mac(4): 4}),
    ),
    "with macvlans of one address in different VLANs": (
        [
            link(ETH0),
            tag(3, 100, mac=ETH0),
            tag(4, 200, mac=ETH0),
            link(5, "macvlan", lower=3, mac=0x55),
            link(6, "macvlan", lower=4, mac=0x55),
        ],
        Receivers((mac(0x55),), {0: ETH0, 100: 3, 200: 4}),
    ),
    "with a macvlan on its bond": (
        [link(ETH0, master=3), link(3, "bond", mac=ETH0), link(4, "macvlan", lower=3)],
        Receivers((mac(4),), {0: 3}, {mac(4): 4}),
    ),
    "with a macvlan that is a port of a bridge": (
        [link(ETH0), link(3, "macvlan", lower=ETH0, master=4), link(4, "bridge")],
        Receivers((mac(3), mac(4)), {0: ETH0}, {mac(3): 4}),
    ),
    "with a peer": (
        [link(ETH0, "veth", lower=3), link(3, "veth", lower=ETH0)],
        Receivers((), {0: ETH0}),
    ),
    "below an interface that has no MAC address": (
        [link(ETH0, master=3), LinkEntry(3, "b", 0, b"", 1500, 0, 0, "bridge")],
        Receivers((), {0: 3}),
    ),
    "port of a bridge that has gone meanwhile": (
        [link(ETH0, master=3)],
        Receivers((), {0: ETH0}),
    ),
}


@pytest.mark.parametrize(("links", "expected"), CASES.values(), ids=CASES)
def test_receivers(links: list[LinkEntry], expected: Receivers) -> None:
    (interface,) = (entry for entry in links if entry.index == ETH0)
    assert stack.receivers(interface, links) == expected
    assert stack.receivers(interface, links[::-1]) == expected
