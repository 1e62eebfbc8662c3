# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backend on all balancers of this host: change it, wait for it, and tell what came of that."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..balancer import live
from ..balancer.balancer import Balancer, change
from ..errors import ConfigError, L4lbError, LastBackendError
from ..model.config import Address, Backend, Config, ServiceKey
from ..model.edits import change_backend, find_backend
from ..printable import listed
from . import here
from .drain import Waited, Watch, wait_until_quiet


@dataclass(frozen=True)
class Order:
    """What an operator wants of a backend. None: in all services or on all interfaces that have it,
    and a state or weight as it is."""

    address: Address
    service: str | None = None
    interface: str | None = None
    state: str | None = None
    weight: int | None = None
    wait: float | None = None
    """Seconds to wait at most until a drained backend is quiet; None: not at all."""
    quiet: float = 10.0
    """Seconds without a packet after which a flow counts as ended."""
    force: bool = False
    """Also the last backend that takes new flows of a service may be kept from it."""

    def edit(self, config: Config) -> Config:
        """`config` as wanted.

        Raises ConfigError, which lists what there is, and LastBackendError.
        """
        after = change_backend(config, self.address, self.service, self.state, self.weight)
        lost = [
            becomes.name
            for was, becomes in zip(config.services, after.services)
            if was.takes_flows and not becomes.takes_flows
        ]
        if lost and not self.force:
            raise LastBackendError(
                f"{listed(lost)} on {config.interface}: {self.address} is the last backend that "
                "takes new flows, which would be dropped; enable another one first, or set force: "
                "true"
            )
        return after


@dataclass
class Place:
    """A service that has the backend."""

    interface: str
    service: str
    before: Backend
    after: Backend
    flows: int | None = None
    """How many established ones sent it a packet within the quiet time; 0 if it is disabled, None
    if it is enabled or the service remembers no flows."""


@dataclass
class Report:
    """What was done, or would be."""

    places: list[Place] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    """What changes, in words; empty if nothing does."""
    warnings: list[str] = field(default_factory=list)
    waited: Waited | None = None

    @property
    def flows(self) -> int | None:
        """Those that are left in all services together; None if none of them knows."""
        known = [place.flows for place in self.places if place.flows is not None]
        return sum(known) if known else None

    def problem(self, order: Order) -> str | None:
        """Why the order is not carried out all the same, if the time was up."""
        if self.waited is None or self.waited.quiet:
            return None
        flows = "packets are" if self.flows is None else f"{self.flows} flows are"
        return (
            f"{order.address} was not quiet within {order.wait:g} seconds: {flows} still sent to "
            "it; it stays drained"
        )


def operate(order: Order, check: bool = False) -> Report:
    """Carry out an order.

    check: change nothing, and do not wait, but find out what would be changed.

    Raises ConfigError, LastBackendError or L4lbError for what fits nothing here, before anything is
    changed, and L4lbError of other kinds; all balancers then forward as before, unless it is from
    waiting.
    """
    report = Report()
    watches: list[tuple[Watch, dict[ServiceKey, Place]]] = []
    balancers = _balancers(order)
    if check:
        plans = [balancer.plan_change(order.edit) for balancer in balancers]
    else:
        plans = change(balancers, order.edit)
    for balancer, plan in zip(balancers, plans):
        report.steps += plan.steps
        report.warnings += plan.warnings
        places = _places(order, plan.live.config)
        report.places += places.values()
        drained = [key for key, place in places.items() if place.after.state == "drained"]
        if drained:
            watches.append((Watch(balancer, order.address, drained), places))
    enabled = all(place.after.state == "enabled" for place in report.places)
    if order.wait is not None and not check and not enabled:
        report.waited = wait_until_quiet(
            [watch for watch, _places_ in watches], order.quiet, order.wait
        )
    for watch, places in watches:
        try:
            found = watch.silences()
        except L4lbError as e:
            report.warnings.append(f"nobody knows how many flows are left: {e}")
            continue
        for key, silences in found.items():
            if silences is not None:
                places[key].flows = sum(silence < order.quiet for silence in silences.confirmed)
    return report


def _balancers(order: Order) -> list[Balancer]:
    """Those that the order is for."""
    balancers = [Balancer(name) for name in here.chosen(order.interface, "interface")]
    if len(balancers) == 1:  # whether it fits comes out when it is planned
        return balancers
    found, misfits, outages = [], [], []
    for balancer in balancers:
        _live, _data_path, manifest = live.at_work(balancer.places, or_paused=True)
        try:
            order.edit(manifest.config)
            found.append(balancer)
        except ConfigError as e:
            misfits.append(str(e))
        except LastBackendError as e:
            outages.append(str(e))
    if outages:
        raise LastBackendError("; ".join(outages))
    if not found:
        raise L4lbError("; ".join(misfits))
    return found


def _places(order: Order, config: Config) -> dict[ServiceKey, Place]:
    """What the order makes of each service in `config` that it is about."""
    before, after = (
        find_backend(one, order.address, order.service) for one in (config, order.edit(config))
    )
    return {
        key: Place(
            config.interface,
            service.name,
            before=was,
            after=after[key][1],
            flows=0 if after[key][1].state == "disabled" else None,
        )
        for key, (service, was) in before.items()
    }
