# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host serves by now, and withdrawing what it does not any more. To announce is the
agent's: whoever ends something takes its routes out himself, so that it needs no agent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..datapath.program import DataPath
from ..kernel import lock
from ..kernel.bpf import Program
from ..kernel.paths import Paths
from ..kernel.pins import Pins, pinned_interfaces
from ..maps.manifest import Manifest
from ..model.config import Address, Announced, Config
from ..network import rtnetlink
from ..network.rtnetlink import LinkEntry
from . import table, word
from .decide import NOBODYS, Side, decide

_IFF_UP, _IFF_RUNNING = 0x1, 0x40


def is_down(link: LinkEntry) -> bool:
    """Whether nothing gets through a link."""
    return link.flags & (_IFF_UP | _IFF_RUNNING) != _IFF_UP | _IFF_RUNNING


def idle(name: str, links: Iterable[LinkEntry], program: int = 0) -> str:
    """Why no packet gets from an interface to its backends; empty if they do.

    program: the id of one that is known to be ours.
    """
    link = next((one for one in links if one.name == name), None)
    if link is None:
        return f"there is no interface {name}"
    if is_down(link):
        return f"{name} is down"
    if link.xdp_program and link.xdp_program == program:
        return ""
    there = Program.by_id(link.xdp_program) if link.xdp_program else None
    if there is None or DataPath.of(there) is None:
        return f"no balancer is attached to {name}"
    return ""


def sides(paths: Paths, without: str = "") -> list[Side]:
    """All balancers of this host that can be read, but for that of one interface. Raises
    L4lbError."""
    links, found = rtnetlink.links(), []
    for name in pinned_interfaces(paths):
        program = None if name == without else Pins.of(name, paths).program()
        if program is None:
            continue
        data_path = DataPath.of(program)
        manifest = data_path.read() if data_path else None
        if manifest:
            found.append(Side(manifest, idle(name, links, program.id)))
    return found


def vips(config: Config) -> set[Announced]:
    """Those that a configuration has announced, as what they are."""
    return {config.announced_as(vip) for vip in _addresses(config)}


def _addresses(config: Config) -> set[Address]:
    return {service.address for service in config.services} if config.announce else set()


def settle(paths: Paths, before: Config, after: Manifest | None, without: str = "") -> None:
    """Withdraw VIPs of a balancer that are not to be announced any more.

    before: what it balanced. after: what it does now; None: nothing. without: the interface that
        counts as if it had none already. Raises L4lbError.
    """
    there = vips(before) and vips(before).intersection(table.routes())
    if after:
        mine = decide([Side(after)], there)
        there = {vip for vip in there if mine.get(vip, NOBODYS)}
        # What only has another prefix by now the agent takes out, once it announces that.
        serving = {
            vip for vip in _addresses(after.config) if not mine[after.config.announced_as(vip)]
        }
        there -= {before.announced_as(vip) for vip in serving}
    if there:
        wanted = decide(sides(paths, without), there)
        table.withdraw(vip for vip in there if wanted.get(vip, NOBODYS))


def forget(paths: Paths) -> None:
    """Leave nothing of announcements where no balancer is left. Raises L4lbError."""
    table.withdraw(table.routes())
    word.announce(paths)


Told = Mapping[Announced, Mapping[str, Any]]
"""VIP, or prefix -> whether it is `announced`, and for what `reason` it is not, None if it is;
while the host is withdrawn, `withdrawn_by`, who says so."""


def told_of(configs: Iterable[Config], paths: Paths) -> Told:
    """How it is with the VIPs of this host, of whose balancers these are some. Raises L4lbError."""
    return told(paths) if any(config.announce for config in configs) else {}


def told(paths: Paths, known: Collection[Side] | None = None) -> Told:
    """How it is with all of them. known: the balancers, by who has them at hand. Raises
    L4lbError."""
    there, held = table.routes(), word.withdrawn(paths)
    found: dict[Announced, dict[str, Any]] = {}
    for vip, objection in decide(sides(paths) if known is None else known, there).items():
        reason = objection.reason if objection else _missing(paths)
        reason = str(held) if held else reason
        announced = there.get(vip) == table.STAYS
        found[vip] = {"announced": announced, "reason": None if announced else reason}
        if held:
            found[vip]["withdrawn_by"] = held.by
    return found


def of_balancer(found: Told, config: Config) -> dict[str, Mapping[str, Any]]:
    """What `told` says of the VIPs of one."""
    names = {vip: config.announced_as(vip) for vip in _addresses(config)}
    return {str(vip): found[name] for vip, name in names.items() if name in found}


def lines(found: Told) -> list[str]:
    """The same, for people."""
    return [
        f"{vip} is announced" if one["announced"] else f"{vip} is not announced: {one['reason']}"
        for vip, one in found.items()
    ]


def _missing(paths: Paths) -> str:
    if lock.agent_is_there(paths):
        return "the agent waits for the first checks of its backends, or has yet to see it"
    return "no agent is at work on this host; run systemctl start l4lb-agent"
