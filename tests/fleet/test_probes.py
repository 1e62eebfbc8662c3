# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks by way of the tunnel reach the backend that is meant, and no other, whatever
becomes of the servers, of the way to them, and of the tunnel itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab import Lab
from lab.build import await_services, start_services
from lab.host import Host
from tests.fleet.rig.families import BACKENDS, ECHO, TOPOLOGY, Balancer, service
from tests.fleet.rig.hosts import go_on, python
from tests.fleet.rig.labs import laboratory
from tests.fleet.there import probing

ENCAPSULATIONS = ("ipip", "gue", "gre", "l2")
GOOD = [True, True, "HTTP 200"]
GONE = [False, False, "timeout after 1 s"]
TIMES = {"interval": 60, "timeout": 30}
"""Of what comes, however busy the machine is."""
IMPATIENT = {"interval": 60, "timeout": 1}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("h", TOPOLOGY) as lab:
        yield lab


@pytest.fixture(scope="module")
def balancer(lab: Lab) -> Balancer:
    return Balancer(lab)


def checked(check: dict[str, Any], *way: Any, **options: Any) -> dict[str, Any]:
    return {**service(*way, **options), "check": {**TIMES, **check}}


def every_way(expect: str) -> list[dict[str, Any]]:
    """A service for each, of which one server is good."""
    combinations = itertools.product([4, 6], [4, 6], ENCAPSULATIONS)
    page = {"type": "http", "expect": expect}
    return [checked(page, *one, port) for port, one in enumerate(combinations, 8001)]


def ask(host: Host) -> probing.Found:
    """By a filter; see below."""
    found: probing.Found = python(host, probing.ask, tcx=False)
    return found


def healthy(found: probing.Found) -> list[set[str]]:
    """The servers that are, of each service."""
    names = {address: name for one in BACKENDS.values() for name, address in one.items()}
    return [
        {names[address] for address, result in backends.items() if result[0]}
        for backends in found.values()
    ]


@pytest.mark.parametrize("server", ["web1", "web3"])
def test_the_one_that_is_meant_answers(balancer: Balancer, server: str) -> None:
    """All others are asked, too, and do not say what it does; so no probe went astray. And clients'
    packets are not counted with them."""
    balancer.apply(*every_way(server))
    before = balancer.counters()
    found = ask(balancer.host)
    assert len(found) == 16
    assert healthy(found) == [{server}] * 16
    others = [one for backends in found.values() for one in backends.values() if not one[0]]
    assert others == [[False, True, "HTTP 200, without the text expected"]] * 48
    assert balancer.counters() == before


def test_every_type(balancer: Balancer) -> None:
    """And by the backends' own addresses."""
    page = {"type": "http", "expect": "web"}
    balancer.apply(
        *(
            checked({"type": "tcp"}, inner, outer, "ipip", 80 + 8000 * (inner == outer))
            for inner, outer in itertools.product([4, 6], repeat=2)
        ),
        *(
            checked(
                {"type": "udp", "send": "1 2", "expect": " "},
                *(inner, outer, "gue", ECHO, "udp"),
            )
            for inner, outer in [(4, 6), (6, 4)]
        ),
        *(
            checked({**page, "via": "address", "port": 80}, inner, outer, "gre", 8001 + outer)
            for inner, outer in [(4, 6), (6, 4)]
        ),
    )
    found = ask(balancer.host)
    assert healthy(found) == [{"web1", "web2", "web3", "web4"}] * 8, found


@contextmanager
def without(host: Host, service: str) -> Iterator[None]:
    """One of its services is stopped for a while."""
    host.stop(service)
    try:
        yield
    finally:
        start_services(host, [service])
        await_services(host)


def test_a_server_without_a_listener(balancer: Balancer, lab: Lab) -> None:
    balancer.apply(*every_way("web"))
    with without(lab.host("web2"), "nginx"):
        found = ask(balancer.host)
    refused = [False, False, "connection refused"]
    for backends in found.values():
        assert [*backends.values()] == [GOOD, refused, GOOD, GOOD]
    assert healthy(ask(balancer.host)) == [{"web1", "web2", "web3", "web4"}] * 16


def test_a_tunnel_that_a_server_does_not_unpack(balancer: Balancer, lab: Lab) -> None:
    """Its own address answers all the while; what is not encapsulated gets there, too."""
    page = {"type": "http", **IMPATIENT}
    balancer.apply(
        *(
            checked(page, inner, outer, encapsulation, port)
            for port, (inner, outer, encapsulation) in enumerate(
                [(4, 4, "ipip"), (6, 4, "gue"), (4, 6, "gre")], 8001
            )
        ),
        checked(page, 6, 6, "l2", 8004),
        checked({**page, "via": "address"}, 4, 4, "ipip", 8005),
    )
    web3 = lab.host("web3")
    web3.ip(["link set eth0 xdp off"])
    found = ask(balancer.host)
    tunnelled, others = [*found.values()][:3], [*found.values()][3:]
    for backends in tunnelled:
        assert [*backends.values()] == [GOOD, GOOD, GONE, GOOD]
    for backends in others:
        assert [*backends.values()] == [GOOD] * 4


