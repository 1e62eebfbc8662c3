# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backend is still sent, and waiting until that is nothing.

Its packet counters tell whether something is sent while one looks, and cost next to nothing to
read. The flow table also tells what was sent before, so what is quiet already is not waited for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from . import image, neighbours
from .balancer import Balancer
from .errors import L4lbError
from .image import Manifest
from .model import Address, Backend, Service, ServiceKey

_INTERVAL = 0.25
"""Seconds between two samples, or more: """
_SHARE = 0.1
"""of the time, at most, is spent on taking them, however large the configuration."""


class Watch:
    """A backend in some services of one balancer, which other runs may change meanwhile."""

    def __init__(
        self, balancer: Balancer, address: Address, services: Collection[ServiceKey]
    ) -> None:
        self.balancer = balancer
        self.address = address
        self.services = services

    def silences(self) -> dict[ServiceKey, list[float] | None]:
        """By service, for each flow that is remembered, the seconds since its last packet; None if
        the service remembers none. Services that do not have the backend any more are left out."""
        _live, data_path, manifest = self.balancer.at_work()
        owners = {
            service.key: (
                manifest.numbers[service.name][self.address],
                manifest.service_ids[service.name],
            )
            for service, _backend in self._present(manifest)
            if image.remembers(service, manifest.config)
        }
        found = data_path.silences(owners.values())
        return {
            service.key: (
                found[owners[service.key]].confirmed + found[owners[service.key]].tentative
                if service.key in owners
                else None
            )
            for service, _backend in self._present(manifest)
        }

    def packets(self) -> dict[ServiceKey, int]:
        """Packets sent so far, of those services that may send more.

        Raises L4lbError if the backend is enabled in one of them.
        """
        _live, data_path, manifest = self.balancer.at_work()
        sending = []
        for service, backend in self._present(manifest):
            if backend.state == "enabled":
                raise L4lbError(
                    f"{self.address} has been enabled for {service.name} on "
                    f"{self.balancer.interface} while it was waited for"
                )
            routed = not (backend.mac or manifest.config.gateway_mac)
            if backend.state == "drained" and not (routed and neighbours.fails(self.address)):
                sending.append(service)
        return {
            service.key: data_path.packets(manifest.numbers[service.name][self.address])
            for service in sending
        }

    def _present(self, manifest: Manifest) -> list[tuple[Service, Backend]]:
        return [
            (service, backend)
            for service in manifest.config.services
            for backend in service.backends
            if service.key in self.services and backend.address == self.address
        ]


@dataclass(frozen=True)
class Waited:
    """How a wait ended."""

    seconds: float
    quiet: bool
    """Nothing is sent any more; else the time was up."""


def wait_until_quiet(watches: Sequence[Watch], quiet: float, timeout: float) -> Waited:
    """Wait until the backend has been sent nothing for `quiet` seconds, but not longer than
    `timeout` seconds.

    There is nothing to wait for where it is disabled, removed, or cannot be reached.

    Raises L4lbError if it is enabled meanwhile, or a balancer removed.
    """
    start = time.monotonic()
    counts = _packets(watches)
    silence = min((_silence(watch) for watch in watches), default=math.inf)
    last = time.monotonic() - silence
    while True:
        asked = time.monotonic()
        new = _packets(watches)
        now = time.monotonic()
        if any(counts.get(key) != packets for key, packets in new.items()):
            last = now
        if not new or now - last >= quiet:
            return Waited(now - start, True)
        if now - start >= timeout:
            return Waited(now - start, False)
        counts = new
        rest = max(_INTERVAL, (now - asked) / _SHARE)
        time.sleep(max(0.0, min(rest, last + quiet - now, start + timeout - now)))


def _packets(watches: Sequence[Watch]) -> dict[tuple[str, ServiceKey], int]:
    return {
        (watch.balancer.interface, key): packets
        for watch in watches
        for key, packets in watch.packets().items()
    }


def _silence(watch: Watch) -> float:
    """Seconds since the last packet, as far as the flow table knows."""
    least = math.inf
    for flows in watch.silences().values():
        least = min([0.0] if flows is None else [least, *flows])
    return least
