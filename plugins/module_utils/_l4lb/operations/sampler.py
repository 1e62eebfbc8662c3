# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of the counters of balancers, with rates from one to the next."""

from __future__ import annotations

import time
from typing import Any

from ..announce import host
from ..balancer import modes
from ..balancer.live import Live, at_work
from ..balancer.places import Places
from ..datapath.counters import Statistics, statistics
from ..errors import ConfigError, IdleError, L4lbError, PausedError
from ..kernel.paths import Paths
from ..printable import listed
from . import here
from .report import facts, with_digests


def remedied(error: L4lbError) -> str:
    """Why a balancer cannot be read, and what to do."""
    detached = isinstance(error, IdleError) and not isinstance(error, PausedError)
    return f"{error}; l4lb restore brings it back" if detached else str(error)


class Sampler:
    """Reads balancers again and again."""

    def __init__(
        self, interface: str | None = None, service: str | None = None, digests: bool = False
    ) -> None:
        """interface: the only one to read; default: all of this host that have a balancer, or
        should have, looked for each time.
        service: only the service of this name.
        digests: tell all by which balancers are compared, too."""
        self.problems: list[str] = []
        """Of the last sample: why it lacks interfaces that balance, or that should."""
        self._interface = None if interface is None else here.named(interface)
        self._service = service
        self._digests = digests
        self._before: dict[str, tuple[float, Statistics]] = {}

    def take(self) -> dict[str, Any]:
        """Interface -> facts; with rates since the last call from the second one on.

        Raises L4lbError if the interface does not balance, or if none has such a service.
        """
        found, others = {}, []
        self.problems = []
        configs = {}
        for name in [self._interface] if self._interface else here.known():
            try:
                live, data_path, manifest = at_work(Places.of(name))
                now = statistics(data_path, manifest)
            except L4lbError as e:
                if self._interface:
                    raise
                self.problems.append(remedied(e))
                continue
            if self._service in (None, *now.services):
                found[name], configs[name] = self._facts(name, live, now), live.config
            else:
                others.append(f"{name} has no such service, but {listed(now.services)}")
        if others and not found:
            raise ConfigError("service", self._service, "; ".join(others))
        announced = host.told_of(configs.values(), Paths())
        for name, config in configs.items():
            found[name]["announcement"] = host.of_balancer(announced, config)
        return found

    def _facts(self, name: str, live: Live, now: Statistics) -> dict[str, Any]:
        at = time.monotonic()
        then, before = self._before.get(name, (at, None))
        self._before[name] = (at, now)
        verdicts = live.manifest.verdicts if live.manifest else {}
        found = facts(live.config, live.mode, now, before, at - then, self._service, verdicts)
        if self._digests and live.data_path and live.manifest:
            found = with_digests(found, live.data_path, live.manifest)
        refusal = modes.refusal(live)
        return {**found, "native_refused": refusal} if refusal else found
