# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes by bare TCP and UDP, of real servers; and what is not the backend's fault."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import (
    CannotProbe,
    Target,
)

from tests.backends import (
    IMPATIENT,
    Handler,
    Result,
    ask,
    check,
    close,
    closed_port,
    endlessly,
    greet,
    hang,
    prober,
    reset,
    say,
    target,
    tcp,
    udp,
)

BUSY = b"busy\r\n"
GONE = "timeout after 0.4 s"
TCP: dict[str, tuple[Handler, dict[str, Any], Result]] = {
    "a listener": (hang, {}, (True, True, "connected")),
    "a greeting": (greet, {"expect": "220 "}, (True, True, "answered as expected")),
    "any answer": (say(b"x"), {"send": "PING\r\n"}, (True, True, "answered")),
    "in two parts": (
        say(b"+PO", b"NG\r\n"),
        {"send": "PING\r\n", "expect": "+PONG"},
        (True, True, "answered as expected"),
    ),
    "another answer": (
        say(BUSY),
        {"send": "PING\r\n", "expect": "+PONG"},
        (False, True, "said 'busy\\r\\n', not what is expected"),
    ),
    "another answer, and then nothing": (
        say(BUSY, then_wait=True),
        {"send": "PING\r\n", "expect": "+PONG", "timeout": IMPATIENT},
        (False, True, "said 'busy\\r\\n', not what is expected"),
    ),
    "no greeting": (hang, {"expect": "220", "timeout": IMPATIENT}, (False, False, GONE)),
    "closed": (close, {"expect": "220"}, (False, False, "closed without a word")),
    "reset": (
        reset,
        {"send": "x", "expect": "220"},
        (False, False, "connection reset by peer"),
    ),
    "endless": (
        endlessly(b"", b"x" * 65536),
        {"send": "x", "expect": "220"},
        (False, True, "the answer is too long"),
    ),
    "a byte at a time": (
        endlessly(b"", b"x", pause=0.05),
        {"send": "x", "expect": "220", "timeout": IMPATIENT},
        (False, True, "said 'xxxx"),
    ),
    "orders to a terminal": (
        say(b"\x1b[2J\xff\0" * 99),
        {"send": "x", "expect": "220"},
        (False, True, "said '\\x1b[2J\\xff\\x00"),
    ),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("case", TCP)
def test_tcp(case: str, version: int) -> None:
    handler, options, (healthy, answered, reason) = TCP[case]

    async def trial() -> Result:
        async with prober() as asking, tcp(handler, version) as backend:
            return await ask(asking, check("tcp", **options), backend)

    found = asyncio.run(trial())
    assert found[:2] == (healthy, answered)
    assert found[2].startswith(reason)


@pytest.mark.parametrize("kind", ["tcp", "http", "https"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_closed_port(kind: str, version: int) -> None:
    async def trial() -> Result:
        async with prober() as asking:
            return await ask(asking, check(kind), target(closed_port(version=version), version))

    assert asyncio.run(trial()) == (False, False, "connection refused")


def test_a_listener_does_not_see_a_probe() -> None:
    """The handshake is not completed, so that accept does not return."""

    async def trial() -> list[Any]:
        seen: list[Any] = []

        async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(writer.get_extra_info("peername"))

        async with prober() as asking, tcp(handler) as backend:
            for _each in range(20):
                assert (await ask(asking, check("tcp"), backend))[0]
            await asyncio.sleep(0.1)
        return seen

    assert asyncio.run(trial()) == []


def test_probes_leave_no_connection_in_time_wait() -> None:
    async def trial() -> int:
        async with prober() as asking, tcp(greet) as backend:
            for _each in range(20):
                assert (await ask(asking, check("tcp", expect="220"), backend))[0]
            return backend.port

    port = f":{asyncio.run(trial()):04X} "
    with open("/proc/net/tcp") as table:  # noqa: PTH123 (it is not a file)
        assert [line for line in table if port in line and line.split()[3] == "06"] == []


UDP: dict[str, tuple[Any, dict[str, Any], Result]] = {
    "an answer": (lambda _said: [b"pong"], {"send": "ping"}, (True, True, "answered")),
    "an empty packet": (lambda said: [b"pong"] * (not said), {}, (True, True, "answered")),
    "the text": (lambda said: [said], {"send": "a b", "expect": "b"}, (True, True, "answered")),
    "at last": (lambda _said: [b"a", b"", b"b"], {"expect": "b"}, (True, True, "answered")),
    "silence": (lambda _said: [], {"timeout": IMPATIENT}, (True, True, "no error came")),
    "silence is not the text": (
        lambda _said: [],
        {"expect": "b", "timeout": IMPATIENT},
        (False, False, GONE),
    ),
    "another text": (
        lambda _said: [b"a"],
        {"expect": "b", "timeout": IMPATIENT},
        (False, True, "said 'a', not what is expected"),
    ),
    "a flood of nothing": (
        lambda _said: [b""] * 200,
        {"expect": "b", "timeout": IMPATIENT},
        (False, True, "said '', not what is expected"),
    ),
    "a flood": (
        lambda _said: [b"a" * 60000] * 3,
        {"expect": "b", "timeout": IMPATIENT},
        (False, True, "said 'aaaaaaaaaaaaaaaaaaaa', not what is expected"),
    ),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("case", UDP)
def test_udp(case: str, version: int) -> None:
    answers, options, result = UDP[case]

    async def trial() -> Result:
        async with prober() as asking, udp(answers, version) as backend:
            return await ask(asking, check("udp", **options), backend)

    assert asyncio.run(trial()) == result


@pytest.mark.parametrize("kind", ["udp", "dns"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_closed_port_of_udp(kind: str, version: int) -> None:
    async def trial() -> Result:
        options: dict[str, Any] = {"query": "www.example.com A"} if kind == "dns" else {}
        port = closed_port(socket.SOCK_DGRAM, version)
        async with prober() as asking:
            return await ask(asking, check(kind, **options), target(port, version))

    assert asyncio.run(trial()) == (False, False, "connection refused")


# What is not the backend's fault


def cannot(probed: Target, kind: str = "tcp", **options: Any) -> str:
    async def trial() -> None:
        async with prober() as asking:
            await asking.probe(check(kind, **options), probed)

    with pytest.raises(CannotProbe) as caught:
        asyncio.run(trial())
    return caught.value.reason


@pytest.mark.parametrize("kind", ["tcp", "http", "https", "udp"])
def test_no_route(kind: str) -> None:
    nowhere = ip_address("255.255.255.255")
    assert cannot(Target(nowhere, 80, nowhere), kind) == "no route to 255.255.255.255"


def test_files_are_left_for_all_else() -> None:
    """However many checks there are, and however long they take."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def trial() -> list[str]:
        async with tcp(hang) as silent:
            resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
            try:
                async with prober() as asking:
                    probes = (
                        asking.probe(check("http", 1), silent) for unused in range(300 - 256 + 3)
                    )
                    results = await asyncio.gather(*probes, return_exceptions=True)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return [one.reason for one in results if isinstance(one, CannotProbe)]

    assert asyncio.run(trial()) == ["more checks at a time than there may be open files"] * 3


def test_no_descriptors() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def trial() -> str:
        async with prober() as asking:
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
            taken = []
            try:
                with pytest.raises(OSError, match="Too many open files"):
                    while True:
                        taken.append(os.dup(0))
                with pytest.raises(CannotProbe) as caught:
                    await asking.probe(check("tcp"), target(9))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for fd in taken:
                    os.close(fd)
            return caught.value.reason

    assert asyncio.run(trial()) == "too many open files"


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_process_without_a_cpu_blames_nobody(at_the_end: bool) -> None:
    """It sleeps in place of being kept from running."""

    async def trial() -> str:
        async with prober() as asking, tcp(hang) as backend:
            probe = asyncio.ensure_future(
                asking.probe(check("tcp", expect="220", timeout=1), backend)
            )
            await asyncio.sleep(0.7 if at_the_end else 0.1)
            time.sleep(1.2 if at_the_end else 0.7)
            with pytest.raises(CannotProbe) as caught:
                await probe
            return caught.value.reason

    assert asyncio.run(trial()).startswith("this host was late by ")


def test_a_cancelled_probe_leaves_nothing() -> None:
    async def trial() -> None:
        async with prober() as asking, tcp(hang) as backend:
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            probe = asyncio.ensure_future(asking.probe(check("tcp", expect="220"), backend))
            await asyncio.sleep(0.1)
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
            await asyncio.sleep(0.1)
            assert len(os.listdir("/proc/self/fd")) <= before + 1  # the server's end  # noqa: PTH208

    asyncio.run(trial())
