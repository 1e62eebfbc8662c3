# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of the counters of balancers, with rates from one to the next."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from .balancer import Balancer
from .datapath import Statistics
from .errors import ConfigError
from .facts import facts


class Sampler:
    """Reads balancers again and again."""

    def __init__(self, interfaces: Iterable[str], service: str | None = None) -> None:
        """service: only the service of this name."""
        self._balancers = {name: Balancer(name) for name in interfaces}
        self._service = service
        self._before: dict[str, tuple[float, Statistics]] = {}

    def take(self) -> dict[str, Any]:
        """Interface -> facts; with rates since the last call from the second one on.

        Raises L4lbError if an interface does not balance, or has no such service.
        """
        return {name: self._read(name) for name in self._balancers}

    def _read(self, name: str) -> dict[str, Any]:
        live, now = self._balancers[name].statistics()
        if self._service is not None and self._service not in now.services:
            others = ", ".join(now.services)
            raise ConfigError("service", self._service, f"{name} has no such service, but {others}")
        at = time.monotonic()
        then, before = self._before.get(name, (at, None))
        self._before[name] = (at, now)
        return facts(live.config, live.mode, now, before, at - then, self._service)
