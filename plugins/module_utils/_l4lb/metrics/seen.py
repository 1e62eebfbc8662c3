# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer is at one moment, as metrics need it, and what it has counted by then.

All of it is found in steps, between which a caller may do other work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ..datapath import counters, flows
from ..datapath.digests import Digests
from ..datapath.program import DataPath
from ..maps.manifest import Manifest
from ..model.config import Address, Announced, Config, Service
from .checks import CheckCounts
from .exposition import labelled

Checks = Mapping[Address, CheckCounts]
"""Of the backends of a service that are checked."""


def no_checks(_service: Service) -> Checks:
    """Of who makes none."""
    return {}


@dataclass(frozen=True)
class Kept:
    """repairs: how often the agent has repaired a balancer. problem: whether it leaves something
    that is wrong."""

    repairs: int
    problem: bool


@dataclass(frozen=True)
class Seen:
    """A balancer, or an interface that should have one.

    mode: that it is attached in; None: it is not.
    data_path, manifest: None where there is none, or where it cannot be read.
    announced: VIPs that are announced.
    checks: what came of the checks of a service's backends. kept: None: nobody says.
    """

    interface: str
    mode: str | None = None
    paused: bool = False
    data_path: DataPath | None = None
    manifest: Manifest | None = None
    announced: Collection[Announced] = ()
    checks: Callable[[Service], Checks] = no_checks
    kept: Kept | None = None

    @property
    def services(self) -> tuple[Service, ...]:
        """What it balances."""
        return self.manifest.config.services if self.manifest else ()


@dataclass(frozen=True)
class Known:
    """What is the same as long as the configuration is, so that it is found out once: labels, as
    they are written, and the digest of the configuration, empty if it is not known.

    services, backends: by the name of the service; of the backends in their order.
    """

    config: Config | None
    interface: str
    services: Mapping[str, str] = field(default_factory=dict)
    backends: Mapping[str, list[str]] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def of(cls, seen: Seen) -> Known:
        """It takes a tenth of a second where there are very many backends."""
        interface = labelled({"interface": seen.interface})
        if not seen.data_path or not seen.manifest:
            return cls(None, interface)
        services = {
            one.name: f"{interface},{labelled({'service': one.name})}" for one in seen.services
        }
        backends = {
            one.name: [f'{services[one.name]},backend="{each.address}"' for each in one.backends]
            for one in seen.services
        }
        digest = Digests(seen.data_path, seen.manifest).configuration
        return cls(seen.manifest.config, interface, services, backends, digest)

    def is_of(self, seen: Seen) -> bool:
        """Whether it still holds."""
        return self.config is (seen.manifest.config if seen.manifest else None)


@dataclass
class Counted:
    """A balancer with its counters: as of `counters.totals`, `counters.events` and `flows.use`."""

    seen: Seen
    known: Known
    packets: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    drops: Mapping[str, int] = field(default_factory=dict)
    answers: Mapping[str, int] = field(default_factory=dict)
    flow_events: Mapping[str, int] = field(default_factory=dict)
    flow_table: tuple[int, int] | None = None
    checks: dict[str, list[CheckCounts]] = field(default_factory=dict)
    """Service -> those of its backends, in their order; of none if it is not checked."""

    def find_out(self) -> Iterator[None]:
        """In steps. Raises L4lbError if maps cannot be read."""
        for service in self.seen.services:
            found = self.seen.checks(service)
            if found:
                unchecked = CheckCounts()
                self.checks[service.name] = [
                    found.get(backend.address, unchecked) for backend in service.backends
                ]
            yield
        data_path = self.seen.data_path
        if data_path is None or self.seen.manifest is None:
            return
        for packets, bytes_ in counters.totals(data_path):
            self.packets += packets
            self.bytes += bytes_
            yield
        self.drops, self.answers, self.flow_events = counters.events(data_path)
        yield
        if data_path.flows:
            self.flow_table = flows.use(data_path.flows)
