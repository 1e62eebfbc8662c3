# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is answered: packets with a header that one can believe, and only so many a second."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.build import reusable_maps
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.clock import ticks_per_second
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import ANSWERS

from tests.packet.harness import NO_LIMIT, VIPS, Balancer, Namespace, backends, service
from tests.packet.limits import Limiter
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import (
    AUTHENTICATION,
    DESTINATION,
    ROUTING,
    Extension,
    frame,
    hop_by_hop,
    tcp,
)
from tests.packet.quotes import PINGS, STRANGERS

MTU = 1400
SERVICES = [
    service(str(version), address=VIPS[version], backends=backends(1, version=version))
    for version in (4, 6)
]
BUCKET = struct.Struct("=QQ")
KINDS = list(ANSWERS)
RATES = {"echo_reply": "echo_rate", "packet_too_big": "too_big_rate"}
HOUR = 3600


def ping(version: int, **fields: Any) -> bytes:
    return frame(PINGS[version](), **{"destination": VIPS[version], **fields})


def long(version: int, **fields: Any) -> bytes:
    """A packet that does not fit."""
    return frame(tcp(data=bytes(MTU)), **{"destination": VIPS[version], **fields})


QUESTIONS = {"echo_reply": ping, "packet_too_big": long}


@pytest.fixture(scope="module")
def still(namespace: Namespace) -> Iterator[Balancer]:
    """A balancer for which no time passes."""
    made = Balancer(namespace, standstill=True)
    yield made
    made.close()


# How many.


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0, 1, 2, 100, NO_LIMIT])
def test_so_many_at_once(still: Balancer, version: int, kind: str, rate: int) -> None:
    options = {RATES[kind]: rate}
    still.configure(*SERVICES, mtu=MTU, **options)
    outcomes = still.send_all([QUESTIONS[kind](version)] * 150)
    answered = min(rate, 150)
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts == [Verdict.TX] * answered + [Verdict.DROP] * (150 - answered)
    counted = still.check()
    assert counted.answers == ({kind: answered} if answered else {})
    assert counted.drops == ({"limited": 150 - answered} if answered < 150 else {})


@pytest.mark.parametrize("flooded", KINDS)
def test_a_flood_of_one_kind_leaves_the_other(still: Balancer, flooded: str) -> None:
    (other,) = set(KINDS) - {flooded}
    still.configure(*SERVICES, mtu=MTU, echo_rate=10, too_big_rate=10)
    still.send_all([QUESTIONS[flooded](4), QUESTIONS[flooded](6)] * 100)
    still.send_all([QUESTIONS[other](4), QUESTIONS[other](6)] * 5)
    counted = still.check()
    assert counted.answers == {flooded: 10, other: 10}
    assert counted.drops == {"limited": 190}


def test_what_is_not_answered_takes_nothing(still: Balancer) -> None:
    still.configure(*SERVICES, mtu=MTU, echo_rate=2, too_big_rate=2)
    unanswered = [
        ping(4, destination=STRANGERS[4]),
        ping(6, destination=STRANGERS[6]),
        ping(4, source="127.0.0.1"),
        ping(6, source="::1"),
        ping(4, checksum=1),
        long(4, source="127.0.0.1"),
        long(6, source="::1"),
        long(4, ttl=1),
        long(6, ttl=1),
        long(4, flags=0),
        long(4, checksum=1),
        long(4, destination=STRANGERS[4]),
        frame(tcp(), destination=VIPS[4]),
        frame(tcp(), destination=VIPS[6]),
    ]
    still.send_all(unanswered * 10)
    still.send_all([ping(4), ping(6), long(4), long(6)])
    still.send_all([ping(4), ping(6), long(4), long(6)])
    counted = still.check()
    assert counted.answers == {"echo_reply": 2, "packet_too_big": 2}
    assert counted.drops["limited"] == 4


# How fast they come back: program and bucket, tick by tick.


