# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host shall be as a real server, and the changes to that: tables, without a kernel."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver import ruleset
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.decide import (
    MODULES,
    Host,
    decide,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.options import (
    parse_desired,
    parse_request,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.saved import Memory, content
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.state import (
    Change,
    Device,
    Tunnel,
    changes,
)

VIP, OTHER_VIP, VIP6 = "192.0.2.10", "192.0.2.9", "2001:db8:ffff::10"
OWN, OWN6 = "203.0.113.21", "2001:db8:2::21"
QUIET = {"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2}
HOST = Host(
    addresses={ip_address(OWN): "eth0", ip_address(OWN6): "eth0"},
    sysctls=dict.fromkeys(QUIET, 0),
    mtus={"eth0": 1500},
)


def entry(vip: str = VIP, backend: str = OWN, how: str = "ipip", **more: Any) -> dict[str, Any]:
    return {"address": vip, "backend": backend, "encapsulation": how, **more}


def decided(*services: dict[str, Any], host: Host = HOST, **options: Any) -> Any:
    """What is decided."""
    return decide(parse_desired({"services": [*services], **options}), host, "l4lb_d_1")


@pytest.mark.parametrize(
    ("service", "kind", "inside"),
    [
        (entry(), "ipip", {VIP}),
        (entry(VIP6), "sit", set()),
        (entry(VIP, OWN6), "ip6tnl", {VIP}),
        (entry(VIP6, OWN6), "ip6tnl", set()),
        (entry(how="gre"), "gre", {VIP}),
        (entry(VIP6, OWN6, "gre"), "ip6gre", set()),
        (entry(how="gue"), "ipip", {VIP}),
        (entry(VIP6, OWN6, "gue"), "ip6tnl", set()),
    ],
)
def test_the_device_for_a_way(service: dict[str, Any], kind: str, inside: set[str]) -> None:
    """One that IPv4 comes out of has an address, or a loose rp_filter lets nothing in there."""
    found = decided(service)
    assert found.way == "kernel"
    device = Device(addresses=frozenset(map(IPv4Address, inside)))
    assert found.state["tunnels"] == {Tunnel(kind, ip_address(service["backend"])): device}
    gue = {(ip_address(service["backend"]), 6080): True}
    assert found.state["gue"] == (gue if service["encapsulation"] == "gue" else {})
    assert found.state["sysctls"] == (QUIET if service["address"] == VIP else {})


def test_one_device_for_several_vips_has_the_lowest() -> None:
    found = decided(entry(), entry(OTHER_VIP), entry(how="gue"))
    (device,) = found.state["tunnels"].values()
    assert device.addresses == {IPv4Address(OTHER_VIP)}
    assert [*map(str, found.state["vips"])] == [OTHER_VIP, VIP]


def test_by_l2_there_is_nothing_to_unpack() -> None:
    found = decided(entry(how="l2"), host=dataclasses.replace(HOST, modules=()))
    assert (found.way, found.warnings) == ("", ())
    assert found.state == {"sysctls": QUIET, "vips": {ip_address(VIP): True}}


@pytest.mark.parametrize(
    ("asked", "modules", "way", "told"),
    [
        ("auto", {"ipip"}, "kernel", ""),
        ("auto", {"sit"}, "bpf", "the kernel has no module ipip, so an XDP program unpacks"),
        ("kernel", {"ipip"}, "kernel", ""),
        ("bpf", {"ipip"}, "bpf", ""),
    ],
)
def test_who_unpacks(asked: str, modules: set[str], way: str, told: str) -> None:
    host = dataclasses.replace(HOST, modules=modules)
    found = decided(entry(), host=host, decapsulation=asked, balancers=["203.0.113.11"])
    assert (found.way, "".join(found.warnings)) == (way, told)


@pytest.mark.parametrize(
    ("now", "wanted"), [((0, 0), (1, 2)), ((2, 1), (2, 2)), ((8, 2), (8, 2)), ((3, 2), (1, 2))]
)
def test_arp_is_quiet(now: tuple[int, int], wanted: tuple[int, int]) -> None:
    host = dataclasses.replace(HOST, sysctls=dict(zip(QUIET, now)))
    assert decided(entry(), host=host).state["sysctls"] == dict(zip(QUIET, wanted))


def test_everyone_by_ipv6_is_nobody_by_ipv4() -> None:
    found = decided(
        entry(VIP, OWN6), entry(), decapsulation="bpf", balancers=["::/0", "203.0.113.11"]
    )
    networks = found.state["programs"]["eth0"].balancers
    mapped = ip_network("::ffff:0:0/96")
    assert not any(one.version == 6 and one.overlaps(mapped) for one in networks)
    assert any(ip_address("2001:db8::1") in one for one in networks)


@pytest.mark.parametrize(
    ("service", "options", "size"),
    [
        (
            entry(),
            {},
            "{ 192.0.2.10 } tcp flags & (syn|rst) == syn tcp option maxseg size set 1440",
        ),
        (entry(VIP6, OWN6, "gue"), {}, "set 1392"),
        (entry(VIP, OWN6, "gre"), {}, "set 1416"),
        (entry(mtu=1300), {}, "set 1240"),
        (entry(how="l2"), {}, None),
        (entry(), {"limit_segments": False}, None),
    ],
)
def test_segments(service: dict[str, Any], options: dict[str, Any], size: str | None) -> None:
    table = decided(service, **options).state.get("filter", {})
    if size is None:
        assert table == {}
    else:
        (found,) = table.values()
        assert found.rules == 1 and size in found.script


def test_the_firewall() -> None:
    """Of the protocols that are used, and by no other; what comes out is for a VIP."""
    services = entry(), entry(VIP, OWN6, "gre"), entry(VIP, how="gue", gue_port=7777)
    balancers = ["203.0.113.11", "203.0.113.12", "2001:db8:2::/64"]
    found = decided(*services, balancers=balancers, firewall=True, limit_segments=False)
    lines = found.state["filter"][ruleset.TABLE].script.splitlines()
    rules = [line.partition(" comment")[0].strip() for line in lines if "drop" in line]
    from4 = "ip saddr != { 203.0.113.11/32, 203.0.113.12/32 } counter drop"
    assert rules == [
        f"ip daddr {OWN} meta l4proto 4 {from4}",
        f"ip daddr {OWN} udp dport 7777 {from4}",
        f"ip6 daddr {OWN6} meta l4proto 47 ip6 saddr != {{ 2001:db8:2::/64 }} counter drop",
        f'iifname "l4lb-*" meta nfproto ipv4 ip daddr != {{ {VIP} }} counter drop',
        'iifname "l4lb-*" meta nfproto ipv6 counter drop',
    ]


@pytest.mark.parametrize(
    ("services", "options", "host", "told"),
    [
        ([entry(backend="203.0.113.22")], {}, {}, "this server has no such address; it has 2001"),
        ([entry()], {"decapsulation": "kernel"}, {"modules": ()}, "the kernel has no module ipip;"),
        ([entry()], {"decapsulation": "bpf"}, {}, "list where their tunnels over IPv4 come from"),
        ([entry()], {"firewall": True}, {}, "list where their tunnels over IPv4 come from"),
        (
            [entry()],
            {"firewall": True, "balancers": ["203.0.113.11"]},
            {"has_nftables": False},
            "firewall: nftables is missing",
        ),
        (
            [entry()],
            {"decapsulation": "bpf", "balancers": ["0.0.0.0/0"]},
            {"foreign_programs": ["eth0"]},
            "eth0 carries an XDP program of someone else",
        ),
        (
            [entry()],
            {},
            {"addresses": {ip_address(OWN): "eth0", ip_address(VIP): "eth1"}},
            "'192.0.2.10': eth1 has it and tells the network so; remove it there",
        ),
        (
            [entry(how="gue"), entry(OTHER_VIP, how="gue", gue_port=7777)],
            {"decapsulation": "bpf", "balancers": ["0.0.0.0/0"]},
            {},
            "the XDP program knows one port for each address",
        ),
    ],
)
def test_refusals(
    services: list[dict[str, Any]], options: dict[str, Any], host: dict[str, Any], told: str
) -> None:
    with pytest.raises(L4lbError) as refused:
        decided(*services, host=dataclasses.replace(HOST, **host), **options)
    assert told in str(refused.value)


def test_without_nftables_segments_are_a_warning() -> None:
    found = decided(entry(), host=dataclasses.replace(HOST, has_nftables=False))
    assert "filter" not in found.state
    assert "install it, or set limit_segments to false" in found.warnings[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "services: None: required, unless the state is absent"),
        ({"services": [{"address": VIP}]}, "services[0].backend: None: not an IP address"),
        ({"services": [entry(backend=VIP)]}, "the VIP is not the server's own"),
        ({"services": [entry(how="ip")]}, "encapsulation: 'ip': choose one of ipip, gue, gre, l2"),
        ({"services": [entry(gue_port=0)]}, "gue_port: 0: give a whole number from 1 to 65535"),
        ({"services": [entry(port=80)]}, "services[0].port: 80: no such option"),
        ({"services": [], "balancers": ["lb1"]}, "balancers[0]: 'lb1': not an IP address or pre"),
        ({"services": [], "balancer": []}, "no such option; did you mean balancers?"),
        ({"services": [], "keep": "maybe"}, "keep: 'maybe': give true or false"),
    ],
)
def test_wrong_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(L4lbError) as refused:
        parse_request(options)
    assert told in str(refused.value)


def test_what_is_saved_is_read_back() -> None:
    desired = parse_desired(
        {
            "services": [entry(VIP6, OWN6, "gue", mtu=1400), entry(), entry()],
            "balancers": ["2001:db8:2::11", "203.0.113.0/28"],
            "firewall": "yes",
            "interface": "eth0",
        }
    )
    assert len(desired.services) == 2
    assert parse_desired(desired.dump()) == desired
    assert b"203.0.113.0/28" in content(Memory(desired))


def test_what_comes_is_there_before_what_goes_is_gone() -> None:
    """And each change has one that takes it back."""
    before, after = decided(entry()).state, decided(entry(VIP6, OWN6)).state
    found = [*changes(before, after)]
    assert [(one.aspect, one.after is None) for one in found] == [
        ("filter", False),
        ("tunnels", False),
        ("vips", False),
        ("vips", True),
        ("tunnels", True),
        ("sysctls", True),
        ("sysctls", True),
    ]
    assert found[2].inverse == Change("vips", ip_address(VIP6), True, None)
    assert [*changes(after, after)] == []


def test_no_two_kinds_need_the_same_module() -> None:
    assert len(set(MODULES.values())) == len(MODULES)
