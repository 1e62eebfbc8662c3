# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking at length: explain."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from ..balancer.balancer import Balancer
from ..errors import ConfigError
from ..kernel.paths import require_root
from ..model.values import unicast_address
from ..operations import here
from ..operations.report import health
from ..operations.trial.explanation import Explanation, Outcome, Server, explain
from ..operations.trial.outer import outer, told_mtu
from ..operations.trial.packet import ERRORS, TCP_FLAGS, Packet
from ..operations.trial.words import told
from ..printable import wrapped
from .change import sources
from .flow import add_flow, flow_of, plain
from .output import show, show_json


def add_commands(commands: Any) -> None:
    """Register it."""
    command = commands.add_parser(
        "explain",
        help="the whole way of a packet, and why it goes that way",
        description="Show the whole way of a packet: service, flow table on each CPU, slot of the\n"
        "lookup table, backend and why, its health, next hop, MTU, and the outer header;\n"
        "of a drop its meaning and what to do. It is the program itself that is asked,\n"
        "as by l4lb flow, which is the short answer: no counter and no flow of the live\n"
        "one changes, and no packet leaves the host.",
        epilog="for example:\n"
        "  l4lb explain tcp 198.51.100.2:40000 192.0.2.10:80 --size 1500 --flags syn\n"
        "  l4lb explain tcp 198.51.100.2:40000 192.0.2.10:80 --error too-big \\\n"
        "    --from 203.0.113.1",
    )
    add_flow(command)
    command.add_argument(
        "--size", type=int, metavar="BYTES", help="of the IP packet (default: the least)"
    )
    command.add_argument(
        "--flags",
        metavar="FLAG,...",
        help=f"of TCP: {', '.join(TCP_FLAGS)} (default: ack, of a connection that is there)",
    )
    command.add_argument(
        "--error",
        choices=[*ERRORS],
        help="not a packet of the flow, but an ICMP error about an answer to it",
    )
    command.add_argument(
        "--from",
        dest="reporter",
        metavar="ADDRESS",
        help="who sends that error (default: the client)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Explain a packet."""
    packet = _packet(options)
    require_root()
    interface = here.only(options.interface, "--interface")
    found = explain(Balancer(interface, sources()), packet)
    if options.json:
        show_json(_as_json(found))
        return 0
    for label, text in told(found):
        show(wrapped(text, f"{label + ':':12}", " " * 12))
    return 0


def _packet(options: argparse.Namespace) -> Packet:
    """Raises ConfigError for what cannot be meant."""
    flow = flow_of(options)
    if options.error:
        for option in ("size", "flags"):
            if getattr(options, option) is not None:
                raise ConfigError(
                    f"--{option}",
                    getattr(options, option),
                    "of no use with --error, as an error has its own; leave one of them out",
                )
    elif options.reporter is not None:
        raise ConfigError("--from", options.reporter, "only with --error, whose sender it is")
    if options.size is not None and options.size < 1:
        raise ConfigError("--size", options.size, "give the bytes of the IP packet")
    reporter = None if options.reporter is None else unicast_address(options.reporter, "--from")
    flags = TCP_FLAGS["ack"] if options.flags is None else _flags(options)
    return Packet(flow, options.size or 0, flags, options.error, reporter)


def _flags(options: argparse.Namespace) -> int:
    if options.protocol != "tcp":
        raise ConfigError("--flags", options.flags, "only tcp has such flags")
    names = options.flags.lower().split(",")
    unknown = [name for name in names if name not in TCP_FLAGS]
    if unknown:
        raise ConfigError("--flags", options.flags, f"give some of {', '.join(TCP_FLAGS)}")
    return sum({TCP_FLAGS[name] for name in names})


# As JSON


def _as_json(found: Explanation) -> dict[str, Any]:
    packet, service, slot = found.packet, found.found.service, found.slot
    return {
        "interface": found.interface,
        "mode": found.mode,
        "packet": {
            "protocol": packet.flow.protocol,
            "bytes": packet.length,
            "error": packet.error,
            "from": str(packet.reporter or packet.flow.source),
        },
        "service": service.name if service else None,
        "flow_table": {
            "used": found.remembers,
            "cpus": found.cpus,
            "remembered": [
                {
                    "cpu": cpu,
                    "backend": str(one.backend),
                    "silent_seconds": round(one.silence, 1),
                    "confirmed": one.confirmed,
                    "counts": one.counts,
                }
                for cpu, one in sorted(found.memory.items())
            ],
        },
        "scheduler": service.scheduler if service else None,
        "slot": slot and {**asdict(slot), "owner": str(slot.owner), "holder": str(slot.holder)},
        "results": [_outcome(found, one) for one in found.outcomes],
        "backends": [_server(found, one) for one in found.servers],
        "agent": found.watched,
        "other_sources": found.found.other_sources,
    }


def _outcome(found: Explanation, one: Outcome) -> dict[str, Any]:
    verdict, service = one.verdict, found.found.service
    result: dict[str, Any] = {"cpus": [*one.cpus], **plain(found.interface, verdict)}
    if verdict.reason == "packet_too_big":
        result["told_mtu"] = told_mtu(verdict.frame, found.packet.flow.source.version)
    if verdict.fate == "sent" and service:
        header = asdict(outer(verdict.frame, service.encapsulation))
        header.update({end: header[end] and str(header[end]) for end in ("source", "destination")})
        result["outer"] = {"encapsulation": service.encapsulation, **header}
    return {**result, "for": str(one.chosen.address) if one.chosen else None}


def _server(found: Explanation, server: Server) -> dict[str, Any]:
    service, way = found.found.service, server.way
    checked = service is not None and service.check is not None
    return {
        "address": str(server.backend.address),
        "number": server.number,
        "weight": server.backend.weight,
        "state": server.backend.state,
        "held": server.backend.held,
        "effective_state": server.effective,
        **(health(server.health) if checked else {}),
        "given_by": way.given,
        "route": way.route,
        "gateways": [{**asdict(one), "address": str(one.address)} for one in way.gateways],
    }