@pytest.fixture(scope="module", params=[100, 250, 300, 1000])
def ticking(request: pytest.FixtureRequest, namespace: Namespace) -> Iterator[tuple[Balancer, int]]:
    """A balancer for a kernel of so many ticks a second."""
    ticks: int = request.param
    made = Balancer(namespace, flags=["-UTICKS_PER_SECOND", f"-DTICKS_PER_SECOND={ticks}"])
    yield made, ticks
    made.close()


def bucket(balancer: Balancer, kind: str) -> tuple[int, int]:
    """What is in it, and when it was last filled, on the CPU that packets come by."""
    content = balancer.datapath.counters("limits").lookup(KINDS.index(kind)) or b""
    tokens, filled = BUCKET.unpack_from(content, CPU * BUCKET.size)
    assert content.count(0) >= len(content) - BUCKET.size, "other CPUs have their own"
    return tokens, filled


def set_bucket(balancer: Balancer, kind: str, tokens: int, filled: int) -> None:
    content = bytearray(bpf.possible_cpus() * BUCKET.size)
    BUCKET.pack_into(content, CPU * BUCKET.size, tokens, filled)
    balancer.datapath.counters("limits").update(KINDS.index(kind), bytes(content))


CPU = min(os.sched_getaffinity(0))
"""Where the namespace of the tests lives."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0, 1, 3, 99, 10_000, 2**31, NO_LIMIT])
def test_what_a_bucket_holds(ticking: tuple[Balancer, int], kind: str, rate: int) -> None:
    """An answer takes as many units as a second has ticks; each tick brings `rate` of them, and a
    second's worth is the most. Whatever the bucket held, whenever it was filled."""
    balancer, ticks = ticking
    balancer.configure(*SERVICES, mtu=MTU, **{RATES[kind]: rate})
    most = rate * ticks
    question = QUESTIONS[kind](4)
    answered = 0
    for tokens in sorted({0, 1, ticks - 1, ticks, ticks + 1, most, most + 1, 2**63}):
        for ago in (0, 1, ticks - 1, ticks, ticks + 1, HOUR * ticks, None):
            send(balancer, question)
            now = bucket(balancer, kind)[1]
            filled = 0 if ago is None else now - ago
            set_bucket(balancer, kind, tokens, filled)
            verdict = send(balancer, question)
            left, now = bucket(balancer, kind)
            expected = min(tokens + (now - filled) * rate, most)
            assert verdict is (Verdict.TX if expected >= ticks else Verdict.DROP)
            assert left == expected - (ticks if expected >= ticks else 0)
            answered += verdict is Verdict.TX
    assert bool(answered) is bool(rate)


def send(balancer: Balancer, sent: bytes) -> Verdict:
    """The verdict of the program alone, as the model's clock is another."""
    verdict, _frame = balancer.namespace.call(balancer.datapath.run, sent)
    return Verdict(verdict)


def test_in_real_time(shipped: Balancer) -> None:
    """With the kernel's own clock, however busy the machine is."""
    rate, tick = 200, 1 / ticks_per_second()
    shipped.configure(*SERVICES, echo_rate=rate)
    begin = time.monotonic()
    answered = 0
    while time.monotonic() < begin + 1.5:
        answered += send(shipped, ping(4)) is Verdict.TX
    taken = time.monotonic() - begin
    assert rate <= answered <= rate + rate * (taken + tick)

    while send(shipped, ping(4)) is Verdict.TX:
        pass
    time.sleep(0.5)
    begin = time.monotonic()
    answered = sum(send(shipped, ping(4)) is Verdict.TX for _each in range(rate))
    assert answered >= rate * (0.5 - tick) - 1
    counted = shipped.counted()
    assert set(counted.drops) == {"limited"}


def test_the_model_s_limit() -> None:
    now = 0.0
    limiter = Limiter(4, lambda: now)
    assert [limiter.admits() for _each in range(6)] == [True] * 4 + [False] * 2
    now = 0.25
    assert [limiter.admits() for _each in range(2)] == [True, False]
    now = 3600.0
    assert [limiter.admits() for _each in range(6)] == [True] * 4 + [False] * 2
    assert not Limiter(0, lambda: now).admits()