TWO = checked({"type": "http", **IMPATIENT}, 4, 4, backends={"web1": {}, "web2": {}})
FILTER = ["tc", "filter", "show", "dev", "eth0", "egress"]
CUT_OFF = [None, False, "no packet came to the tunnel"]


def test_a_filter_that_somebody_removes(balancer: Balancer) -> None:
    """No probe counts while it is gone, though other backends would answer for the one that is
    meant; it is put back, but only once."""
    lb1 = balancer.host
    balancer.apply(TWO)
    good = {service(4, 4)["name"]: {BACKENDS[4][name]: GOOD for name in ("web1", "web2")}}
    lost = {service(4, 4)["name"]: {BACKENDS[4][name]: CUT_OFF for name in ("web1", "web2")}}
    assert python(lb1, probing.watched, times=3, tcx=False) is None
    lb1.run(["tc", "filter", "del", "dev", "eth0", "egress"])
    assert go_on(lb1) is None
    lb1.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])
    first, second, third = go_on(lb1)
    assert first == {"before": good, "said": [], "problems": [], "after": good}
    said = ["somebody removed the program of the tunnel from eth0; it is put back"]
    assert second == {"before": lost, "said": said, "problems": [], "after": good}
    again = ["somebody removed its program from eth0 again (192.0.2.10)"]
    assert third == {"before": lost, "said": [], "problems": again, "after": lost}


def test_others_filters_stay(balancer: Balancer) -> None:
    """Those of a qdisc that was there."""
    lb1 = balancer.host
    balancer.apply(TWO)
    lb1.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"])
    python(lb1, probing.pass_on, interface="eth0")
    assert healthy(ask(lb1)) == [{"web1", "web2"}]
    shown = lb1.run(FILTER).stdout
    assert "others" in shown
    assert "l4lb" not in shown
    lb1.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])


def test_a_kernel_with_tcx(balancer: Balancer) -> None:
    """There it takes no qdisc, comes before all filters, and ends with its process."""
    lb1 = balancer.host
    balancer.apply(TWO)
    if python(lb1, probing.release) < [6, 6]:
        pytest.skip("cannot run here: tcx takes Linux 6.6")
    assert healthy(python(lb1, probing.ask)) == [{"web1", "web2"}]
    assert "clsact" not in lb1.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
    assert python(lb1, probing.watched, times=2, tcx=True) is None
    first, second = go_on(lb1)
    assert first == second
    assert not (first["said"] or first["problems"])


def test_a_process_that_was_killed(balancer: Balancer) -> None:
    """What it has left is replaced by the next one, or removed."""
    lb1 = balancer.host
    balancer.apply(TWO)
    assert python(lb1, probing.killed) == 2
    assert lb1.run(FILTER).stdout.count("l4lb_probe") == 1
    assert healthy(ask(lb1)) == [{"web1", "web2"}]
    assert lb1.run(FILTER).stdout == ""
    python(lb1, probing.killed)
    assert python(lb1, probing.leftovers) == ["eth0"]
    assert python(lb1, probing.leftovers) == []
    assert lb1.run(FILTER).stdout == ""


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_no_server_s_fault(balancer: Balancer, family: int) -> None:
    """No route to the service, none to the backend, and forwarding switched off."""
    lb1 = balancer.host
    balancer.apply(checked({"type": "tcp", **IMPATIENT}, family, family, backends={"web1": {}}))

    def result() -> list[Any]:
        ((found,),) = (backends.values() for backends in ask(lb1).values())
        return list(found)

    def without_way_to(address: str) -> list[Any]:
        route = ["blackhole", address]
        lb1.run(["ip", f"-{family}", "route", "add", *route])
        try:
            return result()
        finally:
            lb1.run(["ip", f"-{family}", "route", "del", *route])

    vip, web1 = {4: "192.0.2.10", 6: "2001:db8:ffff::10"}[family], BACKENDS[family]["web1"]
    assert result() == [True, True, "connected"]
    assert without_way_to(vip) == [None, False, f"no route to {vip}"]
    assert without_way_to(web1) == [None, False, "this host has no route to the backend"]
    setting = f"/proc/sys/net/ipv{family}/conf/lo/forwarding"
    lb1.run(["sh", "-c", f"echo 0 >{setting}"])
    try:
        assert "forwarding" in result()[2]
    finally:
        lb1.run(["sh", "-c", f"echo 1 >{setting}"])
    assert result() == [True, True, "connected"]
