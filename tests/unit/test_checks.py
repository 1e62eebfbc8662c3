# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be meant, beside what is much like it and can: in tables, without a host."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model import checks
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.checks import Findings, Host
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

VIP, VIP6 = "192.0.2.10", "2001:db8:ffff::10"
OWN, OWN6, OWN_MAC = "203.0.113.11", "2001:db8:2::11", "02:00:cb:00:71:0b"
ROUTER, FAR, MAC = "203.0.113.1", "198.51.100.9", "52:54:00:00:00:0b"
LOCAL, LOCAL6 = "198.18.0.0/28", "2001:db8:5::/112"


def ends(network: str) -> set[Any]:
    return {ip_network(network)[0], ip_network(network)[-1]}


HOST = Host(
    macs={OWN_MAC},
    addresses={
        *map(ip_address, (OWN, OWN6, "127.0.0.1", "::1", "10.7.0.1", "10.7.0.2", "10.7.0.4")),
        *ends(LOCAL),
        *ends(LOCAL6),
    },
    subnets=[
        ip_network(text)
        for text in (
            "203.0.113.0/24",
            "2001:db8:2::/64",
            "10.8.0.0/30",
            "10.8.0.8/31",
            "10.8.0.12/32",
            "2001:db8:8::/126",
            "2001:db8:8::8/127",
            "2001:db8:8::c/128",
        )
    ],
    routers={ip_address(FAR): ip_address(ROUTER)},
)


def web(*backends: str | dict[str, Any], **options: Any) -> dict[str, Any]:
    """A service; backends by their address."""
    listed = [one if isinstance(one, dict) else {"address": one} for one in backends]
    defaults = {"name": "web", "address": VIP, "port": 80, "protocol": "tcp"}
    return {**defaults, "backends": listed or [{"address": "10.0.0.1"}], **options}


def check(*services: dict[str, Any], host: Host | None = HOST, **options: Any) -> Findings:
    config = parse_config({"interface": "eth0", "services": list(services), **options})
    return checks.check(config, host)


def refused(*services: dict[str, Any], host: Host | None = HOST, **options: Any) -> list[str]:
    return [str(one) for one in check(*services, host=host, **options).refusals]


# Addresses


