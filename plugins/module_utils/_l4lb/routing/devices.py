# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's network devices can do, and what they are made to do for the balancer.

Some drivers take frames that another interface redirects to them only while they have a program of
their own. Those get one that passes everything. It is found again by its name, and goes when
no balancer needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from ..errors import HostError
from ..kernel.bpf import Program
from ..network import rtnetlink, xdp
from ..network.ethtool import drivers
from ..network.link import Link
from ..network.rtnetlink import LinkEntry
from ..network.xdp import PASSING, is_passing
from .egress import TAKES_REDIRECTS, Surroundings, holder

_PASS = struct.pack("=2Bhi2Bhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
"""return XDP_PASS"""


def surroundings(links: Sequence[LinkEntry], heard: bool = True) -> Surroundings:
    """Look at the host. heard: also at what its bridges have heard of next hops, which can be much.

    Raises KernelError.
    """
    features = rtnetlink.xdp_features()
    bridges = [one for one in links if one.kind == "bridge"]
    return Surroundings(
        links,
        features,
        drivers(links) if features is None else {},
        {one.index for one in links if _has_passing(one)},
        rtnetlink.forwarding_table() if bridges and heard else {},
        rtnetlink.port_vlans() if any(one.filters_vlans for one in bridges) else {},
    )


def passing(links: Iterable[LinkEntry]) -> list[LinkEntry]:
    """The interfaces that have a program for nothing but to take redirects, which can be taken
    away: not below another program."""
    links = list(links)
    return [one for one in links if _has_passing(one) and not holder(one, links)]


def have_redirects_taken(entry: LinkEntry) -> None:
    """Give an interface such a program. Raises L4lbError if that is refused, as for one that has
    another program, or does not help; the interface is then as it was."""
    program = Program.load(PASSING, _PASS)
    xdp.attach(_link(entry), program.fd, "native", None)
    features = rtnetlink.xdp_features()
    if features is not None and not features.get(entry.index, 0) & TAKES_REDIRECTS:
        xdp.detach(_link(entry), program.fd)
        raise HostError(
            f"the driver of {entry.name} takes nothing from XDP, not even while it has a program; "
            "have another route, or set mode to generic"
        )


def successor(index: int) -> Program | None:
    """What is to take the place of a program on an interface that others redirect to, so that it
    goes on taking that; None: it does so without."""
    return Program.load(PASSING, _PASS) if is_card(index) else None


def is_card(index: int) -> bool:
    """Whether it is an interface that may take redirects only while it has a program of mode
    native."""
    return any(one.index == index and one.kind in ("", "bond") for one in rtnetlink.links())


def let_go(entry: LinkEntry) -> None:
    """Take such a program away again."""
    program = Program.by_id(entry.xdp_program)
    if program and is_passing(program):
        xdp.detach(_link(entry), program.fd)


def _link(entry: LinkEntry) -> Link:
    return Link(entry.index, entry.name, entry.mac.hex(":"))


def _has_passing(entry: LinkEntry) -> bool:
    program = Program.by_id(entry.xdp_program) if entry.xdp_program else None
    return bool(program and is_passing(program))
