# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there: of the host, and of a real server on it. Nothing is changed, nor loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..kernel import bpf
from ..kernel.paths import Paths
from ..model.config import Address
from ..network import rtnetlink
from . import nftables, program, tunnels
from .decide import MODULES, QUIET, Host
from .ruleset import DEVICES, TABLE
from .saved import Memory
from .state import State

_SCOPE_LINK = 253
_STATISTICS = "/sys/class/net/{}/statistics/rx_packets"


def host(paths: Paths) -> Host:
    """What there is besides what is ours."""
    return Host(
        addresses=addresses(),
        modules=frozenset(name for name in MODULES.values() if tunnels.has_module(name)),
        sysctls={name: value for name in QUIET for value in _sysctl(name, paths)},
        foreign_programs=program.foreign(),
        mtus={entry.name: entry.mtu for entry in rtnetlink.links()},
        has_nftables=nftables.is_there(),
    )


def addresses() -> dict[Address, str]:
    """The host's, each with the interface that has it; those of tunnel devices of ours are not."""
    names = {entry.index: entry.name for entry in rtnetlink.links()}
    return {
        one.address: names[one.index]
        for one in rtnetlink.addresses()
        if one.scope < _SCOPE_LINK and not names.get(one.index, DEVICES).startswith(DEVICES)
    }


def state(memory: Memory, wanted: State, found: Host, paths: Paths) -> State:
    """What is ours, or shall be.

    memory: what was saved, which tells of what bears no mark which of it is ours.
    """
    sysctls = {*memory.sysctls, *wanted.get("sysctls", ())}
    vips = (memory.desired.vips - memory.addresses) | set(wanted.get("vips", ()))
    ports = {(one.backend, one.gue_port) for one in memory.desired.tunnels}
    ports |= set(wanted.get("gue", ()))
    table = nftables.live() if found.has_nftables else None
    ends = tunnels.gue_ends() if ports else set()
    return {
        "sysctls": {name: found.sysctls[name] for name in sysctls if name in found.sysctls},
        "filter": {TABLE: table} if table else {},
        "tunnels": {key: one.device for key, one in tunnels.devices(paths).items()},
        "gue": {end: True for end in ends if end in ports},
        "programs": {name: one.told() for name, one in programs().items()},
        "vips": {vip: True for vip in vips if found.addresses.get(vip) == "lo"},
    }


def programs() -> dict[str, program.Attached]:
    """Ours, by interface; without libbpf none can be there."""
    return program.attached() if bpf.is_there() else {}


def counters() -> dict[str, dict[str, Any]]:
    """Packets: by interface what became of those in tunnels, by device those that came out."""
    return {
        "programs": {name: one.counters() for name, one in programs().items()},
        "devices": {
            one.name: int(Path(_STATISTICS.format(one.name)).read_text(encoding="ascii"))
            for one in tunnels.devices(Paths()).values()
        },
    }


def _sysctl(name: str, paths: Paths) -> list[int]:
    """Its value, or none if the host has none such."""
    path = paths.sysctl / name.replace(".", "/")
    return [int(path.read_text(encoding="ascii"))] if path.exists() else []