NOBODYS = {
    "0.0.0.1": "an unspecified address",
    "0.255.255.255": "an unspecified address",
    "127.0.0.1": "a loopback address",
    "127.255.255.254": "a loopback address",
    "::1": "a loopback address",
    "169.254.0.1": "a link-local address",
    "169.254.255.255": "a link-local address",
}
OF_THE_HOST = {
    "203.0.113.0": "the network address of 203.0.113.0/24",
    "203.0.113.255": "the broadcast address of 203.0.113.0/24",
    "2001:db8:2::": "the network address of 2001:db8:2::/64",
    "10.8.0.0": "the network address of 10.8.0.0/30",
    "10.8.0.3": "the broadcast address of 10.8.0.0/30",
    "2001:db8:8::": "the network address of 2001:db8:8::/126",
}
ANYBODYS = (
    *("1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "::2"),
    *("223.255.255.255", "192.0.2.1", "198.51.100.1", "10.0.0.0", "10.255.255.255", "fc00::"),
    *("203.0.113.1", "203.0.113.254", "203.0.114.0", "2001:db8:2::ffff:ffff:ffff:ffff"),
    *("10.8.0.1", "10.8.0.2", "10.8.0.8", "10.8.0.9", "10.8.0.12"),
    *("2001:db8:8::1", "2001:db8:8::3", "2001:db8:8::8", "2001:db8:8::9", "2001:db8:8::c"),
)


@pytest.mark.parametrize(("address", "what"), {**NOBODYS, **OF_THE_HOST}.items())
def test_addresses_that_nobody_has(address: str, what: str) -> None:
    (told,) = refused(web(address=address))
    assert told == (
        f"services[web].address: '{address}': {what}; give one that is routed to the balancer"
    )
    assert refused(web(address=address), allow_own_address=True) == [told]
    assert refused(web("10.0.0.1", address)) == [
        f"services[web].backends[{address}].address: '{address}': {what}; give the server's own"
    ]


@pytest.mark.parametrize("address", NOBODYS)
def test_what_is_known_without_a_host(address: str) -> None:
    assert len(refused(web(address=address), host=None)) == 1
    assert len(refused(web(address), host=None)) == 1


@pytest.mark.parametrize("address", [*OF_THE_HOST, OWN, OWN6])
def test_what_is_not_known_without_a_host(address: str) -> None:
    assert refused(web(address=address), host=None) == refused(web(address), host=None) == []


@pytest.mark.parametrize("address", ANYBODYS)
def test_addresses_that_anybody_may_have(address: str) -> None:
    assert check(web(address=address)) == Findings([], [])
    assert check(web(address)) == Findings([], [])


@pytest.mark.parametrize(("port", "told"), [(22, "get tcp to port 22"), (0, "get tcp to any port")])
@pytest.mark.parametrize("address", [OWN, OWN6, "10.7.0.1"])
def test_a_service_at_the_host_s_own_address(address: str, port: int, told: str) -> None:
    (message,) = refused(web(address=address, port=port))
    assert message == (
        f"services[web].address: '{address}': this host's own, which would no longer {told}; give "
        "one that is routed to the balancer, or set allow_own_address: true if that is meant, as "
        "beside keepalived"
    )
    assert refused(web(address=address, port=port), allow_own_address=True) == []


@pytest.mark.parametrize("allowed", [False, True])
def test_the_host_itself_is_no_backend(allowed: bool) -> None:
    assert refused(web(OWN, OWN6), allow_own_address=allowed) == [
        f"services[web].backends[{address}].address: '{address}': this host's own, and what it "
        "balances does not come to itself; have other hosts balance, or be the backends"
        for address in (OWN, OWN6)
    ]


def test_where_tunnels_come_from_is_no_backend() -> None:
    """Known without the host, as it is one of its addresses, or refused by itself."""
    assert len(refused(web("198.18.0.5"), source_address=LOCAL, host=None)) == 1
    assert refused(web("198.18.0.16"), source_address=LOCAL, host=None) == []


def test_a_service_is_no_backend() -> None:
    services = [web("10.0.0.1", VIP6), web("10.0.0.1", name="six", address=VIP6)]
    for host in (None, HOST):
        (message,) = refused(*services, host=host)
        assert message == (
            f"services[web].backends[{VIP6}].address: '{VIP6}': the address of the service six, "
            "so packets would come back; give the server's own"
        )
    assert len(refused(web(VIP))) == 1
    services[1]["address"] = "2001:db8:ffff::11"
    assert refused(*services) == []


def test_each_backend_is_told_of_once() -> None:
    services = [web("127.0.0.1", OWN, name=name, port=n) for n, name in enumerate("abc")]
    assert [one.partition(": ")[0] for one in refused(*services)] == [
        f"services[a].backends[{address}].address" for address in ("127.0.0.1", OWN)
    ]


@pytest.mark.parametrize(
    ("address", "warned"),
    [("223.255.255.255", False), ("240.0.0.0", True), ("255.255.255.254", True), ("fd00::", False)],
)
def test_class_e(address: str, warned: bool) -> None:
    reserved = f"'{address}': of class E, which many systems drop"
    assert check(web(address=address)) == Findings(
        [], [f"services[web].address: {reserved}"] * warned
    )
    assert check(web(address)) == Findings(
        [], [f"services[web].backends[{address}].address: {reserved}"] * warned
    )


@pytest.mark.parametrize(
    ("scheduler", "weights", "warned"),
    [
        ("jhash", (1, 2), True),
        ("jhash", (3, 3), False),
        ("jhash", (0, 5), False),
        ("maglev", (1, 2), False),
    ],
)
def test_weights_that_count_for_nothing(
    scheduler: str, weights: tuple[int, ...], warned: bool
) -> None:
    backends = [{"address": f"10.0.0.{n + 1}", "weight": one} for n, one in enumerate(weights)]
    told = (
        "services[web].scheduler: 'jhash': ignores weights other than 0; choose maglev, or leave "
        "the weights out"
    )
    found = check({**web(scheduler=scheduler), "backends": backends})
    assert found == Findings([], [told] * warned)


# Health

TUNNEL = {"type": "tcp"}


@pytest.mark.parametrize(
    ("via", "allowed", "told"),
    [
        ("tunnel", True, f"{OWN} is this host's own, so it would ask itself; use via: address"),
        ("address", True, None),
    ],
)
def test_a_tunnel_to_the_host_itself(via: str, allowed: bool, told: str | None) -> None:
    """A service may have an address of the host, but then it does not leave the host."""
    service = web(address=OWN, check={**TUNNEL, "via": via})
    found = check(service, allow_own_address=allowed)
    begin = f"services[web].check.via: {via!r}: "
    assert [str(one) for one in found.refusals] == ([begin + told] if told else [])
    assert check(web(check={**TUNNEL, "via": via})) == Findings([], [])


@pytest.mark.parametrize(
    ("least", "warned"), [(1, False), (2, False), (3, True), ("100%", False), (0, False)]
)
def test_a_minimum_that_is_never_there(least: int | str, warned: bool) -> None:
    told = (
        f"services[web].min_healthy: {least}: more than its 2 backends, so that health never "
        "counts; choose less"
    )
    service = web("10.0.0.1", "10.0.0.2", check=TUNNEL, min_healthy=least)
    assert check(service) == Findings([], [told] * warned)


@pytest.mark.parametrize(
    ("kind", "interval", "count", "told"),
    [
        ("tcp", 0.5, 2000, None),
        ("tcp", 0.5, 2001, "all checks together would take 0.8 cores, and have one; give 0.6"),
        ("tcp", 0.1, 4000, "all checks together would take 8.0 cores, and have one; give 1"),
        ("https", 5, 2667, "all checks together would take 0.8 cores, and have one; give 5.1"),
        ("http", 2, 3200, None),
    ],
)
def test_more_checks_than_a_core_can_do(
    kind: str, interval: float, count: int, told: str | None
) -> None:
    backends = [f"10.0.{number >> 8}.{number & 255}" for number in range(1, count + 1)]
    options = {"type": kind, "interval": interval}
    found = check(web(*backends, check=options), host=None).refusals
    begin = f"services[web].check.interval: {float(interval)!r}: "
    ending = ", and the others in proportion"
    assert [str(one) for one in found] == ([f"{begin}{told}{ending}"] if told else [])


def test_the_check_that_takes_most_is_named() -> None:
    few = [f"10.0.0.{number}" for number in range(1, 9)]
    many = [f"10.1.{number >> 8}.{number & 255}" for number in range(1, 5001)]
    found = check(
        web(*few, name="a", check={"type": "http", "interval": 0.1}),
        web(*many, name="b", port=81, check={"type": "http", "interval": 1}),
        web(*many, name="c", port=82, check={"type": "tcp", "interval": 1}),
        host=None,
    )
    assert [one.option for one in found.refusals] == ["services[b].check.interval"]
    assert "give 4.5" in found.refusals[0].remedy


# Sources of tunnels

ELSE = "give an address of the host, or leave this option out"
LOST = "so errors on the way would not come back"


def not_routed(prefix: str) -> str:
    run = f"ip route add local {prefix} dev lo"
    return f"source_address: '{prefix}': not routed to this host, {LOST}; run \"{run}\", {ELSE}"


SOURCES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an address of the host": ({"source_address": OWN, "source_address6": OWN6}, []),
    "of another interface": ({"source_address": "10.7.0.1"}, []),
    "of another host": (
        {"source_address": ROUTER},
        [f"source_address: '{ROUTER}': no address of this host, {LOST}; {ELSE}"],
    ),
    "prefixes that are routed here": ({"source_address": LOCAL, "source_address6": LOCAL6}, []),
    "a prefix that is not": (
        {"source_address": "198.19.0.0/28"},
        [not_routed("198.19.0.0/28")],
    ),
    "a prefix that is so only in part": (
        {"source_address": "198.18.0.0/27"},
        [not_routed("198.18.0.0/27")],
    ),
    "the subnet": ({"source_address": "203.0.113.0/24"}, ["source_address: '203.0.113.0/24': not"]),
    "loopback": (
        {"source_address": "127.0.0.1", "source_address6": "::1"},
        [
            f"source_address: '127.0.0.1': a loopback address; {ELSE}",
            f"source_address6: '::1': a loopback address; {ELSE}",
        ],
    ),
    "link-local": (
        {"source_address": "169.254.0.0/24", "source_address6": "fe80::1"},
        [
            f"source_address: '169.254.0.0/24': a link-local address; {ELSE}",
            f"source_address6: 'fe80::1': a link-local address; {ELSE}",
        ],
    ),
    "more than loopback": (
        {"source_address": "126.0.0.0/7"},
        [f"source_address: '126.0.0.0/7': a loopback address; {ELSE}"],
    ),
}


