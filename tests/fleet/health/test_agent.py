# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that fail and return, and what becomes of flows: a real agent, and real packets."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab.host import Host
from lab.traffic.connections import Connections
from lab.traffic.requests import Requests
from tests.fleet.health.conftest import DEPLOYED, INTERVAL, Balancer, start_echo
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.services import ECHO, VIP, WEB


@contextmanager
def applied(balancer: Balancer, config: Mapping[str, object]) -> Iterator[str]:
    """Have this configuration, and what was before afterwards; yields what was said of it."""
    try:
        yield l4lb(balancer.host, "apply", "-", given=config)
    finally:
        l4lb(balancer.host, "apply", "-", given=DEPLOYED)


@contextmanager
def unplugged(server: Host) -> Iterator[None]:
    server.ip(["link set eth0 down"])
    try:
        yield
    finally:
        # IPv6, of which this takes the addresses, has no part in this
        server.ip(["link set eth0 up", "route replace default via 203.0.113.1"])


@contextmanager
def not_ready(*servers: Host) -> Iterator[None]:
    for server in servers:
        server.run(["rm", "/srv/blob/ready"])
    try:
        yield
    finally:
        for server in servers:
            server.run(["sh", "-c", "echo yes >/srv/blob/ready"])


def broken_are_of(connections: Connections, server: str) -> bool:
    return {connections.servers[number] for number in connections.broken} <= {server}


def test_a_server_that_is_killed(balancer: Balancer) -> None:
    client, server = (balancer.lab.host(name) for name in ("client", "web2"))
    with Connections(client, (VIP, ECHO)) as connections:
        assert "web2" in connections.servers
        server.stop("echo")
        try:
            balancer.until_unhealthy("flows", "web2")
            assert balancer.health("flows")["web2"] == "connection refused"
            connections.await_rounds()
            assert broken_are_of(connections, "web2")
            with Connections(client, (VIP, ECHO)) as others:
                assert "web2" not in others.servers
                others.await_rounds()
            assert not others.broken
        finally:
            start_echo(server)
        balancer.until_unhealthy("flows")
        with Connections(client, (VIP, ECHO)) as others:
            assert set(others.servers) == set(WEB)
        connections.await_rounds()
    assert broken_are_of(connections, "web2")


def test_a_server_that_is_cut_off(balancer: Balancer) -> None:
    client, server = (balancer.lab.host(name) for name in ("client", "web3"))
    with unplugged(server):
        balancer.until(
            lambda: {"web3"} <= balancer.unhealthy("pages") & balancer.unhealthy("flows")
        )
        assert balancer.health("pages")["web3"] == "timeout after 0.5 s"
        with Requests(client, (VIP, 80), kept=False) as requests:
            requests.await_answers()
        assert not requests.failures
        assert set(requests.answers) == {"web1", "web2", "web4"}


def test_a_server_without_the_address(balancer: Balancer) -> None:
    """Its own answers, and that helps no client."""
    client, server = (balancer.lab.host(name) for name in ("client", "web2"))
    server.ip([f"address delete {VIP}/32 dev lo"])
    try:
        balancer.until_unhealthy("through", "web2")
        assert balancer.health("through")["web2"] == "timeout after 0.5 s"
        assert balancer.unhealthy("pages") == set()
        with Requests(client, (VIP, 8080), kept=False) as requests:
            requests.await_answers()
        assert not requests.failures
        assert set(requests.answers) == {"web1", "web3", "web4"}
    finally:
        server.ip([f"address add {VIP}/32 dev lo"])
    balancer.until_unhealthy("through")


def test_a_server_that_hangs(balancer: Balancer) -> None:
    server = balancer.lab.host("web1")
    process = server.running("echo")
    assert process
    with applied(balancer, with_check({"type": "tcp", "send": "ping", "expect": "ping"})):
        os.kill(process, signal.SIGSTOP)  # the kernel takes connections for it all the same
        try:
            balancer.until_unhealthy("flows", "web1")
            assert balancer.health("flows")["web1"] == "timeout after 0.5 s"
        finally:
            os.kill(process, signal.SIGCONT)
        balancer.until_unhealthy("flows")


