# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where metrics find the balancers of this host, or one that is open already."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..announce import table
from ..balancer import live
from ..balancer.places import Places
from ..datapath.program import DataPath
from ..errors import ConfigError
from ..model.config import Announced, Service
from ..network import link
from .seen import Checks, Kept, Seen, no_checks


def at(
    interface: str,
    announced: Collection[Announced] = (),
    checks: Callable[[Service], Checks] = no_checks,
    kept: Kept | None = None,
) -> Seen:
    """What an interface has; all else is as of Seen. Raises L4lbError if that cannot be told."""
    found = live.read(Places.of(interface), must_exist=False)
    paused = found.paused is not None
    return Seen(
        interface,
        found.mode,
        paused,
        found.data_path,
        found.manifest,
        announced,
        checks,
        kept,
    )


def announced() -> set[Announced]:
    """What this host announces, traffic to which is not asked to go elsewhere. Raises
    KernelError."""
    return {vip for vip, metric in table.routes().items() if metric == table.STAYS}


def mode(interface: str, data_path: DataPath) -> str | None:
    """That this is attached in; None: it is not. Raises KernelError."""
    try:
        attached = link.read_link(interface).attached
    except ConfigError:  # it has gone
        return None
    return attached.mode if attached and attached.program_id == data_path.program.id else None