@pytest.mark.parametrize(("options", "expected"), SOURCES.values(), ids=SOURCES)
def test_sources(options: dict[str, Any], expected: list[str]) -> None:
    found = refused(web(), **options)
    assert len(found) == len(expected)
    for told, start in zip(found, expected):
        assert told.startswith(start)


@pytest.mark.parametrize("host", [None, HOST])
def test_a_service_is_no_source(host: Host | None) -> None:
    for address, source in ((OWN, OWN), ("198.18.0.5", LOCAL)):
        service = web(address=address)
        (told,) = refused(service, source_address=source, allow_own_address=True, host=host)
        assert told == (
            f"source_address: '{source}': has the address of web, whose backends take nothing from "
            f"there; {ELSE}"
        )
        others: dict[str, Any] = {"source_address": "10.7.0.2", "allow_own_address": True}
        assert refused(service, host=host, **others) == []


# MAC addresses and ways


@pytest.mark.parametrize("own", [OWN_MAC, "02:00:00:00:00:77"])
def test_own_macs(own: str) -> None:
    given: dict[str, Any] = {"own_macs": ["02:00:00:00:00:77"]}
    problem = "the balancer's own, so packets to backends would come in again"
    assert refused(web(), gateway_mac=own, **given) == [
        f"gateway_mac: '{own}': {problem}; give the gateway's"
    ]
    assert refused(web("10.0.0.1", {"address": "10.0.0.2", "mac": own}), **given) == [
        f"services[web].backends[10.0.0.2].mac: '{own}': {problem}; give the next hop's"
    ]
    assert refused(web({"address": "10.0.0.2", "mac": MAC}), gateway_mac=MAC, **given) == []
    assert bool(refused(web(), gateway_mac=own, host=None, **given)) == (own != OWN_MAC)


