# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a balancer speaks BGP: what may be said, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.filter.bgp import COMMON, OF_A_PEER, bgp

ROLE = Path(__file__).resolve().parents[2] / "roles/l4lb_bgp"
ROUTER, ROUTER6 = "203.0.113.1", "2001:db8:2::1"


def options(*peers: object, **others: Any) -> dict[str, Any]:
    return {"asn": 64512, "peers": list(peers), **others}


def peer(address: str = ROUTER, **others: Any) -> dict[str, Any]:
    return {"address": address, "asn": 64500, **others}


def test_what_is_not_said() -> None:
    assert bgp(options(peer(), peer(ROUTER6, name="six"))) == {
        "asn": 64512,
        "router_id": None,
        "hold_time": 90,
        "bfd": True,
        "bfd_interval": 100,
        "bfd_multiplier": 3,
        "peers": [
            {
                "name": "peer_203_0_113_1",
                "address": ROUTER,
                "asn": 64500,
                "source": None,
                "password": None,
                "multihop": None,
                "med": None,
                "communities": [],
                "families": [{"version": 4, "next_hop": None}],
            },
            {
                "name": "six",
                "address": ROUTER6,
                "asn": 64500,
                "source": None,
                "password": None,
                "multihop": None,
                "med": None,
                "communities": [],
                "families": [{"version": 6, "next_hop": None}],
            },
        ],
    }


def test_what_is_said_for_all_and_for_one() -> None:
    own = {"med": "0", "password": "own"}
    said: dict[str, Any] = {
        "password": "all",
        "multihop": 2,
        "med": 10,
        "communities": ["1:2", "1:2:3"],
    }
    one, other = bgp(options(peer(), peer(ROUTER6, **own), **said))["peers"]
    assert {one[name] for name in ("password", "multihop", "med")} == {"all", 2, 10}
    assert one["communities"] == [[1, 2], [1, 2, 3]]
    assert (other["password"], other["multihop"], other["med"]) == ("own", 2, 0)


def test_both_families_by_one_session() -> None:
    both: dict[str, Any] = {"families": ["ipv6", "ipv4"], "next_hop6": "2001:db8:2::11"}
    (one,) = bgp(options(peer(**both)))["peers"]
    assert one["families"] == [
        {"version": 4, "next_hop": None},
        {"version": 6, "next_hop": "2001:db8:2::11"},
    ]


def test_what_frr_is_told() -> None:
    assert bgp({"daemon": "frr", "asn": 64512})["frr"] == [
        ["route-map l4lb permit 10"],
        ["route-map l4lb permit 10", "match metric 65535"],
        ["route-map l4lb permit 10", "set metric 0"],
        ["route-map l4lb permit 10", "set community graceful-shutdown"],
        ["route-map l4lb permit 20"],
        ["route-map l4lb permit 20", "match metric 214"],
        ["route-map l4lb permit 20", "set metric 0"],
        *(
            [
                "router bgp 64512",
                f"address-family {family} unicast",
                "redistribute table-direct 214 route-map l4lb",
            ]
            for family in ("ipv4", "ipv6")
        ),
    ]
    said = {"med": 50, "communities": ["64512:7", "64512:1:2", "64511:9"]}
    lines = bgp({"daemon": "frr", "asn": 64512, **said})["frr"]
    for entry, more in ((10, " graceful-shutdown"), (20, "")):
        section = f"route-map l4lb permit {entry}"
        assert [section, "set metric 50"] in lines
        assert [section, f"set community 64511:9 64512:7{more}"] in lines
        assert [section, "set large-community 64512:1:2"] in lines


