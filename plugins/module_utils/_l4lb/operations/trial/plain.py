# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found out, as JSON types."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...network import link
from ..report import health
from .explanation import Explanation, Outcome, Server
from .finding import Finding
from .outer import outer, told_mtu
from .run import Verdict


def of_finding(interface: str, finding: Finding) -> dict[str, Any]:
    """What becomes of a flow."""
    return {
        "interface": interface,
        "service": finding.service.name if finding.service else None,
        "slot": finding.slot,
        "new": _verdict(interface, finding.new),
        "remembered": [
            {"cpu": cpu, **_verdict(interface, verdict)}
            for cpu, verdict in finding.remembered.items()
        ],
        "other_sources": finding.other_sources,
    }


def _verdict(interface: str, verdict: Verdict) -> dict[str, Any]:
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
        hop_interface = name_of(interface, verdict)
        plain["next_hop"] = {"mac": verdict.next_hop, "interface": hop_interface}
        if verdict.limit:
            plain["mtu"] = {"bytes": verdict.limit.mtu, "of": verdict.limit.origin}
    return plain


def name_of(interface: str, verdict: Verdict) -> str:
    """Of the interface that packets leave by."""
    return link.interface_name(verdict.interface) if verdict.interface else interface


def of_explanation(found: Explanation) -> dict[str, Any]:
    """The whole way of a packet."""
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
        "only": found.only and str(found.only),
        "results": [_outcome(found, one) for one in found.outcomes],
        "backends": [_server(found, one) for one in found.servers],
        "agent": found.watched,
        "other_sources": found.found.other_sources,
    }


def _outcome(found: Explanation, one: Outcome) -> dict[str, Any]:
    verdict, service = one.verdict, found.found.service
    result: dict[str, Any] = {"cpus": [*one.cpus], **_verdict(found.interface, verdict)}
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
