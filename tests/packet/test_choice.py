# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend a flow goes to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.packet.flows import JHASH_SLOTS, MAGLEV_SLOTS
from tests.packet.harness import VIP, VIPS, Balancer, backends, service
from tests.packet.hashing import MASK64, jhash_2words, mix64
from tests.packet.model import Outcome, Verdict
from tests.packet.packets import SEGMENTS, frame, random_flow, random_flow6, tcp
from tests.packet.wire import no_host_has

ALL_PORTS = 0


def flow(source: IPv4Address, source_port: int, port: int, protocol: str = "tcp") -> bytes:
    segment = SEGMENTS[protocol](source_port=source_port, port=port)
    return frame(segment, source=source, destination=VIP)


def random_frames(
    rng: random.Random, count: int, port: int | None, protocol: str = "tcp"
) -> list[bytes]:
    """Packets of random flows, to a port or (None) to any."""
    return [
        flow(*random_flow(rng), rng.getrandbits(16) if port is None else port, protocol)
        for _each in range(count)
    ]


def chosen(outcome: Outcome) -> str | None:
    """The backend that a forwarded frame goes to."""
    return str(IPv4Address(outcome.frame[30:34])) if outcome.frame else None


@pytest.mark.parametrize(("protocol", "port"), [("tcp", 443), ("udp", ALL_PORTS)])
@pytest.mark.parametrize("count", [1, 2, 32, 100, 511, 512])
def test_jhash(shipped: Balancer, rng: random.Random, count: int, port: int, protocol: str) -> None:
    listed = backends(count)
    rng.shuffle(listed)
    shipped.configure(service(port=port, protocol=protocol, backends=listed))
    outcomes = shipped.send_all(random_frames(rng, 10_000, port or None, protocol))
    assert {chosen(outcome) for outcome in outcomes} == {backend["address"] for backend in listed}


STATES: dict[str, dict[str, Any]] = {
    "E": {},
    "H": {"weight": 255},
    "R": {"state": "drained"},
    "X": {"state": "disabled"},
    "0": {"weight": 0},
}
"""E enabled, H with a heavy weight, R drained, X disabled, 0 of weight 0."""


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param("EEE", "012", id="all usable"),
        pytest.param("EHE", "012", id="a weight makes no difference"),
        pytest.param("ERE", "002", id="drained: slot 0 serves"),
        pytest.param("EXE", "002", id="disabled: slot 0 serves"),
        pytest.param("E0E", "002", id="weight 0: slot 0 serves"),
        pytest.param("EX0R", "0000", id="only slot 0 left"),
        pytest.param("REE", "112", id="slot 0 drained: the first usable serves"),
        pytest.param("XEE", "112", id="slot 0 disabled: the first usable serves"),
        pytest.param("0EE", "112", id="slot 0 of weight 0: the first usable serves"),
        pytest.param("RXE", "222", id="the first usable is the last"),
        pytest.param("XERE", "1113", id="slot 0 and another"),
    ],
)
def test_jhash_with_backends_that_take_no_new_flows(
    balancer: Balancer, rng: random.Random, states: str, expected: str
) -> None:
    listed = [{**backend, **STATES[state]} for backend, state in zip(backends(len(states)), states)]
    balancer.configure(service(backends=listed))
    outcomes = balancer.send_all(one_flow_per_jhash_slot(rng, 443))
    assert [chosen(outcome) for outcome in outcomes] == [
        listed[int(expected[slot % len(states)])]["address"] for slot in range(JHASH_SLOTS)
    ]


def one_flow_per_jhash_slot(rng: random.Random, port: int) -> list[bytes]:
    found: dict[int, bytes] = {}
    while len(found) < JHASH_SLOTS:
        source, source_port = random_flow(rng)
        ports_word = int.from_bytes(
            source_port.to_bytes(2, "big") + port.to_bytes(2, "big"), "little"
        )
        slot = (
            jhash_2words(int.from_bytes(source.packed, "little"), ports_word, JHASH_SLOTS)
            % JHASH_SLOTS
        )
        found.setdefault(slot, flow(source, source_port, port))
    return [found[slot] for slot in range(JHASH_SLOTS)]