NUMBER = "give a whole number from 1 to 4294967295"
LONG = "it has 81 bytes; TCP's MD5 signatures take 80"
WRONG: list[tuple[dict[str, Any], str]] = [
    (options(), "peers: []: give a list of routers, each with address and asn"),
    ({"asn": 64512}, "peers: None: give a list of routers, each with address and asn"),
    (options(ROUTER), f"peers[0]: '{ROUTER}': give a mapping with address and asn"),
    ({**options(peer()), "asn": None}, f"asn: None: {NUMBER}"),
    (options(peer(), asn="AS64512"), f"asn: 'AS64512': {NUMBER}"),
    (options(peer(), asn=2**32), f"asn: 4294967296: {NUMBER}"),
    (options(peer(), asn=True), f"asn: True: {NUMBER}"),
    (options(peer(), asn=23456), "asn: 23456: this number is reserved; give that of the network"),
    (options({"address": ROUTER}), f"peers[0].asn: None: {NUMBER}"),
    (options({"asn": 1}), "peers[0].address: None: give an IPv4 or IPv6 address"),
    (options(peer("router")), "peers[0].address: 'router': give an IPv4 or IPv6 address"),
    (options(peer("fe80::1")), "peers[0].address: 'fe80::1': give an address that is routed to"),
    (options(peer(), peer()), "peers: 'peer_203_0_113_1': two peers have this name"),
    (options(peer(), peer(name="b")), f"peers: '{ROUTER}': two peers have this address"),
    (options(peer(colour=1)), f"peers[0].colour: 1: use {', '.join(OF_A_PEER)}"),
    (
        options(peer(name="Router 1")),
        "peers[0].name: 'Router 1': give small letters, digits and _, at most 31, the first a",
    ),
    (
        options(peer(source=ROUTER6)),
        f"peers[0].source: '{ROUTER6}': give one of the family of the peer's address, {ROUTER}",
    ),
    (options(peer(families="ipv4")), "peers[0].families: 'ipv4': give a list of ipv4 and ipv6"),
    (options(peer(families=["ip"])), "peers[0].families: ['ip']: give a list of ipv4 and ipv6"),
    (
        options(peer(families=["ipv4", "ipv6"])),
        "peers[0].next_hop6: None: the session is ipv4, so give the address of the balancer that",
    ),
    (options(peer(next_hop6=ROUTER)), f"peers[0].next_hop6: '{ROUTER}': give an ipv6 address"),
    (options(peer(password="x" * 81)), f"peers[0].password: '(hidden)': {LONG}"),
    (options(peer(), password="x" * 81), f"peers[0].password: '(hidden)': {LONG}"),
    (
        options({**peer(), "password": 'a"b'}),
        "peers[0].password: '(hidden)': BIRD cannot take a password with a quotation mark",
    ),
    (
        options({**peer(), "password": "ä"}),
        "peers[0].password: '(hidden)': give printable ASCII characters",
    ),
    (options(peer(), multihop=0), "peers[0].multihop: 0: give a whole number from 1 to 255"),
    (options(peer(), med=-1), "peers[0].med: -1: give a whole number from 0 to 4294967295"),
    (
        options(peer(), communities=["64512"]),
        "peers[0].communities: '64512': give two numbers of 16 bits, as '64512:100', or three of",
    ),
    (options(peer(), communities="1:2"), "peers[0].communities: '1:2': give a list, as "),
    (options(peer(), router_id=ROUTER6), f"router_id: '{ROUTER6}': give an IPv4 address, also for"),
    (options(peer(), bfd="fast"), "bfd: 'fast': give true or false"),
    (options(peer(), bfd_interval=1), "bfd_interval: 1: give a whole number from 10 to 60000"),
    (options(peer(), bfd_multiplier=1), "bfd_multiplier: 1: give a whole number from 2 to 255"),
    (
        options(peer(), daemon="frr"),
        "peers: [{'address': '203.0.113.1', 'asn': 64500}]: leave it out, and configure it in FRR",
    ),
    (
        {"asn": 64512, "daemon": "frr", "password": "secret"},
        "password: '(hidden)': leave it out, and configure it in FRR itself",
    ),
    ({"asn": 64512, "daemon": "frr", "med": -1}, "med: -1: give a whole number from 0 to"),
    (options(peer(), hold_time=2), "hold_time: 2: give a whole number from 3 to 65535"),
]


@pytest.mark.parametrize(("given", "told"), WRONG)
def test_wrong(given: dict[str, Any], told: str) -> None:
    assert bgp(given, errors="return").startswith(f"l4lb_bgp_{told}")
    with pytest.raises(AnsibleFilterError) as caught:
        bgp(given)
    assert told in str(caught.value)


def test_the_role_says_the_same() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    documented = specs["main"]["options"]
    assert list(documented["l4lb_bgp_peers"]["options"]) == [*OF_A_PEER[:7], *COMMON]
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    assert defaults == {
        name: option["default"]
        for name, option in documented.items()
        if "default" in option and name != "l4lb_manage_packages"
    }
    passed = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__l4lb_bgp_options"]
    others = {"l4lb_bgp_state", "l4lb_bgp_configuration", "l4lb_manage_packages"}
    assert {f"l4lb_bgp_{name}" for name in passed} == documented.keys() - others
    filled = bgp(options(peer()))
    for name in ("hold_time", "bfd", "bfd_interval", "bfd_multiplier"):
        assert filled[name] == defaults[f"l4lb_bgp_{name}"]
    assert documented["l4lb_bgp_password"]["no_log"]
