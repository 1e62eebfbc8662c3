# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a program is attached: why mode auto has become generic, and whether native may work by now.

The kernel lets nobody ask a driver without attaching, and refuses to attach in mode native while a
program is attached in generic. So whether native works is only known by a pause of the traffic. But
the driver says whether it knows XDP at all, and what most drivers refuse for, frames that are too
long, can be compared with what was there when it refused.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import L4lbError
from ..kernel.bpf import Program
from ..maps.manifest import Manifest, Refusal
from ..network import link, rtnetlink, xdp
from .live import Live

_BASIC = 1  # NETDEV_XDP_ACT_BASIC


def told(interface: str, refusal: Refusal) -> str:
    """In words."""
    return f"{interface} runs in mode generic, as native was refused: {refusal.words}"


def refusal(live: Live) -> str | None:
    """Why mode auto is generic, in the kernel's words."""
    found = _refusal(live)
    return found.words if found else None


def lines(live: Live) -> list[str]:
    """All that is to be said of the mode."""
    found, now = _refusal(live), hint(live)
    return [*([told(live.link.name, found)] if found else []), *([now] if now else [])]


def hint(live: Live) -> str | None:
    """That native may work by now, if so."""
    manifest = _fallback(live)
    if manifest is None:
        return None
    features = rtnetlink.xdp_features()
    if features is not None and not features.get(live.link.index, 0) & _BASIC:
        return None
    name = live.link.name
    remedy = "mode: native tries that, and the link may pause"
    found = manifest.refusal
    if found is None:
        return f"{name} runs in mode generic, and its driver may take native; {remedy}"
    now = link.mtus(live.link.index)
    if len(now) == len(found.mtus) and any(new < old for new, old in zip(now, found.mtus)):
        was, is_now = ("/".join(map(str, mtus)) for mtus in (found.mtus, now))
        return f"{name} may take mode native by now, as the MTU is {is_now} and was {was}; {remedy}"
    return None


def _refusal(live: Live) -> Refusal | None:
    found = _fallback(live)
    return found.refusal if found else None


def _fallback(live: Live) -> Manifest | None:
    """What is at work, if the mode is generic and auto is wanted."""
    if live.mode == "generic" and live.manifest and live.manifest.config.mode == "auto":
        return live.manifest
    return None


# What is attached


def attached_program(live: Live) -> Program | None:
    """What is attached, ours or not. Raises L4lbError if it has gone meanwhile."""
    if live.link.attached is None:
        return None
    there = live.foreign or live.program or Program.by_id(live.link.attached.program_id)
    if there is None:
        raise L4lbError(f"the program of {live.link.name} has just changed; run again")
    return there


def attach_again(live: Live, there: Program | None, ours: Program) -> None:
    """Have the interface as it was, with `there` attached, or nothing; by now it may have `ours`,
    or nothing. Raises L4lbError."""
    before, now = live.link.attached, link.read_link(live.link.name).attached
    if now == before:
        return
    if now and now.program_id not in (ours.id, there.id if there else 0):
        raise L4lbError(f"{live.link.name} carries a program that another run has attached")
    if now and before and there and now.mode == before.mode:
        xdp.attach(live.link, there.fd, before.mode, ours.fd)
        return
    if now:
        xdp.detach(replace(live.link, attached=now), ours.fd)
    if before and there:
        xdp.attach(live.link, there.fd, before.mode, None)
