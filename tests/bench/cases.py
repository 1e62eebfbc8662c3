# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, and what is expected of it. Each case is a few lines: add yours here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import ip_address
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Service
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import (
    AFFINITIES,
    ENCAPSULATIONS,
    SCHEDULERS,
)

from tests.bench import control, controller, frames, subjects
from tests.bench.frames import SYN, UDP, Target, traffic
from tests.bench.subjects import Subject

XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4

FLOOR, SEED = "floor", "seed"
DROP_ALONE, PASS_ALONE, TX_ALONE = "XDP_DROP alone", "XDP_PASS alone", "XDP_TX alone"
STATELESS = "stateless (flow_table: false), one service"
HIT = "flow table hit"
MISS = "flow table miss, every packet a new flow"
IPV6 = "IPv6 in IPv6 stateless"
GUE = "GUE stateless"
NOT_FOR_US = "non-service TCP"
ONE_AND_ONE = "1 service of 1 backend"
ON_THE_WIRE = (FLOOR, SEED, STATELESS, HIT, MISS, IPV6, GUE, NOT_FOR_US)
"""What is measured with real frames, too."""


@dataclass(frozen=True)
class Limit:
    """What a case may take at most: `most` times what another takes, or `most` of a unit."""

    most: float
    than: str | None = None
    unit: str = "ns"

    def __str__(self) -> str:
        return f"<= {self.most:g} {f'x {self.than}' if self.than else self.unit}"


@dataclass(frozen=True)
class Case:
    """A program and the frames it gets."""

    name: str
    subject: Callable[[], Subject]
    frames: Callable[[], list[bytes]]
    verdict: int = XDP_TX
    limit: Limit | None = None
    fresh: bool = False
    """Every packet is a new flow; else there are 4096, over and over."""
    crowded: bool = False
    """A great many other flows went before."""


@dataclass(frozen=True)
class Chore:
    """Something that the control plane does."""

    name: str
    seconds: Callable[[int], list[float]]
    """That it takes, as often as it is asked."""
    limit: Limit | None = None


def case(
    name: str,
    services: list[dict[str, Any]],
    limit: Limit | None = None,
    *,
    to: Sequence[Target] | None = None,
    protocol: int = frames.TCP,
    flags: int = frames.ACK,
    fresh: bool = False,
    crowded: bool = False,
    verdict: int = XDP_TX,
    **options: Any,
) -> Case:
    """This project's program with these services, and frames to all of them (or `to` others)."""
    targets = to or [Target(service["address"], service["port"]) for service in services]
    config = {"interface": "lo", "gateway_mac": subjects.GATEWAY_MAC, **options}
    config["services"] = services
    use = "fresh" if fresh else "crowded" if crowded else ""
    return Case(
        name,
        partial(subjects.balancer, config, use),
        partial(traffic, targets, protocol, flags),
        verdict,
        limit,
        fresh,
        crowded,
    )


