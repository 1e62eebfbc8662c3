# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend a flow reaches."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...balancer.balancer import Balancer
from ...kernel import lock
from ...model.config import Service
from .flow import Flow
from .packet import Packet
from .run import Trial, Verdict


@dataclass(frozen=True)
class Finding:
    """What becomes of a flow, and why."""

    service: Service | None
    new: Verdict
    """If no CPU remembers it, as the lookup table says."""
    slot: int | None = None
    """In the lookup table; None if there is none: new flows have one backend, or no service."""
    remembered: dict[int, Verdict] = field(default_factory=dict)
    """By CPU, where the flow table remembers it."""
    other_sources: bool = False
    """The live program was compiled from other sources than these, and may behave otherwise."""


def find_out(balancer: Balancer, flow: Flow) -> Finding:
    """What the balancer does with packets of `flow`.

    Needs the sources, and all that it takes to compile them. Waits while another run changes the
    balancer. Raises L4lbError, as if nothing balances.
    """
    with lock.of_interface(balancer.interface, balancer.places.paths):
        return finding(Trial(balancer, flow))


def finding(trial: Trial) -> Finding:
    """What becomes of the flow of a trial."""
    packet = Packet(trial.flow)
    return Finding(
        service=trial.service,
        new=trial.run_anew(packet),
        slot=trial.slot,
        remembered={
            cpu: tried.verdict for cpu, tried in trial.run(packet).items() if tried.remembered
        },
        other_sources=trial.other_sources,
    )
