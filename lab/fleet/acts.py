# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a fleet, one act after the other; each leaves it as the next one expects it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.fleet.laboratory import WEB, start_bird

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.laboratory import Fleet
    from lab.fleet.load import Load, Noticed


@dataclass(frozen=True)
class Act:
    """happens: does it, and waits until the router does what comes of it.

    is_harmless: whether no client may notice more than a pause. is_quick: whether it takes seconds.
    """

    title: str
    happens: Callable[[Fleet], None]
    is_harmless: bool = True
    is_quick: bool = True

    def play(self, fleet: Fleet, load: Load) -> tuple[float, Noticed]:
        """How long it took, in seconds, and what clients noticed. Raises LabError."""
        load.begin()
        began = time.monotonic()
        self.happens(fleet)
        took = time.monotonic() - began
        return took, load.end()


def cut_link(fleet: Fleet) -> None:
    """Nobody is told: BFD notices, or the hold time ends."""
    fleet.host("router").ip(["link set lb1 down"])
    fleet.until_routed("lb2", "lb3")


def kill_bird(fleet: Fleet) -> None:
    """The router notices that TCP ends."""
    process = fleet.host("lb2").running("bird")
    if process:
        os.kill(process, signal.SIGKILL)
    fleet.until_routed("lb3")


def bring_back(fleet: Fleet) -> None:
    """Both."""
    fleet.host("router").ip(["link set lb1 up"])
    start_bird(fleet.host("lb2"))
    fleet.until_spread()


def upgrade(fleet: Fleet) -> None:
    """Have all three another program."""
    fleet.playbook("xdp.l4lb.upgrade", flow_table_size=32768)
    fleet.until_spread()


def stop_servers(fleet: Fleet) -> None:
    """The web servers, so that nobody announces their VIPs; the echo service is another one."""
    for host in fleet.servers:
        host.stop("nginx")
    fleet.until_routed(vips=WEB)


def start_servers(fleet: Fleet) -> None:
    """Again."""
    fleet.start_servers()
    fleet.until_spread()


CUT = Act("The link of lb1 is cut, and BFD notices", cut_link)
ACTS = [
    CUT,
    Act("BIRD of lb2 is killed: lb3 serves alone", kill_bird),
    Act("The link and BIRD are back", bring_back),
    Act("xdp.l4lb.upgrade: another program on all three, in turn", upgrade, is_quick=False),
    Act("All web servers stop: their VIPs are withdrawn", stop_servers, is_harmless=False),
    Act("They start, and are announced", start_servers, is_harmless=False),
]