def test_another_program_takes_the_buckets_over(shipped: Balancer) -> None:
    shipped.configure(*SERVICES)
    datapath = shipped.datapath
    reusable = reusable_maps(datapath.maps, shipped.model.config, datapath.room)
    assert reusable["limits"] is datapath.maps["limits"]


# What can be believed.

NOTHING, NOP, END = b"", b"\x01", b"\0"
RECORD_ROUTE = bytes([7, 7, 4, 0, 0, 0, 0])
LOOSE = bytes([131, 7, 4, 203, 0, 113, 9])
STRICT = bytes([137, 7, 4, 203, 0, 113, 9])
TIMESTAMP = bytes([68, 12, 5, 0]) + LOOSE[:7] + b"\0"
"""With bytes in it that would begin a source route elsewhere."""
ROUTER_ALERT = bytes([148, 4, 0, 0])

OPTIONS: dict[str, tuple[bytes, bool]] = {
    "none": (NOTHING, True),
    "ends at once": (END * 4, True),
    "nothing but NOPs": (NOP * 40, True),
    "record route": (RECORD_ROUTE + END, True),
    "router alert": (ROUTER_ALERT, True),
    "timestamp": (TIMESTAMP, True),
    "as many as fit": (ROUTER_ALERT * 10, True),
    "one of 40 bytes": (bytes([7, 40, 4]) + bytes([131]) * 37, True),
    "an unknown one": (bytes([222, 8]) + LOOSE[:6], True),
    "loose source route": (LOOSE + END, False),
    "strict source route": (STRICT + END, False),
    "used up": (bytes([131, 7, 8, 203, 0, 113, 9]) + END, False),
    "behind a NOP": (NOP + LOOSE, False),
    "behind NOPs": (NOP * 33 + STRICT, False),
    "behind another": (RECORD_ROUTE + LOOSE + END * 2, False),
    "behind a long one": (TIMESTAMP + STRICT + NOP, False),
    "behind the end": (END + LOOSE, True),
    "a kind without a length": (NOP * 3 + bytes([131]), False),
    "an unknown kind without a length": (NOP * 3 + bytes([222]), False),
    "length 0": (bytes([222, 0, 0, 0]), False),
    "length 1": (bytes([222, 1, 0, 0]), False),
    "length 2": (bytes([222, 2, 0, 0]), True),
    "just to the end": (bytes([222, 4, 0, 0]), True),
    "past the end": (bytes([222, 5, 0, 0]), False),
    "far past the end": (bytes([222, 255, 0, 0]), False),
    "past the end behind NOPs": (NOP * 38 + bytes([222, 3]), False),
}


def packets(**fields: Any) -> dict[str, bytes]:
    """Of each kind that is answered."""
    return {kind: question(4, **fields) for kind, question in QUESTIONS.items()}


