# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking: flow."""

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
from ..network import link
from ..operations import here
from ..operations.trial.finding import Finding, find_out
from ..operations.trial.flow import Flow
from ..operations.trial.run import Verdict
from ..operations.trial.words import NOT_OWN, OTHER_SOURCES
from .change import sources
from .output import show, show_json


def add_commands(commands: Any) -> None:
    """Register it."""
    command = commands.add_parser(
        "flow",
        help="which backend a flow reaches, and why",
        description="Show which backend the packets of a flow reach, and why. It is the program\n"
        "itself that is asked: a copy of it, compiled for this, runs on one packet. No\n"
        "counter and no flow of the live one changes, and no packet leaves the host.",
        epilog="for example:\n  l4lb flow tcp 198.51.100.2:40000 192.0.2.10:80\n"
        "  l4lb flow udp '[2001:db8::2]:40000' '[2001:db8:ffff::10]:53'",
    )
    add_flow(command)
    command.set_defaults(run=run)


def add_flow(command: argparse.ArgumentParser) -> None:
    """What a command takes that asks about a flow."""
    command.add_argument("protocol", choices=list(PROTOCOLS), help="tcp or udp")
    command.add_argument("source", metavar="CLIENT:PORT", help="where packets come from")
    command.add_argument("destination", metavar="VIP:PORT", help="where they are sent to")
    command.add_argument("--interface", help="which they come in by; default: the only balancer")
    command.add_argument("--json", action="store_true", help="for programs")


def flow_of(options: argparse.Namespace) -> Flow:
    """The flow. Raises ConfigError."""
    source, source_port = _endpoint(options.source, "CLIENT:PORT")
    destination, destination_port = _endpoint(options.destination, "VIP:PORT")
    return Flow(options.protocol, source, source_port, destination, destination_port)


def run(options: argparse.Namespace) -> int:
    """Show what becomes of a flow."""
    flow = flow_of(options)
    require_root()
    interface = here.only(options.interface, "--interface")
    finding = find_out(Balancer(interface, sources()), flow)
    if options.json:
        show_json(_as_json(interface, finding))
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
    name = _name(interface, verdict)
    whose = {"interface": name, "route": "the route", "option": "the backend's option"}
    limit = verdict.limit
    return [
        ("next hop", f"{verdict.next_hop} on {name}"),
        ("MTU", f"{limit.mtu}, of {whose[limit.origin]}"),
    ]


def _name(interface: str, verdict: Verdict) -> str:
    """Of the interface that packets leave by."""
    return link.interface_name(verdict.interface) if verdict.interface else interface


def _as_json(interface: str, finding: Finding) -> dict[str, Any]:
    return {
        "interface": interface,
        "service": finding.service.name if finding.service else None,
        "slot": finding.slot,
        "new": plain(interface, finding.new),
        "remembered": [
            {"cpu": cpu, **plain(interface, verdict)} for cpu, verdict in finding.remembered.items()
        ],
        "other_sources": finding.other_sources,
    }


def plain(interface: str, verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON types."""
    plain: dict[str, Any] = {"fate": verdict.fate}
    if verdict.reason:
        plain["reason"] = verdict.reason
    if verdict.backend:
        backend = verdict.backend
        plain["backend"] = {
            "address": str(backend.address),
            "number": verdict.number,
            "weight": backend.weight,
            "state": backend.state,
        }
        hop_interface = _name(interface, verdict)
        plain["next_hop"] = {"mac": verdict.next_hop, "interface": hop_interface}
        if verdict.limit:
            plain["mtu"] = {"bytes": verdict.limit.mtu, "of": verdict.limit.origin}
    return plain
