# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes by DNS: servers that answer, and such as only seem to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from tests.backends import IMPATIENT, Result, ask, check, prober, udp

GONE = "timeout after 0.4 s"
A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV = 1, 2, 5, 6, 12, 15, 16, 28, 33
POINTER = b"\xc0\x0c"
"""To the name that is asked for."""


def name(text: str) -> bytes:
    return b"".join(bytes([len(one)]) + one.encode() for one in text.split(".")) + b"\0"


def record(kind: int, data: bytes, owner: bytes = POINTER) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def answer(*records: bytes, code: int = 0, flags: int = 0x8180) -> Callable[[bytes], list[bytes]]:
    def to(query: bytes) -> list[bytes]:
        counts = struct.pack("!HHHHH", flags | code, 1, len(records), 0, 0)
        return [query[:2] + counts + query[12:] + b"".join(records)]

    return to


def packed(address: str) -> bytes:
    return ip_address(address).packed


GOOD = answer(record(A, packed("192.0.2.1")), record(A, packed("192.0.2.2")))
NO_DNS = (False, True, "the answer is no DNS")
CASES: dict[str, tuple[Any, dict[str, Any], Result]] = {
    "good": (GOOD, {}, (True, True, "NOERROR")),
    "no such name": (answer(code=3), {}, (True, True, "NXDOMAIN")),
    "servfail": (answer(code=2), {}, (False, True, "SERVFAIL")),
    "refused": (answer(code=5), {}, (False, True, "REFUSED")),
    "an unknown code": (answer(code=11), {}, (True, True, "RCODE 11")),
    "the address": (GOOD, {"expect": "192.0.2.2"}, (True, True, "NOERROR, 192.0.2.2")),
    "another address": (
        GOOD,
        {"expect": "192.0.2.20"},
        (False, True, "192.0.2.1, not 192.0.2.20"),
    ),
    "no address": (answer(), {"expect": "192.0.2.1"}, (False, True, "NOERROR, but no 192.0.2.1")),
    "servfail in place of an address": (
        answer(code=2),
        {"expect": "192.0.2.1"},
        (False, True, "SERVFAIL"),
    ),
    "AAAA": (
        answer(record(AAAA, packed("2001:db8::1"))),
        {"query": "www.example.com AAAA", "expect": "2001:DB8:0::1"},
        (True, True, "NOERROR, 2001:DB8:0::1"),
    ),
    "an alias first": (
        answer(
            record(CNAME, name("web.example.net")),
            record(A, packed("192.0.2.7"), name("web.example.net")),
        ),
        {"expect": "192.0.2.7"},
        (True, True, "NOERROR, 192.0.2.7"),
    ),
    "MX": (
        answer(record(MX, b"\0\x0a" + b"\4mail" + b"\xc0\x10")),
        {"query": "www.example.com MX", "expect": "10 mail.example.com."},
        (True, True, "NOERROR, 10 mail.example.com."),
    ),
    "TXT": (
        answer(record(TXT, b"\3rea\2dy")),
        {"query": "www.example.com TXT", "expect": "ready"},
        (True, True, "NOERROR, ready"),
    ),
    "SRV": (
        answer(record(SRV, b"\0\1\0\2\x01\xbb" + name("a.example"))),
        {"query": "www.example.com SRV", "expect": "1 2 443 a.example"},
        (True, True, "NOERROR, 1 2 443 a.example"),
    ),
    "SOA": (
        answer(record(SOA, name("a.b") + name("c.d") + struct.pack("!IIIII", 1, 2, 3, 4, 5))),
        {"query": "www.example.com SOA", "expect": "a.b c.d 1 2 3 4 5"},
        (True, True, "NOERROR, a.b c.d 1 2 3 4 5"),
    ),
    "silence": (lambda _query: [], {"timeout": IMPATIENT}, (False, False, GONE)),
    "of another question": (
        lambda query: [bytes([query[0] ^ 1]) + one[1:] for one in GOOD(query)],
        {"timeout": IMPATIENT},
        (False, False, GONE),
    ),
    "after that of another question": (
        lambda query: [bytes([query[0] ^ 1]) + query[1:], *GOOD(query)],
        {},
        (True, True, "NOERROR"),
    ),
    "an echo": (lambda query: [query], {}, NO_DNS),
    "another name": (
        lambda query: [query[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + name("a.example") + b"\0\1\0\1"],
        {},
        NO_DNS,
    ),
    "nothing but the identity": (lambda query: [query[:2]], {}, NO_DNS),
    "cut off": (lambda query: [GOOD(query)[0][:-1]], {"expect": "192.0.2.9"}, NO_DNS),
    "more records than there are": (
        lambda query: [query[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + query[12:]],
        {"expect": "192.0.2.1"},
        NO_DNS,
    ),
    "a name that points to itself": (
        lambda query: [
            query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:] + b"\xc0" + bytes([len(query)])
        ],
        {"expect": "192.0.2.1"},
        NO_DNS,
    ),
    "an address of three bytes": (answer(record(A, b"abc")), {"expect": "192.0.2.1"}, NO_DNS),
    "orders to a terminal": (
        answer(record(TXT, b"\5\x1b[2J\xff")),
        {"query": "www.example.com TXT", "expect": "ready"},
        (False, True, "\\x1b[2J\\xff, not ready"),
    ),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("case", CASES)
def test_dns(case: str, version: int) -> None:
    answers, options, result = CASES[case]

    async def trial() -> Result:
        async with prober() as asking, udp(answers, version) as backend:
            given = {"query": "www.example.com", **options}
            return await ask(asking, check("dns", **given), backend)

    assert asyncio.run(trial()) == result


def test_identities_and_ports_cannot_be_guessed() -> None:
    queries: set[bytes] = set()

    def answers(query: bytes) -> list[bytes]:
        queries.add(query)
        return GOOD(query)

    async def trial() -> None:
        async with prober() as asking, udp(answers) as backend:
            for _each in range(64):
                assert (await ask(asking, check("dns", query="WWW.Example.com."), backend))[0]

    asyncio.run(trial())
    assert len({query[:2] for query in queries}) > 32
    (rest,) = {query[2:] for query in queries}
    assert rest == b"\1\0\0\1\0\0\0\0\0\0" + name("www.example.com") + b"\0\1\0\1"


def test_any_message_is_survived() -> None:
    """Every byte of an answer is damaged once, and every length of it comes."""
    good = answer(
        record(MX, b"\0\x0a" + b"\4mail" + b"\xc0\x10"),
        record(SOA, name("a.b") + name("c.d") + bytes(20)),
    )
    damage: list[tuple[int, int | None]] = [
        *((at, value) for at in range(2, 100) for value in (0, 0xC0, 0xFF)),
        *((at, None) for at in range(2, 100)),
    ]

    def answers(query: bytes) -> list[bytes]:
        at, value = damage[-1]
        message = bytearray(good(query)[0])
        if value is None:
            del message[at:]
        elif at < len(message):
            message[at] = value
        return [bytes(message)]

    async def trial() -> None:
        given = check("dns", query="www.example.com MX", expect="10 mail.example.com")
        async with prober() as asking, udp(answers) as backend:
            while damage:
                await ask(asking, given, backend)
                damage.pop()

    asyncio.run(trial())
