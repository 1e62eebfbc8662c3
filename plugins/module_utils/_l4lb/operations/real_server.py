# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real server is and counts, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import L4lbError
from ..realserver import nftables, observe
from ..realserver.server import RealServer


def counters() -> dict[str, Any]:
    """Packets, by who unpacks: by interface what became of those in tunnels, by device those that
    came out of it, and those that the firewall has dropped."""
    return {**observe.counters(), "firewall_dropped": nftables.dropped()}


def status(server: RealServer) -> dict[str, Any]:
    """As JSON types; differs: what another run would change, or why none can."""
    desired = server.desired()
    try:
        plan = server.plan(desired)
        differs, way, lines = plan.steps, plan.way, plan.listings[0].splitlines()
    except L4lbError as e:
        differs, way, lines = [str(e)], "", []
    return {
        "config": desired.dump(),
        "decapsulation": way,
        "there": lines,
        "differs": differs,
        "counters": counters(),
    }


def text(found: Mapping[str, Any]) -> list[str]:
    """The same for people, what is wrong first."""
    if not found["config"]["services"]:
        return ["This host is no real server."]
    lines = [f"differs: {one}" for one in found["differs"]] + list(found["there"])
    counted = found["counters"]
    for interface, events in counted["programs"].items():
        words = ", ".join(f"{name} {count}" for name, count in events.items())
        lines.append(f"packets on {interface}: {words}")
    lines += [f"packets out of {name}: {count}" for name, count in counted["devices"].items()]
    if any(name.startswith("filter") for name in found["there"]):
        lines.append(f"packets dropped by the firewall: {counted['firewall_dropped']}")
    return lines
