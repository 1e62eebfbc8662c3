# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients see: who answers, and what becomes of flows while changes are made."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lab import Lab
from lab.host import Host
from lab.traffic.connections import Connections
from lab.traffic.stream import Stream
from tests.fleet.rig.balancers import counters
from tests.fleet.rig.services import ECHO, VIP

SEED = int(os.environ.get("L4LB_SEED", random.SystemRandom().randrange(1 << 32)))
THOROUGH = bool(os.environ.get("L4LB_THOROUGH"))
"""Whether all is to be tried of what samples are taken of otherwise (make fleet-long)."""
FLOWS = 32
PATIENCE = 0.5  # seconds within which a packet that was sent has been balanced


def answers(lab: Lab, count: int = 20, url: str = f"http://{VIP}/") -> Counter[str]:
    """Who answers requests of the client."""
    loop = f"for i in $(seq {count}); do curl -sS --max-time 2 {url}; done"
    return Counter(lab.host("client").run(["sh", "-c", loop]).stdout.split())


def works(lab: Lab, *servers: int, url: str = f"http://{VIP}/") -> None:
    """All requests are answered, by these servers and no other."""
    found = answers(lab, 8 * len(servers) or 1, url)
    assert set(found) <= {f"web{one}" for one in servers}
    assert sum(found.values()) == 8 * len(servers)


@dataclass
class Traffic:
    """Both kinds from the client, while changes are made one after the other."""

    connections: Connections
    stream: Stream
    taken: list[tuple[float, float, set[str]]] = field(default_factory=list)
    """Servers that a change took away from their flows, and when it began and ended."""

    def was_taken(self, server: str, first: int, last: int) -> bool:
        """Whether a server was taken away between two numbers of the stream, or just then."""
        earliest, latest = self.stream.times[first], self.stream.times[last] + PATIENCE
        return any(
            server in servers and start <= latest and earliest <= end
            for start, end, servers in self.taken
        )

    def check(self) -> None:
        """Nothing is lost; nobody's server changed but that of a flow whose server was taken."""
        assert [self.stream.lost(flow) for flow in range(FLOWS)] == [[]] * FLOWS
        assert self.stream.duplicates() == 0
        for flow in range(FLOWS):
            answers = sorted(self.stream.answers[flow].items())
            for (number, (was,)), (next_number, (now,)) in zip(answers, answers[1:]):
                moved = f"flow {flow} went from {was} to {now} at {next_number}"
                assert was == now or self.was_taken(was, number, next_number), moved
        gone = set().union(*(servers for _start, _end, servers in self.taken))
        for number, error in self.connections.broken.items():
            assert self.connections.servers[number] in gone, (number, error)


@contextlib.contextmanager
def traffic(lab: Lab, vip: str = VIP, interval: float = 0.02) -> Iterator[Traffic]:
    """Until the end of the block, after which it is checked."""
    client = lab.host("client")
    with (
        Connections(client, (vip, ECHO), FLOWS) as connections,
        Stream(client, (vip, ECHO), FLOWS, interval) as stream,
    ):
        stream.await_answers()
        result = Traffic(connections, stream)
        yield result
        stream.await_answers()
        connections.await_rounds()
    print(f"{stream.numbers * FLOWS} datagrams, {connections.rounds * FLOWS} texts over TCP")
    result.check()


def assert_all_counted(
    host: Host, stream: Stream, before: dict[str, Any], tolerated: int = 0
) -> None:
    """What the client sent is what the balancer forwarded: no packet to the stream's service is
    missing, and none was dropped.

    tolerated: how many may have gone uncounted where the maps have grown, see catch_up().
    """
    after = counters(host)
    sent = {one["name"]: one["packets"] for one in after["services"]}
    was = {one["name"]: one["packets"] for one in before["services"]}
    missing = stream.numbers * FLOWS - (sent["udp"] - was.get("udp", 0))
    print(f"{missing} packets are not counted")
    assert 0 <= missing <= tolerated
    assert after["drops"] == before["drops"]
