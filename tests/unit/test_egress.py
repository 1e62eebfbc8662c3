# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which interface frames leave, and with which tags, whatever routes name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.egress_record import (
    Egress,
    EgressKey,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.rtnetlink import (
    LinkEntry,
    PortVlans,
    Vlan,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.routing.egress import (
    Exit,
    Exits,
    Settled,
    Surroundings,
    has_vlans,
    holder,
    is_native,
    leading_to_bridges,
    settle,
)

BASIC, REDIRECT, TAKES = 1, 2, 4
NOARP, UP = 0x80, 0x1
NATIVE, GENERIC = 1, 2
ETH0, ETH1, ETH2 = 2, 3, 4
"""The balanced interface; one that takes redirects; one that does so once it has a program."""
FEATURES = {ETH0: 3, ETH1: 7, ETH2: 3}
SERVER, OTHER = "52:54:00:00:00:0b", "52:54:00:00:00:0c"
Q, AD = 0x8100, 0x88A8


def link(index: int, kind: str = "", **fields: Any) -> LinkEntry:
    name = fields.pop("name", {2: "eth0", 3: "eth1", 4: "eth2"}.get(index, f"{kind}{index}"))
    defaults = {"flags": UP, "mac": bytes(5) + bytes([index]), "mtu": 1500}
    defaults |= {"xdp_mode": 0, "xdp_program": 0}
    return LinkEntry(index, name, **{**defaults, "kind": kind, **fields})


HARDWARE = (link(ETH0), link(ETH1), link(ETH2))


def vlan(index: int, lower: int, number: int, protocol: int = Q, **fields: Any) -> LinkEntry:
    return link(index, "vlan", lower=lower, vlan=Vlan(protocol, number), **fields)


def over(*more: LinkEntry, **fields: Any) -> Surroundings:
    """A host with these links besides its hardware; a later one replaces an earlier one."""
    links = {one.index: one for one in (*HARDWARE, *more)}
    features = {**FEATURES, **fields.pop("features", {})}
    return Surroundings(list(links.values()), features, **fields)


TRANSMIT, BY_ETH1 = Egress(0), Egress(ETH1)
PORT: dict[str, Any] = {"master": 9}
BRIDGE = link(9, "bridge")
BRIDGED = (BRIDGE, replace(HARDWARE[0], **PORT), link(10, "tun", **PORT))
"""As a hypervisor: the balanced interface and a guest's."""
TAP = {10: BASIC | REDIRECT | TAKES}
INSIDE = (BRIDGE, link(10, "veth", **PORT), link(11, "veth", **PORT))
"""A bridge between containers."""
VETHS = {10: TAKES, 11: TAKES}


def heard(mac: str, port: int, number: int = 0, bridge: int = 9) -> dict[str, Any]:
    return {"forwarding": {(bridge, number, bytes.fromhex(mac.replace(":", ""))): port}}


CASES: dict[str, tuple[Surroundings, int, Egress | None, str]] = {
    # The balanced interface, and hardware beside it.
    "the balanced interface": (over(), ETH0, TRANSMIT, ""),
    "one that takes redirects": (over(), ETH1, BY_ETH1, ""),
    "one that takes them with a program": (over(), ETH2, Egress(ETH2), "program"),
    "one that has our program for that": (
        over(passing={ETH2}, features={ETH2: 7}),
        ETH2,
        Egress(ETH2),
        "program",
    ),
    "one that has somebody's native program": (
        over(link(ETH2, xdp_program=5, xdp_mode=NATIVE), features={ETH2: 7}),
        ETH2,
        Egress(ETH2),
        "",
    ),
    "one that has somebody's generic program": (
        over(link(ETH2, xdp_program=5, xdp_mode=GENERIC)),
        ETH2,
        None,
        "another XDP program",
    ),
    "one without XDP": (over(features={ETH2: 0}), ETH2, None, "the driver of eth2"),
    "one with XDP, but without redirects": (
        over(features={ETH2: BASIC}),
        ETH2,
        None,
        "the driver of eth2",
    ),
    "one that has gone": (over(), 77, None, "gone"),
    # VLAN devices.
    "a VLAN on the balanced interface": (over(vlan(5, ETH0, 100)), 5, Egress(0, ((Q, 100),)), ""),
    "a provider's": (over(vlan(5, ETH0, 100, AD)), 5, Egress(0, ((AD, 100),)), ""),
    "a VLAN on another": (over(vlan(5, ETH1, 100)), 5, Egress(ETH1, ((Q, 100),)), ""),
    "a VLAN on one that takes them with a program": (
        over(vlan(5, ETH2, 100)),
        5,
        Egress(ETH2, ((Q, 100),)),
        "program",
    ),
    "a VLAN with a program on one that has it already": (
        over(vlan(5, ETH2, 100, xdp_mode=2, xdp_program=7), passing=[ETH2]),
        5,
        Egress(ETH2, ((Q, 100),)),
        "program",
    ),
    "a VLAN with a program on one that takes them with a program": (
        over(vlan(5, ETH2, 100, xdp_mode=2, xdp_program=7)),
        5,
        None,
        "gets none while vlan5 has one",
    ),
    "a VLAN on one that cannot": (
        over(vlan(5, ETH2, 100), features={ETH2: 0}),
        5,
        None,
        "the driver of eth2",
    ),
    "a VLAN on an interface of another namespace": (over(vlan(5, 0, 100)), 5, None, "namespace"),
    "a VLAN on a VLAN": (
        over(vlan(5, ETH0, 100, AD), vlan(6, 5, 200)),
        6,
        Egress(0, ((AD, 100), (Q, 200))),
        "",
    ),
    "three of them": (
        over(vlan(5, ETH0, 1), vlan(6, 5, 2), vlan(7, 6, 3)),
        7,
        None,
        "more than 2 VLAN tags",
    ),
    # Macvlans, as keepalived's.
    "a macvlan": (over(link(5, "macvlan", lower=ETH0)), 5, TRANSMIT, ""),
    "a macvlan on another": (over(link(5, "macvlan", lower=ETH1)), 5, BY_ETH1, ""),
    "a macvlan on a VLAN": (
        over(vlan(5, ETH0, 7), link(6, "macvlan", lower=5)),
        6,
        Egress(0, ((Q, 7),)),
        "",
    ),
    "a macvlan of a container": (over(link(5, "macvlan")), 5, None, "namespace"),
    # Bonds.
    "the bond above": (
        over(link(5, "bond"), replace(HARDWARE[0], master=5)),
        5,
        TRANSMIT,
        "",
    ),
    "the team above": (over(link(5, "team"), replace(HARDWARE[0], master=5)), 5, TRANSMIT, ""),
    "a VLAN on the bond above": (
        over(link(5, "bond"), replace(HARDWARE[0], master=5), vlan(6, 5, 100)),
        6,
        Egress(0, ((Q, 100),)),
        "",
    ),
    "another bond": (over(link(5, "bond"), features={5: 7}), 5, Egress(5), ""),
    "another bond, of what takes them with a program": (
        over(link(5, "bond"), features={5: 3}),
        5,
        Egress(5),
        "program",
    ),
    "another bond, of what cannot": (over(link(5, "bond"), features={5: 0}), 5, None, "the driver"),
    # Bridges.
    "the bridge above, next hop not heard": (over(*BRIDGED, features=TAP), 9, TRANSMIT, ""),
    "the bridge above, next hop behind it": (
        over(*BRIDGED, features=TAP, **heard(SERVER, ETH0)),
        9,
        TRANSMIT,
        "",
    ),
    "the bridge above, next hop a guest": (
        over(*BRIDGED, features=TAP, **heard(SERVER, 10)),
        9,
        Egress(10),
        "",
    ),
    "the bridge above, another is a guest": (
        over(*BRIDGED, features=TAP, **heard(OTHER, 10)),
        9,
        TRANSMIT,
        "",
    ),
    "the bridge above, next hop a guest that cannot": (
        over(*BRIDGED, **heard(SERVER, 10)),
        9,
        None,
        "the driver of tun10",
    ),
    "the bridge above, heard behind a port of another": (
        over(*BRIDGED, features=TAP, **heard(SERVER, 10, bridge=8)),
        9,
        TRANSMIT,
        "",
    ),
    "the bridge above, but blocked": (
        over(BRIDGE, replace(HARDWARE[0], master=9, is_blocked=True), link(ETH1, master=9)),
        9,
        BY_ETH1,
        "",
    ),
    "the bridge above the bond above": (
        over(BRIDGE, link(5, "bond", master=9), replace(HARDWARE[0], master=5)),
        9,
        TRANSMIT,
        "",
    ),
    "a bridge above a VLAN": (
        over(BRIDGE, vlan(5, ETH0, 100, **PORT), link(10, "tun", **PORT), features=TAP),
        9,
        Egress(0, ((Q, 100),)),
        "",
    ),
    "a VLAN on the bridge above": (
        over(*BRIDGED, vlan(5, 9, 100), features=TAP, **heard(SERVER, 10)),
        5,
        Egress(10, ((Q, 100),)),
        "",
    ),
    "another bridge of one port": (over(BRIDGE, link(ETH1, **PORT)), 9, BY_ETH1, ""),
    "another bridge of one port, heard nowhere": (
        over(BRIDGE, link(ETH1, **PORT), **heard(OTHER, ETH1)),
        9,
        BY_ETH1,
        "",
    ),
    "another bridge": (over(*INSIDE, features=VETHS, **heard(SERVER, 11)), 9, Egress(11), ""),
    "another bridge, not heard": (over(*INSIDE, features=VETHS), 9, None, "not heard"),
    "another bridge, heard behind a port that is down": (
        over(
            BRIDGE,
            link(10, "veth", **PORT),
            link(11, "veth", **PORT, is_blocked=True),
            link(12, "veth", **PORT),
            features={**VETHS, 12: TAKES},
            **heard(SERVER, 11),
        ),
        9,
        None,
        "not heard",
    ),
    "a bridge of one port that cannot": (
        over(BRIDGE, link(10, "veth", **PORT), features={10: 3}),
        9,
        None,
        "the other end of veth10",
    ),
    "a bridge without ports": (over(BRIDGE), 9, None, "no port"),
    # All others.
    "a veth": (over(link(5, "veth"), features={5: TAKES}), 5, Egress(5), ""),
    "a veth without GRO at its other end": (
        over(link(5, "veth"), features={5: 3}),
        5,
        None,
        "the other end of veth5",
    ),
    "a tap": (over(link(5, "tun"), features={5: 7}), 5, Egress(5), ""),
    "a tun": (over(link(5, "tun", flags=NOARP, mac=b""), features={5: 7}), 5, None, "no Ethernet"),
    "an ipip": (over(link(5, "ipip", flags=NOARP, mac=bytes(4))), 5, None, "no Ethernet"),
    "a gretap": (over(link(5, "gretap")), 5, None, "the driver of gretap5"),
    "a vxlan": (over(link(5, "vxlan")), 5, None, "the driver of vxlan5"),
    "a dummy": (over(link(5, "dummy", flags=NOARP)), 5, None, "no Ethernet"),
    "a loopback": (over(link(1, flags=0x8, mac=bytes(6), name="lo")), 1, None, "no Ethernet"),
}


@pytest.mark.parametrize(("host", "index", "egress", "because"), CASES.values(), ids=CASES)
def test_how_frames_leave(
    host: Surroundings, index: int, egress: Egress | None, because: str
) -> None:
    found = Exits(ETH0, host).of(index, SERVER)
    assert found.egress == egress
    assert found.needs_program is (because == "program")
    assert bool(found.reason) is (egress is None)
    if not egress:
        assert because in found.reason
    assert found.unknown is (because == "not heard")


@pytest.mark.parametrize(("host", "index"), [case[:2] for case in CASES.values()], ids=CASES)
def test_in_mode_generic_all_that_carries_frames_takes_them(host: Surroundings, index: int) -> None:
    """They pass through the stack, which adds the tags, and knows bridges."""
    there = {one.index: one for one in host.links}
    ethernet = index in there and not there[index].flags & (NOARP | 0x8)
    found = Exits(ETH0, host, generic=True).of(index, SERVER)
    expected = Egress(0) if index == ETH0 else Egress(index)
    assert found == (Exit(expected) if ethernet else Exit(None, found.reason))


PVID = PortVlans(1, frozenset({1}), frozenset({1}))
TRUNK = PortVlans(1, frozenset({1, 100}), frozenset({1}))
ACCESS = PortVlans(100, frozenset({100}), frozenset({100}))
NO_UNTAGGED = PortVlans(0, frozenset({100}), frozenset())
FILTERING = (
    link(9, "bridge", filters_vlans=True),
    replace(HARDWARE[0], **PORT),
    link(ETH1, **PORT),
    vlan(5, 9, 100),
    vlan(6, 5, 200),
    vlan(7, 9, 100, AD),
)


@pytest.mark.parametrize(
    ("own", "eth0", "eth1", "index", "behind", "egress"),
    [
        pytest.param(PVID, PVID, PVID, 9, None, TRANSMIT, id="untagged, as it is by default"),
        pytest.param(PVID, PVID, PVID, 9, (1, ETH1), BY_ETH1, id="untagged, behind another port"),
        pytest.param(PVID, PVID, PVID, 9, (100, ETH1), TRANSMIT, id="heard in another VLAN"),
        pytest.param(TRUNK, TRUNK, PVID, 5, None, Egress(0, ((Q, 100),)), id="a trunk"),
        pytest.param(TRUNK, ACCESS, PVID, 5, None, TRANSMIT, id="an access port"),
        pytest.param(
            TRUNK, TRUNK, ACCESS, 5, (100, ETH1), BY_ETH1, id="an access port beside a trunk"
        ),
        pytest.param(TRUNK, PVID, TRUNK, 5, None, Egress(ETH1, ((Q, 100),)), id="the only member"),
        pytest.param(TRUNK, PVID, PVID, 5, None, None, id="no port is a member"),
        pytest.param(PVID, TRUNK, TRUNK, 5, None, None, id="the bridge itself is no member"),
        pytest.param(NO_UNTAGGED, TRUNK, TRUNK, 9, None, None, id="it takes nothing untagged"),
        pytest.param(ACCESS, TRUNK, PVID, 9, None, Egress(0, ((Q, 100),)), id="its own is tagged"),
        pytest.param(
            TRUNK, TRUNK, PVID, 6, None, Egress(0, ((Q, 100), (Q, 200))), id="a VLAN on a VLAN"
        ),
        pytest.param(PVID, PVID, PVID, 7, None, Egress(0, ((AD, 100),)), id="a provider's tag"),
        pytest.param(
            ACCESS, TRUNK, PVID, 7, None, Egress(0, ((Q, 100), (AD, 100))), id="and one around it"
        ),
    ],
)
def test_bridges_that_filter_vlans(
    own: PortVlans,
    eth0: PortVlans,
    eth1: PortVlans,
    index: int,
    behind: tuple[int, int] | None,
    egress: Egress | None,
) -> None:
    learned = heard(SERVER, behind[1], behind[0]) if behind else {}
    host = over(*FILTERING, vlans={9: own, ETH0: eth0, ETH1: eth1}, **learned)
    assert Exits(ETH0, host).of(index, SERVER).egress == egress


@pytest.mark.parametrize(
    ("links", "index", "drivers", "egress", "needs"),
    [
        pytest.param((), ETH1, {ETH1: "virtio_net"}, BY_ETH1, True, id="a driver that is known"),
        pytest.param((), ETH1, {ETH1: "e1000e"}, None, False, id="one that is not"),
        pytest.param((), ETH1, {}, None, False, id="none"),
        pytest.param(
            (link(ETH1, xdp_program=5, xdp_mode=NATIVE),),
            ETH1,
            {ETH1: "virtio_net"},
            BY_ETH1,
            False,
            id="with a program",
        ),
        pytest.param((link(5, "veth"),), 5, {}, Egress(5), False, id="veth"),
        pytest.param((link(5, "tun"),), 5, {}, Egress(5), False, id="tap"),
        pytest.param((link(5, "bond"),), 5, {}, Egress(5), True, id="bond"),
        pytest.param((link(5, "vxlan"),), 5, {}, None, False, id="vxlan"),
    ],
)
def test_kernels_that_do_not_tell_features(
    links: tuple[LinkEntry, ...],
    index: int,
    drivers: dict[int, str],
    egress: Egress | None,
    needs: bool,
) -> None:
    there = {one.index: one for one in (*HARDWARE, *links)}
    found = Exits(ETH0, Surroundings(list(there.values()), None, drivers)).of(index)
    assert (found.egress, found.needs_program) == (egress, needs)


# The table of all of them.


def settled(
    host: Surroundings,
    addressed: set[int],
    hops: set[EgressKey],
    known: dict[EgressKey, Egress] | None = None,
) -> Settled:
    return settle(Exits(ETH0, host), addressed, hops, known or {})


def test_all_interfaces_with_addresses_are_settled() -> None:
    """So that a route may move to another; but nothing is done to an interface for that."""
    host = over(vlan(5, ETH0, 100), link(6, "gretap"), link(7, "veth"), features={7: TAKES})
    found = settled(host, {ETH0, ETH1, ETH2, 5, 6, 7}, {(ETH1, "")})
    assert found == Settled(
        {
            (ETH0, ""): TRANSMIT,
            (ETH1, ""): BY_ETH1,
            (5, ""): Egress(0, ((Q, 100),)),
            (7, ""): Egress(7),
        }
    )


def test_what_has_no_address_is_settled_if_it_is_used() -> None:
    host = over(vlan(5, ETH0, 100), vlan(6, ETH0, 200))
    assert settled(host, set(), {(5, "")}).table == {
        (ETH0, ""): TRANSMIT,
        (5, ""): Egress(0, ((Q, 100),)),
    }


def test_what_needs_a_program_gets_one_only_if_it_is_used() -> None:
    host = over(vlan(5, ETH2, 100))
    assert settled(host, {ETH2, 5}, set()) == Settled({(ETH0, ""): TRANSMIT})
    used = settled(host, {ETH2, 5}, {(5, SERVER)})
    assert used.programs == {ETH2}
    assert used.table == {(ETH0, ""): TRANSMIT, (5, ""): Egress(ETH2, ((Q, 100),))}


def test_what_cannot_be_is_a_problem_of_the_next_hop() -> None:
    host = over(link(6, "gretap"), *INSIDE, features=VETHS)
    found = settled(host, {6, 9}, {(6, SERVER), (9, OTHER), (ETH1, SERVER)})
    assert found.table == {(ETH0, ""): TRANSMIT, (ETH1, ""): BY_ETH1}
    assert found.problems.keys() == {(6, SERVER), (9, OTHER)}
    assert not found.problems[6, SERVER].unknown
    assert found.problems[9, OTHER].unknown


def test_next_hops_of_a_bridge_are_told_apart_where_they_differ() -> None:
    host = over(*BRIDGED, features=TAP, **heard(SERVER, 10))
    assert settled(host, {9}, {(9, SERVER), (9, OTHER)}).table == {
        (ETH0, ""): TRANSMIT,
        (9, ""): TRANSMIT,
        (9, SERVER): Egress(10),
    }


@pytest.mark.parametrize("above", [BRIDGED, INSIDE], ids=["the bridge above", "another bridge"])
def test_what_a_bridge_has_forgotten_still_holds(above: tuple[LinkEntry, ...]) -> None:
    """It forgets who was silent for five minutes. Where a next hop has moved, it knows."""
    features = {**TAP, **VETHS}
    known = settled(over(*above, features=features, **heard(SERVER, 10)), {9}, {(9, SERVER)}).table
    assert known[9, SERVER] == Egress(10)
    forgotten = over(*above, features=features)
    assert settled(forgotten, {9}, {(9, SERVER)}, known).table == known
    port = next(one.index for one in above[1:] if one.index != 10)
    moved = settled(
        over(*above, features=features, **heard(SERVER, port)), {9}, {(9, SERVER)}, known
    )
    assert moved.table.get((9, SERVER)) == (Egress(port) if port != ETH0 else None)
    gone = over(above[0], above[1], features=features)
    assert settled(gone, {9}, {(9, SERVER)}, known).table.get((9, SERVER)) is None


def test_a_bridge_matters_also_below_others() -> None:
    links = [*HARDWARE, *BRIDGED, vlan(5, 9, 100), vlan(6, ETH0, 100), vlan(7, 0, 100)]
    assert leading_to_bridges(links) == {9, 5}


@pytest.mark.parametrize(
    ("features", "native"), [(None, True), ({}, False), ({ETH0: BASIC}, True), ({ETH0: 0}, False)]
)
def test_what_drivers_can_do(features: dict[int, int] | None, native: bool) -> None:
    assert is_native(ETH0, Surroundings(HARDWARE, features)) is native


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ((), False),
        ((vlan(5, ETH0, 100),), True),
        ((vlan(5, ETH1, 100),), False),
        ((vlan(5, 9, 100), *BRIDGED), True),
        ((vlan(5, 8, 100), *BRIDGED, link(8, "bridge")), False),
        ((vlan(6, 5, 100), link(5, "bond"), replace(HARDWARE[0], master=5)), True),
    ],
)
def test_whether_frames_with_tags_are_for_the_host(
    links: tuple[LinkEntry, ...], expected: bool
) -> None:
    assert has_vlans(ETH0, {one.index: one for one in (*HARDWARE, *links)}.values()) is expected


@pytest.mark.parametrize(
    ("links", "name"),
    [
        ((vlan(5, ETH0, 100),), None),
        ((vlan(5, ETH0, 100, xdp_program=7),), "vlan5"),
        ((vlan(5, ETH1, 100, xdp_program=7),), None),
        ((link(8, "bridge", xdp_program=7), replace(HARDWARE[0], master=8)), "bridge8"),
        ((link(8, "veth", lower=ETH0, xdp_program=7),), None),
    ],
)
def test_whose_program_keeps_others_away_below(
    links: tuple[LinkEntry, ...], name: str | None
) -> None:
    host = {one.index: one for one in (*HARDWARE, *links)}
    found = holder(host[ETH0], host.values())
    assert (found.name if found else None) == name
