# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An explanation in words, as lines that have a label each."""

from __future__ import annotations

from collections.abc import Iterator

from ...maps.reasons import ANSWERS, DROPS
from ...model.config import Backend, Service
from ...printable import listed
from ..report import health_told
from .explanation import Explanation, Memory, Outcome, Server
from .outer import outer, told_mtu
from .packet import TCP_FLAGS
from .ways import Gateway

Line = tuple[str, str]
"""A label, and what belongs to it."""
NOT_OWN = "the interface had another MAC address at the last run; apply the configuration again"
OTHER_SOURCES = "the live program is of another version; apply to bring this one"
_ORIGINS = {
    "interface": "of the device",
    "route": "of the route",
    "option": "of the backend's option mtu",
}
_BY_ROUTING = ("no_route", "no_neighbour", "forwarding_off", "no_egress")


def told(found: Explanation) -> list[Line]:
    """All of it."""
    service = found.found.service
    lines = [("packet", _packet(found)), ("service", _service(found))]
    if service:
        lines.append(("flow table", _flow_table(found)))
        if not (found.packet.error and found.memory):
            lines.append(("scheduler", _scheduler(found, service)))
    for outcome in found.outcomes:
        lines.append((_where(found, outcome), _fate(found, outcome)))
        lines += _way(found, outcome)
    chosen = [one.chosen for one in found.outcomes]
    for server in found.servers:
        if server.backend not in chosen:
            lines.append(("aside", f"{_state(server)}; {_health(found, server)}"))
    if found.found.other_sources:
        lines.append(("but", OTHER_SOURCES))
    return lines


# What comes


def _packet(found: Explanation) -> str:
    packet, flow = found.packet, found.packet.flow
    ends = f"{endpoint(flow.source, flow.source_port)} to "
    ends += endpoint(flow.destination, flow.destination_port)
    where = f"in by {found.interface} ({found.mode})"
    if packet.error:
        return (
            f"ICMP error {packet.error} from {packet.reporter or flow.source}, about an answer of "
            f"{flow.protocol} {ends}; {where}"
        )
    flags = ""
    if flow.protocol == "tcp":
        names = [name for name, bit in TCP_FLAGS.items() if packet.flags & bit]
        flags = f", {'+'.join(names).upper() or 'no flags'}"
    return f"{flow.protocol} {ends}{flags}, {packet.length} bytes; {where}"