def with_check(check: dict[str, object]) -> dict[str, object]:
    """What is deployed, with another check of the first service."""
    flows, *others = DEPLOYED["services"]
    return {
        **DEPLOYED,
        "services": [{**flows, "check": {**flows["check"], **check}}, *others],
    }


def test_a_server_that_is_not_ready_keeps_its_flows(balancer: Balancer) -> None:
    client, server = (balancer.lab.host(name) for name in ("client", "web4"))
    with applied(balancer, with_check({**DEPLOYED["services"][1]["check"], "port": 80})):
        with Connections(client, (VIP, ECHO)) as connections, not_ready(server):
            assert "web4" in connections.servers
            balancer.until_unhealthy("flows", "web4")
            assert balancer.health("flows")["web4"] == "HTTP 404"
            with Connections(client, (VIP, ECHO)) as others:
                assert "web4" not in others.servers
            connections.await_rounds(5)
            broken = {connections.servers[one]: why for one, why in connections.broken.items()}
            assert not broken, balancer.host.log("agent").read_text()
        balancer.until_unhealthy("flows")


def test_with_none_left_all_are_used(balancer: Balancer) -> None:
    client = balancer.lab.host("client")
    with not_ready(*(balancer.lab.host(name) for name in WEB)):
        balancer.until_unhealthy("pages", *WEB)
        assert "pages on eth0: 4 of 4 backends unhealthy; these are too few, so all are used" in (
            l4lb(balancer.host, "status")
        )
        with Requests(client, (VIP, 80), kept=False) as requests:
            requests.await_answers()
        assert not requests.failures
        assert set(requests.answers) == set(WEB)


def test_health_is_no_difference(balancer: Balancer) -> None:
    """A second run says ok while a server is down, and changes nothing of that."""
    with not_ready(balancer.lab.host("web1")):
        balancer.until_unhealthy("pages", "web1")
        assert (
            l4lb(balancer.host, "apply", "--check", "-", given=DEPLOYED)
            == "eth0: nothing to change\n"
        )
        l4lb(balancer.host, "apply", "-", given=DEPLOYED)
        assert balancer.unhealthy("pages") == {"web1"}
        # a replacement of the program, too
        with applied(balancer, {**DEPLOYED, "flow_table_size": 4096}):
            assert balancer.unhealthy("pages") == {"web1"}
            client = balancer.lab.host("client")
            with Requests(client, (VIP, 80), kept=False) as requests:
                requests.await_answers()
            assert set(requests.answers) == {"web2", "web3", "web4"}


def test_what_an_operator_holds_stays_so(balancer: Balancer) -> None:
    host, address = balancer.host, WEB["web2"]
    l4lb(host, "drain", address, "--service", "pages")
    with not_ready(balancer.lab.host("web2")):
        balancer.until_unhealthy("pages", "web2")
    balancer.until_unhealthy("pages")
    with Requests(balancer.lab.host("client"), (VIP, 80), kept=False) as requests:
        requests.await_answers()
    assert set(requests.answers) == {"web1", "web3", "web4"}
    l4lb(host, "enable", address, "--service", "pages")


def test_an_agent_that_dies_leaves_all_as_it_is(balancer: Balancer) -> None:
    """And takes it over when it returns. What an operator holds stays so."""
    host = balancer.host
    l4lb(host, "drain", WEB["web2"], "--service", "pages")
    with not_ready(balancer.lab.host("web1")):
        balancer.until_unhealthy("pages", "web1")
        process = host.running("agent")
        assert process
        os.kill(process, signal.SIGKILL)
        balancer.until(lambda: not host.running("agent"))
        host.stop("agent")
        assert balancer.unhealthy("pages") == {"web1"}
        assert l4lb(host, "status").startswith("No agent is at work on this host")
        one, *others = DEPLOYED["services"]
        more = {**one, "backends": [*one["backends"], {"address": "203.0.113.99"}]}
        given = {**DEPLOYED, "services": [more, *others]}
        said = l4lb(host, "apply", "--check", "-", given=given, code=3)
        assert "1 backend added (203.0.113.99), what is new counts as healthy until it" in said
        log = len(host.log("agent").read_text())
        balancer.start_agent()
        assert balancer.unhealthy("pages") == {"web1"}
        assert "healthy again" not in host.log("agent").read_text()[log:]
        with Requests(balancer.lab.host("client"), (VIP, 80), kept=False) as requests:
            requests.await_answers()
        assert set(requests.answers) == {"web3", "web4"}
    l4lb(host, "enable", WEB["web2"], "--service", "pages")