NEAR = "10.0.0.1"
L2: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "on the link": (web(NEAR, encapsulation="l2"), {}, None),
    "behind a router": (
        web(NEAR, FAR, encapsulation="l2"),
        {},
        f"{FAR} is behind the router {ROUTER}; give it its own mac",
    ),
    "behind a router, in a tunnel": (web(NEAR, FAR), {}, None),
    "on the link, though routes say otherwise": (
        web({"address": FAR, "mac": MAC}, encapsulation="l2"),
        {},
        None,
    ),
    "a gateway": (
        web(NEAR, encapsulation="l2"),
        {"gateway_mac": MAC},
        f"{NEAR} would get its packets from gateway_mac; give it its own mac",
    ),
    "a gateway, in a tunnel": (web(NEAR), {"gateway_mac": MAC}, None),
    "a gateway for others": (
        web({"address": NEAR, "mac": "52:54:00:00:00:0c"}, encapsulation="l2"),
        {"gateway_mac": MAC},
        None,
    ),
    "a gateway once more": (
        web({"address": NEAR, "mac": MAC}, encapsulation="l2"),
        {"gateway_mac": MAC},
        f"{NEAR} would get its packets from gateway_mac; give it its own mac",
    ),
    "without backends": ({**web(encapsulation="l2"), "backends": []}, {"gateway_mac": MAC}, None),
}


@pytest.mark.parametrize(("service", "options", "problem"), L2.values(), ids=L2)
def test_l2(service: dict[str, Any], options: dict[str, Any], problem: str | None) -> None:
    assert refused(service, **options) == [
        f"services[web].encapsulation: 'l2': {told} if it is on the balancer's link, else choose "
        "another encapsulation"
        for told in [problem]
        if told
    ]
    known_without = problem is not None and bool(options)
    assert len(refused(service, host=None, **options)) == known_without


@pytest.mark.parametrize(
    ("interface", "host", "is_refused"),
    [("lo", None, True), ("lo", HOST, True), ("tun0", Host(macs=()), True), ("eth0", HOST, False)],
)
def test_interfaces(interface: str, host: Host | None, is_refused: bool) -> None:
    told = (
        f"interface: '{interface}': has no MAC address, so it is not where clients' packets come "
        "in; give the one that is"
    )
    assert refused(interface=interface, host=host) == [told] * is_refused


def test_what_to_ask_routes_about() -> None:
    config = parse_config(
        {
            "interface": "eth0",
            "source_address": LOCAL,
            "source_address6": OWN6,
            "services": [
                web(NEAR, name="tunnel"),
                web("10.0.0.2", {"address": "10.0.0.3", "mac": MAC}, port=81, encapsulation="l2"),
            ],
        }
    )
    expected = {VIP, "198.18.0.0", "198.18.0.15", OWN6, "10.0.0.2"}
    assert checks.destinations(config) == set(map(ip_address, expected))


# Services that drop new flows


@pytest.mark.parametrize(
    ("states", "dropped"),
    [
        ([], True),
        ([{"weight": 0}, {"weight": 0}], True),
        ([{"state": "disabled"}], True),
        ([{"state": "drained"}, {"weight": 0}, {"state": "disabled", "weight": 9}], True),
        ([{"state": "drained"}, {"weight": 1}], False),
    ],
)
@pytest.mark.parametrize("scheduler", ["maglev", "jhash"])
def test_nobody_takes_new_flows(
    states: list[dict[str, Any]], dropped: bool, scheduler: str
) -> None:
    backends = [{"address": f"10.0.0.{n + 1}", **state} for n, state in enumerate(states)]
    service = {**web(scheduler=scheduler), "backends": backends}
    told = ["web: no backend takes new flows; they are dropped"] * dropped
    for host in (None, HOST):
        assert check(service, web(name="other", port=81), host=host) == Findings([], told)
