# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Having balancers stand aside for a while: pause and resume."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from ..balancer.balancer import Balancer
from ..balancer.plan import Plan
from ..errors import L4lbError
from ..kernel.paths import require_root
from ..operations import here
from .change import sources, steps, warn
from .output import show
from .usage import take_interfaces


def add_commands(commands: Any) -> None:
    """Register them."""
    command = commands.add_parser(
        "pause",
        help="have packets go past the balancer, which stays ready",
        description="Detach the program from interfaces, from all of these or from none. Packets\n"
        "go to the host then, as if it did not balance; services, holds, flows and\n"
        "counters stay. It lasts until l4lb resume, whatever is deployed or restarted.",
    )
    take_interfaces(command, "all that balance")
    command.set_defaults(run=pause)

    command = commands.add_parser(
        "resume",
        help="end what was begun by pause",
        description="Have interfaces balance again, all of these or none, with all that was\n"
        "deployed meanwhile.",
    )
    take_interfaces(command, "all that are paused")
    command.set_defaults(run=resume)


def pause(options: argparse.Namespace) -> int:
    """Have them stand aside."""
    from ..balancer.pause import pause as change  # seldom, as it takes time

    return _change(options.interfaces, change)


def resume(options: argparse.Namespace) -> int:
    """Have them go on."""
    from ..balancer.pause import resume as change

    return _change(options.interfaces, change)


def _change(names: Sequence[str], change: Callable[[Sequence[Balancer]], list[Plan]]) -> int:
    require_root()
    interfaces = dict.fromkeys([here.named(name) for name in names] or here.known())
    if not interfaces:
        raise L4lbError("this host does not balance")
    balancers = [Balancer(name, sources()) for name in interfaces]
    for balancer, plan in zip(balancers, change(balancers)):
        warn(plan)
        show(steps(balancer, plan))
    return 0