def mixed_backends(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Backends of any weight, a few of them drained, disabled or of weight 0."""
    listed = backends(count)
    for backend in listed:
        backend["weight"] = rng.choice([0, 1, 1, 2, 10, 255])
        backend["state"] = rng.choice(["enabled"] * 6 + ["drained", "disabled"])
    rng.shuffle(listed)
    return listed


@pytest.mark.parametrize("count", [2, 32, 100, 512])
def test_jhash_with_any_weights_and_states(
    shipped: Balancer, rng: random.Random, count: int
) -> None:
    shipped.configure(service(backends=mixed_backends(rng, count)))
    shipped.send_all(random_frames(rng, 10_000, 443))
    shipped.check()


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
@pytest.mark.parametrize("count", [1, 2, 32, 100, 512])
def test_maglev(shipped: Balancer, rng: random.Random, count: int, seed: int) -> None:
    shipped.configure(
        service(port=ALL_PORTS, scheduler="maglev", backends=backends(count)), hash_seed=seed
    )
    outcomes = shipped.send_all(random_frames(rng, 10_000, None))
    assert len({chosen(outcome) for outcome in outcomes}) > 0.95 * count


@pytest.mark.parametrize("seed", [0, 4711])
@pytest.mark.parametrize("count", [2, 32, 100, 512])
def test_maglev_with_any_weights_and_states(
    shipped: Balancer, rng: random.Random, count: int, seed: int
) -> None:
    listed = mixed_backends(rng, count)
    listed[0].update(weight=3, state="enabled")
    shipped.configure(service(scheduler="maglev", backends=listed), hash_seed=seed)
    outcomes = shipped.send_all(random_frames(rng, 10_000, 443))
    unusable = {b["address"] for b in listed if b["state"] != "enabled" or b["weight"] == 0}
    assert not unusable & {chosen(outcome) for outcome in outcomes}


def unmix64(word: int) -> int:
    """The inverse of mix64: what is hashed to `word`."""
    word ^= word >> 31 ^ word >> 62
    word = word * pow(0x94D049BB133111EB, -1, 2**64) & MASK64
    word ^= word >> 27 ^ word >> 54
    word = word * pow(0xBF58476D1CE4E5B9, -1, 2**64) & MASK64
    return word ^ word >> 30 ^ word >> 60


def flow_hashed_to(words: Iterable[int], seed: int) -> bytes:
    """A packet whose flow has one of these hashes under maglev: the first that a host may send."""
    for word in words:
        flow_word = unmix64(word) ^ (seed * 0x9E3779B97F4A7C15 & MASK64)
        raw = flow_word.to_bytes(8, "little")
        source, ports = IPv4Address(raw[:4]), raw[4:]
        if not no_host_has(source):
            break
    return flow(source, int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big"))


def test_unmix64_undoes_mix64(rng: random.Random) -> None:
    for word in [0, 1, MASK64, *(rng.getrandbits(64) for _each in range(1000))]:
        assert mix64(unmix64(word)) == word


@pytest.mark.parametrize("seed", [0, 0xDECAFBAD])
def test_maglev_in_every_slot(shipped: Balancer, seed: int) -> None:
    """The first hash of each slot, and the last of some."""
    shipped.configure(
        service(port=ALL_PORTS, scheduler="maglev", backends=backends(100)), hash_seed=seed
    )
    firsts = [-(-(slot << 32) // MAGLEV_SLOTS) for slot in range(MAGLEV_SLOTS)]
    outcomes = shipped.send_all(
        flow_hashed_to(range(first << 32, MASK64), seed) for first in firsts
    )
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
    lasts = [(first << 32) - 1 for first in firsts[1:1000]] + [MASK64]
    shipped.send_all(flow_hashed_to(range(last, 0, -1), seed) for last in lasts)


def test_maglev_hashes_apart_from_the_packet_s_content(balancer: Balancer) -> None:
    """Packets of one flow have one backend, whatever else they carry."""
    balancer.configure(service(scheduler="maglev", backends=backends(100)))
    variants = [
        frame(
            tcp(flags=flags, data=bytes(length)),
            destination=VIP,
            tos=tos,
            ttl=ttl,
            identification=number,
        )
        for flags, length, tos, ttl, number in [
            (0x02, 0, 0, 64, 0),
            (0x10, 0, 0, 64, 1),
            (0x18, 1000, 0xB8, 63, 2),
            (0x11, 1, 3, 2, 0xFFFF),
        ]
    ]
    assert len({chosen(outcome) for outcome in balancer.send_all(variants)}) == 1


@pytest.mark.parametrize("version", [4, 6])
def test_a_secret_seed_keeps_strangers_from_choosing_a_backend(
    shipped: Balancer, rng: random.Random, version: int
) -> None:
    """Who knows the configuration, but no seed, finds flows from many addresses that all reach one
    backend if the seed is 0."""
    web = service(address=VIPS[version], scheduler="maglev", backends=backends(20, version=version))
    frames = []
    for _turn in range(15_000):
        source, port = (random_flow if version == 4 else random_flow6)(rng)
        segment = tcp(source_port=port)
        frames.append(frame(segment, source=source, destination=VIPS[version]))

    def taken(sent: list[bytes]) -> list[bytes]:
        at = {4: slice(30, 34), 6: slice(38, 54)}[version]
        return [(outcome.frame or b"")[at] for outcome in shipped.send_all(sent)]

    shipped.configure(web)
    backend = taken(frames[:1])[0]
    computed = [sent for sent, to in zip(frames, taken(frames)) if to == backend][:500]
    assert len(computed) == 500
    shipped.configure(web, hash_seed=0x9D1B_66F0_42C3_A857)
    shares = Counter(taken(computed))
    assert len(shares) == 20
    assert max(shares.values()) < 50  # 25 on average


def test_the_scheduler_belongs_to_the_service(balancer: Balancer, rng: random.Random) -> None:
    """Services of one address with different schedulers do not disturb each other."""
    balancer.configure(
        service("a", port=443, scheduler="jhash", backends=backends(7)),
        service("b", port=444, scheduler="maglev", backends=backends(9)),
        service("c", port=ALL_PORTS, scheduler="jhash", backends=backends(5, state="drained")),
        service("d", port=ALL_PORTS, protocol="udp", scheduler="maglev", backends=backends(11)),
        hash_seed=99,
    )
    frames = [
        *random_frames(rng, 500, 443),
        *random_frames(rng, 500, 444),
        *random_frames(rng, 500, None),
        *random_frames(rng, 500, None, "udp"),
    ]
    rng.shuffle(frames)
    balancer.send_all(frames)
    balancer.check()