@pytest.mark.parametrize(("options", "sound"), OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("tags", [[], [1, 2]], ids=["untagged", "tagged"])
def test_options(balancer: Balancer, options: bytes, sound: bool, tags: list[int]) -> None:
    balancer.configure(*SERVICES, mtu=MTU)
    for sent in packets(options=options, tags=tags).values():
        assert balancer.send(sent).verdict is (Verdict.TX if sound else Verdict.DROP)
    # what is sent on is the server's to judge
    assert balancer.send(frame(tcp(), destination=VIPS[4], options=options)).verdict is Verdict.TX
    for sent in (
        ping(4, destination=STRANGERS[4], options=options),
        long(4, destination=STRANGERS[4], options=options),
    ):
        assert balancer.send(sent) == Outcome(Verdict.PASS, sent)
    counted = balancer.check()
    assert counted.drops == ({} if sound else {"malformed": 2})
    assert len(counted.answers) == (2 if sound else 0)


def test_every_first_option(balancer: Balancer) -> None:
    """Every kind with every length that matters."""
    balancer.configure(*SERVICES, mtu=MTU)
    balancer.send_all(
        sent
        for kind in range(256)
        for length in (0, 1, 2, 3, 4, 7, 8, 9, 255)
        for sent in packets(options=bytes([kind, length, 4, 0]) + LOOSE[3:7]).values()
    )
    balancer.check()


def test_any_options(balancer: Balancer, rng: Any) -> None:
    balancer.configure(*SERVICES, mtu=MTU)
    bytes_ = [0, 1, 1, 1, 2, 3, 4, 5, 7, 68, 131, 137, 148, 222, 255]
    balancer.send_all(
        ping(4, options=bytes(rng.choice(bytes_) for _each in range(4 * rng.randint(1, 10))))
        for _each in range(5000)
    )
    balancer.check()


@pytest.mark.parametrize("options", [b"", bytes(4), bytes(40)], ids=["20", "24", "60"])
@pytest.mark.parametrize("tags", [[], [1, 2]], ids=["untagged", "tagged"])
def test_header_checksum(balancer: Balancer, options: bytes, tags: list[int]) -> None:
    """Each bit of the header counts, but for those that make it another kind of packet."""
    balancer.configure(*SERVICES, mtu=MTU)
    start, header = 14 + 4 * len(tags), 20 + len(options)
    unlike = {0, 2, 3, 6, 7, 8, 9, 16, 17, 18, 19}
    frames = []
    for whole in packets(options=options, tags=tags).values():
        frames.append(whole)
        for at in range(header):
            for bit in range(8):
                wrong = bytearray(whole)
                wrong[start + at] ^= 1 << bit
                frames.append(bytes(wrong))
                if at not in unlike:
                    assert balancer.send(frames[-1]).verdict is Verdict.DROP
    balancer.send_all(frames)
    assert balancer.check().answers == dict.fromkeys(KINDS, 1)


def test_a_header_checksum_that_is_wrong_is_sent_on(balancer: Balancer) -> None:
    """The server's stack looks at it anyway."""
    balancer.configure(*SERVICES)
    balancer.send_all(
        frame(tcp(), destination=VIPS[4], checksum=checksum, source=IPv4Address("198.51.100.9"))
        for checksum in (0, 1, 0xBAD, 0xFFFF)
    )
    assert balancer.check().services["4"].packets == 4


def routing_header(left: int, kind: int = 0) -> Extension:
    """With so many segments left (RFC 8200 section 4.4)."""
    return Extension(ROUTING, bytes([2, kind, left, *bytes(4), *bytes(16)]))


CHAINS: dict[str, tuple[list[Extension], bool]] = {
    "routing, 0 left": ([routing_header(0)], True),
    "routing, 1 left": ([routing_header(1)], False),
    "routing, 255 left": ([routing_header(255)], False),
    "segment routing, 0 left": ([routing_header(0, 4)], True),
    "segment routing, 1 left": ([routing_header(1, 4)], False),
    "behind options": ([hop_by_hop(), routing_header(1)], False),
    "before options": ([routing_header(1), Extension(DESTINATION, bytes(7))], False),
    "before another with none": ([routing_header(1), routing_header(0)], False),
    "other headers with that byte": (
        [
            Extension(DESTINATION, bytes([0, 1, 9, *bytes(4)])),
            Extension(AUTHENTICATION, bytes([1, 0, 9, *bytes(8)])),
        ],
        True,
    ),
}


@pytest.mark.parametrize(("chain", "sound"), CHAINS.values(), ids=CHAINS)
def test_source_routes_of_ipv6(balancer: Balancer, chain: list[Extension], sound: bool) -> None:
    balancer.configure(*SERVICES, mtu=MTU)
    for question in QUESTIONS.values():
        outcome = balancer.send(question(6, extensions=chain))
        assert outcome.verdict is (Verdict.TX if sound else Verdict.DROP)
    sent_on = balancer.send(frame(tcp(), destination=VIPS[6], extensions=chain))
    assert sent_on.verdict is Verdict.TX
    assert balancer.check().drops == ({} if sound else {"malformed": 2})
