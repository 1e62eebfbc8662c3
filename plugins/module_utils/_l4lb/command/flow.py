# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking: flow and explain."""

from __future__ import annotations

import argparse
from ipaddress import ip_address
from typing import Any

from ..balancer.balancer import Balancer
from ..errors import ConfigError
from ..kernel.paths import require_root
from ..maps.reasons import ANSWERS, DROPS
from ..model.config import Address
from ..model.options import PROTOCOLS
from ..model.values import unicast_address
from ..operations import here
from ..operations.trial import plain
from ..operations.trial.explanation import explain
from ..operations.trial.finding import Finding, find_out
from ..operations.trial.flow import Flow
from ..operations.trial.packet import ERRORS, TCP_FLAGS, Packet
from ..operations.trial.run import Verdict
from ..operations.trial.words import NOT_OWN, OTHER_SOURCES, told
from ..printable import wrapped
from .change import sources
from .output import show, show_json


def add_commands(commands: Any) -> None:
    """Register them."""
    command = commands.add_parser(
        "flow",
        help="which backend a flow reaches, and why",
        description="Show which backend the packets of a flow reach, and why. It is the program\n"
        "itself that is asked: a copy of it, compiled for this, runs on one packet. No\n"
        "counter and no flow of the live one changes, and no packet leaves the host.",
        epilog="for example:\n  l4lb flow tcp 198.51.100.2:40000 192.0.2.10:80\n"
        "  l4lb flow udp '[2001:db8::2]:40000' '[2001:db8:ffff::10]:53'",
    )
    _add_flow(command)
    command.set_defaults(run=run_flow)

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
    _add_flow(command)
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
    command.set_defaults(run=run_explain)


def _add_flow(command: argparse.ArgumentParser) -> None:
    """What a command takes that asks about a flow."""
    command.add_argument("protocol", choices=list(PROTOCOLS), help="tcp or udp")
    command.add_argument("source", metavar="CLIENT:PORT", help="where packets come from")
    command.add_argument("destination", metavar="VIP:PORT", help="where they are sent to")
    command.add_argument("--interface", help="which they come in by; default: the only balancer")
    command.add_argument("--json", action="store_true", help="for programs")


def _flow(options: argparse.Namespace) -> Flow:
    """The flow. Raises ConfigError."""
    source, source_port = _endpoint(options.source, "CLIENT:PORT")
    destination, destination_port = _endpoint(options.destination, "VIP:PORT")
    return Flow(options.protocol, source, source_port, destination, destination_port)


# flow


def run_flow(options: argparse.Namespace) -> int:
    """Show what becomes of a flow."""
    flow = _flow(options)
    require_root()
    interface = here.only(options.interface, "--interface")
    finding = find_out(Balancer(interface, sources()), flow)
    if options.json:
        show_json(plain.of_finding(interface, finding))
    else:
        show(f"{label + ':':12}{text}" for label, text in _told(interface, finding))
    return 0


def _endpoint(text: str, option: str) -> tuple[Address, int]:
    """Address and port, an IPv6 address in brackets. Raises ConfigError."""
    address, _colon, port = text.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        address = ""  # whether its end is a port cannot be known
    try:
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise ValueError
        return ip_address(address), int(port)
    except ValueError:
        raise ConfigError(
            option, text, "give an address and a port, as 192.0.2.10:80 or [2001:db8::10]:80"
        ) from None


def _told(interface: str, finding: Finding) -> list[tuple[str, str]]:
    """Label and text of each line."""
    if finding.service is None:
        fate = "passes to the host" if finding.new.fate == "passed" else _fate(finding.new)
        return [("service", f"none on {interface}"), ("packets", fate)]
    service = finding.service
    endpoint = f"{service.address} {service.protocol} {service.port or 'every port'}"
    lines = [("service", f"{service.name} on {interface}, {endpoint}")]
    if finding.new.fate == "passed":
        return [*lines, ("packets", "pass to the host"), ("because", NOT_OWN)]
    for cpu, verdict in finding.remembered.items():
        lines += [("packets", _fate(verdict)), ("because", f"CPU {cpu} remembers the flow")]
        lines += _hop(interface, verdict)
    if not finding.remembered:
        lines += [
            ("packets", _fate(finding.new)),
            ("because", f"{_choice(finding)}; no CPU remembers the flow"),
        ]
        lines += _hop(interface, finding.new)
    else:
        lines.append(("a new flow", f"{_fate(finding.new)}: {_choice(finding)}"))
    if finding.other_sources:
        lines.append(("but", OTHER_SOURCES))
    return lines


def _fate(verdict: Verdict) -> str:
    if verdict.backend:
        backend = verdict.backend
        traits = f"number {verdict.number}, weight {backend.weight}, {backend.state}"
        return f"to {backend.address} ({traits})"
    reasons = {**DROPS, **ANSWERS}
    return f"{verdict.fate}: {verdict.reason}. {reasons.get(verdict.reason or '', '')}".rstrip()


def _choice(finding: Finding) -> str:
    """How new flows find their backend."""
    if finding.slot is not None and finding.service is not None:
        return f"slot {finding.slot} of the lookup table ({finding.service.scheduler})"
    return "the only one for new flows" if finding.new.backend else "nobody takes new flows"


def _hop(interface: str, verdict: Verdict) -> list[tuple[str, str]]:
    if not verdict.next_hop or not verdict.limit:
        return []
    name = plain.name_of(interface, verdict)
    whose = {"interface": name, "route": "the route", "option": "the backend's option"}
    limit = verdict.limit
    return [
        ("next hop", f"{verdict.next_hop} on {name}"),
        ("MTU", f"{limit.mtu}, of {whose[limit.origin]}"),
    ]


# explain


def run_explain(options: argparse.Namespace) -> int:
    """Explain a packet."""
    packet = _packet(options)
    require_root()
    interface = here.only(options.interface, "--interface")
    found = explain(Balancer(interface, sources()), packet)
    if options.json:
        show_json(plain.of_explanation(found))
        return 0
    for label, text in told(found):
        show(wrapped(text, f"{label + ':':12}", " " * 12))
    return 0


def _packet(options: argparse.Namespace) -> Packet:
    """Raises ConfigError for what cannot be meant."""
    flow = _flow(options)
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