def test_there_is_one_agent(balancer: Balancer) -> None:
    assert "another agent is at work" in l4lb(balancer.host, "agent", code=1)


def test_a_new_server_waits_for_its_first_check(balancer: Balancer) -> None:
    """One that is not there yet gets nothing."""
    flows, pages, *others = DEPLOYED["services"]
    more = {**pages, "backends": [*pages["backends"], {"address": "203.0.113.99"}]}
    with applied(balancer, {**DEPLOYED, "services": [flows, more, *others]}) as said:
        assert "1 backend added (203.0.113.99), no flow moves" in said
        with Requests(balancer.lab.host("client"), (VIP, 80), kept=False) as requests:
            requests.await_answers()
        assert not requests.failures


def test_other_servers_only(balancer: Balancer) -> None:
    """The old ones serve until one of the new ones is found healthy, and those that are not get
    nothing."""
    flows, pages, *others = DEPLOYED["services"]
    two = {**pages, "backends": pages["backends"][:2]}
    nobody = {**pages, "backends": [{"address": "203.0.113.99"}, pages["backends"][2]]}
    before = {**DEPLOYED, "services": [flows, two, *others]}
    after = {**DEPLOYED, "services": [flows, nobody, *others]}
    told = (
        "pages: 2 backends added (203.0.113.23, 203.0.113.99), 2 backends removed (203.0.113.21, "
        "203.0.113.22), the old ones serve until a new one is healthy, but no longer than 1.5 s"
    )
    with applied(balancer, before):
        with Requests(balancer.lab.host("client"), (VIP, 80), kept=False) as requests:
            requests.await_answers()
            assert told in l4lb(balancer.host, "apply", "--check", "-", given=after, code=3)
            assert told in l4lb(balancer.host, "apply", "-", given=after)
            requests.await_answers()
        assert not requests.failures
        assert set(requests.answers) == {"web1", "web2", "web3"}
        late = {"timeout after 0.5 s", "no route to host"}  # whichever the kernel has first
        balancer.until(lambda: balancer.health("pages").get("203.0.113.99") in late)
        again = l4lb(balancer.host, "apply", "--check", "-", given=after)
        assert again == "eth0: nothing to change\n"


def test_other_servers_only_and_none_of_them_is_there(balancer: Balancer) -> None:
    """Then all are used, after the time that a check may take, and that is said."""
    flows, pages, *others = DEPLOYED["services"]
    nobody = {**pages, "backends": [{"address": "203.0.113.99"}]}
    after = {**DEPLOYED, "services": [flows, nobody, *others]}
    with applied(balancer, DEPLOYED):
        done = balancer.host.run(["l4lb", "apply", "-"], input=json.dumps(after))
        assert "pages: none of its new backends was healthy within 1.5 s" in done.stderr


def test_an_agent_that_gets_no_cpu_blames_nobody(balancer: Balancer) -> None:
    process = balancer.host.running("agent")
    assert process
    with Requests(balancer.lab.host("client"), (VIP, 80), kept=False) as requests:
        os.kill(process, signal.SIGSTOP)
        time.sleep(10)
        os.kill(process, signal.SIGCONT)
        log = len(balancer.host.log("agent").read_text())
        time.sleep(6 * INTERVAL)
        requests.await_answers()
    assert not requests.failures
    assert "unhealthy" not in balancer.host.log("agent").read_text()[log:]
    assert balancer.unhealthy("pages") == balancer.unhealthy("through") == set()
