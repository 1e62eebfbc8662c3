# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer is at one moment, as metrics need it, and what it has counted by then.

All of it is found in steps, between which a caller may do other work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..datapath import counters, flows
from ..datapath.program import DataPath
from ..maps.manifest import Manifest
from ..model.config import Address, Config, Service
from .checks import CheckCounts
from .exposition import labelled

_DIGITS = 16
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
    checks: what came of the checks of a service's backends. kept: None: nobody says.
    """

    interface: str
    mode: str | None = None
    paused: bool = False
    data_path: DataPath | None = None
    manifest: Manifest | None = None
    checks: Callable[[Service], Checks] = no_checks
    kept: Kept | None = None

    @property
    def services(self) -> tuple[Service, ...]:
        """What it balances."""
        return self.manifest.config.services if self.manifest else ()


@dataclass
class Known:
    """What is the same as long as the configuration is, so that it is found out once: labels, as
    they are written, and a digest."""

    config: Config | None
    interface: str
    services: dict[str, str] = field(default_factory=dict)
    backends: dict[str, list[str]] = field(default_factory=dict)
    """Service -> those of its backends, in their order."""
    digest: str = ""
    build: str = ""
    """A digest of what the program was built from."""

    @classmethod
    def of(cls, seen: Seen) -> tuple[Known, Iterator[None]]:
        """With the steps that it takes until it is whole."""
        config = seen.manifest.config if seen.manifest else None
        known = cls(config, labelled({"interface": seen.interface}))
        if seen.manifest:
            known.build = _digest(hashlib.sha256(_json(dict(seen.manifest.build))))
        return known, known._find_out()

    def is_of(self, seen: Seen) -> bool:
        """Whether it still holds."""
        return self.config is (seen.manifest.config if seen.manifest else None)

    def _find_out(self) -> Iterator[None]:
        if self.config is None:
            return
        whole = hashlib.sha256(_json(_of_fleet(self.config)))
        for service in sorted(self.config.services, key=lambda one: one.name):
            label = f"{self.interface},{labelled({'service': service.name})}"
            self.services[service.name] = label
            self.backends[service.name] = [
                f'{label},backend="{backend.address}"' for backend in service.backends
            ]
            whole.update(_json(_dump(service)))
            yield
        self.digest = _digest(whole)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(whole: Any) -> str:
    """As people compare them."""
    text: str = whole.hexdigest()
    return text[:_DIGITS]


def _of_fleet(config: Config) -> list[Any]:
    """What decides where flows go, besides services. Nobody shall guess a seed by it."""
    return [config.options(shown=True)[name] for name in ("hash_seed", "udp_timeout", "gue_port")]


def _dump(service: Service) -> dict[str, Any]:
    """A service whatever the order of its backends, where that makes no difference."""
    backends = [one.options for one in service.backends]
    if service.scheduler != "jhash":
        backends.sort(key=lambda one: str(one["address"]))
    return {**service.options, "backends": backends}


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