def services(
    count: int = 1,
    backends: int = 100,
    vip: str = "198.51.100.10",
    backend: str = "10.0.0.1",
    **options: Any,
) -> list[dict[str, Any]]:
    """`count` services, 16 ports to an address from `vip` on, of `backends` each from `backend`."""
    if not options.get("flow_table", True) and "flow_table" not in Service.__dataclass_fields__:
        del options["flow_table"]  # there is none that could be off
    members = [{"address": str(ip_address(backend) + index)} for index in range(backends)]
    return [
        {
            "name": f"service {number}",
            "address": str(ip_address(vip) + number // 16),
            "port": 443 + number % 16,
            "protocol": "tcp",
            "backends": members,
            **options,
        }
        for number in range(count)
    ]


def stateless(count: int = 1, backends: int = 100, **options: Any) -> list[dict[str, Any]]:
    """Services without a flow table."""
    return services(count, backends, flow_table=False, **options)


def everything() -> list[dict[str, Any]]:
    """Services that together use all that a program can be compiled for, but not from the address
    of the services that others measure."""
    found = []
    for number, encapsulation in enumerate(ENCAPSULATIONS):
        kind: dict[str, Any] = {
            "encapsulation": encapsulation,
            "port": number,
            "affinity": AFFINITIES[number % 2],
        }
        scheduler = SCHEDULERS[number % 2]
        found += services(1, 1, scheduler=scheduler, **kind)
        found += services(1, 1, VIP6, BACKEND6, **kind)
    return [{**service, "name": f"service {number}"} for number, service in enumerate(found)]


VIP6, BACKEND6 = "2001:db8::10", "fd00::1"
NOBODY = [Target("203.0.113.77", 443)]


def packet_cases() -> Iterator[Case]:
    """What a packet costs, in the order in which it is shown."""
    plain = [Target("198.51.100.10")]
    yield Case(FLOOR, subjects.floor, partial(traffic, plain))
    yield Case(SEED, subjects.seed, partial(traffic, plain))

    # the targets of the project
    yield case(STATELESS, stateless(), Limit(0.55, SEED))
    yield case(HIT, services(), Limit(0.72, SEED))
    yield case(MISS, services(), Limit(1.5, SEED), fresh=True)
    yield case(
        IPV6,
        stateless(vip=VIP6, backend=BACKEND6),
        Limit(0.68, SEED),
        source_address6="2001:db8::2",
    )
    yield case(GUE, stateless(encapsulation="gue"), Limit(0.6, SEED))
    yield case(NOT_FOR_US, stateless(), Limit(6), to=NOBODY, verdict=XDP_PASS)
    yield case(
        "non-service TCP, every feature in use",
        everything(),
        Limit(10),
        to=NOBODY,
        verdict=XDP_PASS,
        source_address="192.0.2.128/25",
        source_address6="2001:db8::/64",
    )
    yield case(ONE_AND_ONE, stateless(1, 1))
    yield case("growth from 1 to 1000 services", stateless(1000, 1), Limit(1.3, ONE_AND_ONE))
    yield case(
        "growth from 1 to 1000 backends per service", stateless(1, 1000), Limit(1.3, ONE_AND_ONE)
    )

    # other schedulers, encapsulations, families and next hops
    yield case("jhash scheduler, stateless", stateless(scheduler="jhash"))
    yield case("UDP, stateless", stateless(protocol="udp"), protocol=UDP)
    yield case("GRE stateless", stateless(encapsulation="gre"))
    yield case("l2 stateless", stateless(encapsulation="l2"))
    yield case("IPv4 in IPv6 stateless", stateless(backend=BACKEND6), source_address6="2001:db8::2")
    yield case("IPv6 in IPv4 stateless", stateless(vip=VIP6))
    yield case(
        "source spread over a prefix, stateless", stateless(), source_address="192.0.2.128/25"
    )
    yield case("affinity source, stateless", stateless(affinity="source"))
    yield case(
        "next hop by routing, stateless", stateless(), gateway_mac=None, verdict=XDP_REDIRECT
    )

    # fuller tables, floods, and what is not for us
    yield case("flow table hit, table full of other flows", services(), crowded=True)
    yield case("stateless, every packet a new flow", stateless(), fresh=True)
    yield case("SYN flood with the flow table", services(), flags=SYN, fresh=True)
    yield case(
        "non-service TCP beside 1000 services", stateless(1000, 1), to=NOBODY, verdict=XDP_PASS
    )
    yield case(
        "another port of a service's address",
        stateless(),
        to=[Target("198.51.100.10", 80)],
        verdict=XDP_PASS,
    )
    yield case("non-service UDP", stateless(), to=NOBODY, protocol=UDP, verdict=XDP_PASS)
    yield case("non-service IPv6", stateless(), to=[Target("2001:db8:77::1")], verdict=XDP_PASS)


def wire_cases() -> Iterator[Case]:
    """What is measured with real frames, and first what it is compared with."""
    for name, verdict in ((DROP_ALONE, XDP_DROP), (PASS_ALONE, XDP_PASS), (TX_ALONE, XDP_TX)):
        program = name.split()[0]
        plain = partial(traffic, [Target("198.51.100.10")])
        yield Case(name, partial(subjects.baseline, program), plain, verdict)
    yield from (case for case in packet_cases() if case.name in ON_THE_WIRE)


def chores() -> Iterator[Chore]:
    """What the control plane takes."""
    yield Chore(
        "replace one backend of 512 (65537 slots), library time",
        partial(control.replace_one, services(1, 512)),
        Limit(60, unit="ms"),
    )
    yield Chore(
        "second run that changes nothing, module time on the host",
        partial(control.second_run, services(1, 512)),
        Limit(250, unit="ms"),
    )
    many = services(64, 512)
    yield Chore(
        "64 services of 512 backends, the first time, library time",
        partial(control.first_time, many),
        Limit(10000, unit="ms"),
    )
    yield Chore(
        "replace one backend of 64 services of 512, library time",
        partial(control.replace_one, many),
        Limit(500, unit="ms"),
    )
    yield Chore(
        "replace one backend of 64 services of 512, module time on the host",
        partial(control.run_to_replace_one, many),
        Limit(10000, unit="ms"),
    )
    yield Chore(
        "health verdict to switch, one server in 64 services of 512, library time",
        partial(control.judge_one, many),
        Limit(50, unit="ms"),
    )
    yield Chore(
        "second run that changes nothing, 64 services of 512, module time on the host",
        partial(control.second_run, many),
        Limit(1000, unit="ms"),
    )
    yield from deploys()


def deploys() -> Iterator[Chore]:
    """What Ansible takes on the controller, and beside that what it takes for doing nothing."""
    for deploy, cpu_time, hosts, deployed, most, times in (
        ("200 services of 50", "of the controller", 1, services(200, 50), 5000, 5),
        ("50 hosts", "of the controller per host", 50, services(1, 4), 2000, 1.5),
    ):
        empty = f"ten empty tasks, {hosts} at a time, CPU time {cpu_time}"
        taken = cache(partial(controller.unchanged_deploy, deployed, hosts))
        name = f"unchanged deploy of {deploy}"
        yield Chore(f"{name}, CPU time {cpu_time}", taken, Limit(most, unit="ms"))
        yield Chore(empty, partial(controller.ten_empty_tasks, hosts))
        yield Chore(f"{name}, as a ratio", taken, Limit(times, empty))