def endpoint(address: object, port: int) -> str:
    """As one would type it."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def _service(found: Explanation) -> str:
    service = found.found.service
    if service:
        where = f"{service.address} {service.protocol} {service.port or 'every port'}"
        return f"{service.name}, {where}, {service.encapsulation}"
    address = found.packet.flow.destination
    others = [f"{one.name} ({one.protocol} {one.port or 'every port'})" for one in found.others]
    there = f"{address} has {listed(others)}" if others else f"{address} is no service's address"
    return f"none; {there}"


# Who gets it, and why


def _flow_table(found: Explanation) -> str:
    if not found.remembers:
        return "not used by this service"
    if not found.memory:
        return f"none of {found.cpus} CPUs remembers the flow"
    known = "; ".join(_memory(cpu, one) for cpu, one in sorted(found.memory.items()))
    others = found.cpus - len(found.memory)
    rest = f"; {others} other{'s do' if others > 1 else ' does'} not" if others else ""
    return f"{known}{rest}"


def _memory(cpu: int, one: Memory) -> str:
    kind = "" if one.confirmed else ", of a single packet so far"
    void = "" if one.counts else ", which takes it no more"
    return f"CPU {cpu} remembers {one.backend}{void}, last seen {one.silence:.0f} s ago{kind}"


def _scheduler(found: Explanation, service: Service) -> str:
    name, slot = service.scheduler, found.slot
    if slot is None:
        return f"all new flows go to {found.only}" if found.only else "nobody takes new flows"
    place = f"{name}, slot {slot.number} of {slot.slots}"
    if slot.owner == slot.holder:
        return f"{place}: {slot.holder}"
    return f"{place}: {slot.holder} for now; by weight it is of {slot.owner}"


# What becomes of it


def _where(found: Explanation, outcome: Outcome) -> str:
    if len(found.outcomes) == 1:
        return "result"
    if len(outcome.cpus) == 1:
        return f"on CPU {outcome.cpus[0]}"
    return f"on {len(outcome.cpus)} CPUs"


def _fate(found: Explanation, outcome: Outcome) -> str:
    verdict = outcome.verdict
    if verdict.backend:
        why = _why(found, outcome, verdict.backend)
        return f"sent to {verdict.backend.address} (number {verdict.number}), {why}"
    if verdict.fate == "passed":
        if found.found.service is None:
            return "passes to the host, untouched and not counted"
        return f"passes to the host: {NOT_OWN}"
    reason = verdict.reason or ""
    if verdict.reason in DROPS:
        whose = f", for {outcome.chosen.address}" if outcome.chosen else ""
        return f"dropped as {reason}{whose}. {DROPS[reason]}"
    if reason == "packet_too_big":
        mtu = told_mtu(verdict.frame, found.packet.flow.source.version)
        size = f"The client is told to send at most {mtu} bytes."
        return f"answered by {reason}: it is too long for the way to its backend. {size}"
    return f"answered by {reason}. {ANSWERS.get(reason, '')}"


def _why(found: Explanation, outcome: Outcome, backend: Backend) -> str:
    if found.packet.error and any(one.counts for one in found.memory.values()):
        return "which sent what it is about: the flow table knows the flow"
    known = found.memory.get(outcome.cpus[0])
    if known and known.counts and known.backend == backend.address:
        return "as the flow table says"
    if found.slot:
        return "as the lookup table says"
    return "the only one that takes new flows"


def _way(found: Explanation, outcome: Outcome) -> Iterator[Line]:
    """Of a packet that is for a backend."""
    server = next((one for one in found.servers if one.backend == outcome.chosen), None)
    service = found.found.service
    if server is None or service is None:
        return
    yield ("backend", _state(server))
    yield ("health", _health(found, server))
    yield ("next hop", _next_hop(outcome, server))
    yield from _mtu(found, outcome, server)
    if outcome.verdict.fate == "sent":
        yield ("outer", _outer(outcome, service))


def _state(server: Server) -> str:
    backend = server.backend
    weight = f"weight {backend.weight}"
    if backend.configured_weight is not None:
        weight += f" held by an operator, {backend.configured_weight} as configured"
    state = f"{backend.state} held by an operator" if backend.held else backend.state
    if server.effective != backend.state:
        state = f"{state}, but {server.effective} for its health"
        if server.health is None:
            state = f"{backend.state}, but {server.effective} as a backup"
    backup = ", a backup" if backend.backup else ""
    return f"{backend.address}, {weight}, {state}{backup}"


def _health(found: Explanation, server: Server) -> str:
    service, standing = found.found.service, found.standing
    if not service or not service.check:
        return "not checked; counts as healthy"
    words = health_told(server.health)
    if standing and standing.fails_open:
        words += "; too few of the service are healthy, so all are used"
    return words if found.watched else f"{words}; no agent is at work, so this is what was known"


def _next_hop(outcome: Outcome, server: Server) -> str:
    verdict, way = outcome.verdict, server.way
    if way.given:
        mac = f"{verdict.next_hop}, " if verdict.next_hop else ""
        return f"{mac}by the interface it came by, as the option {way.given} says"
    if way.route is None:
        return f"none: no route to {server.backend.address}"
    mine = [one for one in way.gateways if one.mac == verdict.next_hop] or [*way.gateways]
    hops = "; ".join(_gateway(one, server.backend) for one in mine)
    mac = verdict.next_hop or "not found"
    if verdict.fate == "answered" or not (verdict.next_hop or verdict.reason in _BY_ROUTING):
        mac = ", ".join(one.mac for one in mine if one.mac) or "not found"
    return f"{mac}: {hops}; route {way.route}"


def _gateway(one: Gateway, backend: Backend) -> str:
    who = "the backend itself" if one.address == backend.address else f"router {one.address}"
    kept = ", kept resolved" if one.kept else ""
    return f"{who} on {one.interface}, {one.state}{kept}"


def _mtu(found: Explanation, outcome: Outcome, server: Server) -> Iterator[Line]:
    """What fits, and what of it the packet takes."""
    known = [outcome.verdict, *found.found.remembered.values(), found.found.new]
    same = [one for one in known if one.limit and one.backend == server.backend]
    limit, service = next((one.limit for one in same), None), found.found.service
    if limit is None or service is None:
        return
    origin = _ORIGINS[limit.origin]
    if limit.origin == "interface":
        origin += f" {found.names.get(same[0].interface, found.interface)}"
        origin += " as it was at the last run" if server.way.given else ""
    added = outer(same[0].frame, service.encapsulation).overhead
    length = found.packet.length
    fits = "fits" if length + added <= limit.mtu else "does not fit"
    with_outer = f", {length + added} with the outer header" if added else ""
    yield ("MTU", f"{limit.mtu}, {origin}; this packet has {length}{with_outer}: {fits}")


def _outer(outcome: Outcome, service: Service) -> str:
    found = outer(outcome.verdict.frame, service.encapsulation)
    tags = f"VLAN {' in '.join(map(str, reversed(found.vlans)))}, then " if found.vlans else ""
    if found.source is None:
        return f"{tags}none (l2): the packet as it came, but for its MAC addresses and TTL"
    version = found.source.version
    kind = "GRE, " if service.encapsulation == "gre" else ""
    if found.ports:
        kind = f"UDP {found.ports[0]} to {found.ports[1]} (GUE), "
    kind += f"IPv{service.address.version} inside"
    rest = [f"{'TTL' if version == 4 else 'hop limit'} {found.ttl}", f"DSCP {found.dscp}"]
    rest += ["DF"] if found.whole and version == 4 else []
    ends = f"{found.source} to {found.destination}"
    return f"{tags}IPv{version} {ends}, {kind}, {', '.join(rest)}; {found.overhead} bytes more"
