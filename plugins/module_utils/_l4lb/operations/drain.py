# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backend is still sent, and waiting until that is nothing.

Its packet counters tell whether something is sent while one looks, and cost next to nothing to
read. The flow table tells what was sent before, so what is quiet already is not waited for; and
whether packets are those of established flows, for others, which anyone can forge, hold nothing up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..balancer import live
from ..balancer.balancer import Balancer
from ..datapath import counters, flows
from ..datapath.flows import Silences
from ..errors import L4lbError
from ..maps import flow_table
from ..maps.manifest import Manifest
from ..model.config import Address, Backend, Config, Service, ServiceKey, remembers
from ..network import neighbours

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

    def silences(self) -> dict[ServiceKey, Silences | None]:
        """How long the remembered flows of each service are silent; None if the service remembers
        none. Services that do not have the backend any more are left out."""
        _live, data_path, manifest = live.at_work(self.balancer.places, or_paused=True)
        owners = {
            service.key: (
                manifest.numbers[service.name][self.address],
                manifest.service_ids[service.name],
            )
            for service, _backend in self._present(manifest)
            if remembers(service, manifest.config)
        }
        found = flows.silences(data_path, owners.values())
        return {
            service.key: found[owners[service.key]] if service.key in owners else None
            for service, _backend in self._present(manifest)
        }

    def packets(self) -> dict[ServiceKey, int]:
        """Packets sent so far, of those services that may send more.

        Raises L4lbError if the backend is enabled in one of them.
        """
        _live, data_path, manifest = live.at_work(self.balancer.places, or_paused=True)
        sending = []
        for service, backend in self._present(manifest):
            if backend.state == "enabled":
                raise L4lbError(
                    f"{self.address} has been enabled for {service.name} on "
                    f"{self.balancer.interface} while it was waited for"
                )
            if backend.state == "drained" and not _fails(backend, manifest.config):
                sending.append(service)
        return {
            service.key: counters.packets(data_path, manifest.numbers[service.name][self.address])
            for service in sending
        }

    def _present(self, manifest: Manifest) -> list[tuple[Service, Backend]]:
        return [
            (service, backend)
            for service in manifest.config.services
            for backend in service.backends
            if service.key in self.services and backend.address == self.address
        ]


def _fails(backend: Backend, config: Config) -> bool:
    """Whether the kernel knows that nothing reaches it."""
    routed = not (backend.mac or config.gateway_mac)
    return routed and neighbours.fails(backend.address, config.sources)


@dataclass(frozen=True)
class Waited:
    """How a wait ended."""

    seconds: float
    quiet: bool
    """Nothing is sent any more; else the time was up."""


def wait_until_quiet(watches: Sequence[Watch], quiet: float, timeout: float) -> Waited:
    """Wait until no established flow has sent the backend anything for `quiet` seconds, but not
    longer than `timeout` seconds.

    A flow whose first packet came just before is given the time to be established. After that
    packets of such flows are not waited for.

    There is nothing to wait for where the backend is disabled, removed, or cannot be reached.

    Raises L4lbError if it is enabled meanwhile, or a balancer removed.
    """
    start = time.monotonic()
    counts = _packets(watches)
    flows = _flows(watches)
    grace = max(0.0, quiet - flow_table.FLOW_SECONDS_TO_CONFIRM)
    silences = (_silence(flows.get(name), grace) for name in counts)
    last = time.monotonic() - min(silences, default=math.inf)
    suspects: set[_Name] = set()
    while True:
        asked = time.monotonic()
        new = _packets(watches)
        now = time.monotonic()
        for name in new:
            if new[name] == counts.get(name):
                continue
            if name in counts and flows.get(name):
                suspects.add(name)  # the flow table will tell
            else:
                last = now  # no flow table can, or it can be reached again
        counts = new
        if suspects and now - last >= quiet:
            flows = _flows(watches)
            last = max(last, now - min(_silence(flows.get(name)) for name in suspects))
            suspects.clear()
        if not new or now - last >= quiet:
            return Waited(now - start, True)
        if now - start >= timeout:
            return Waited(now - start, False)
        rest = max(_INTERVAL, (time.monotonic() - asked) / _SHARE)
        time.sleep(max(0.0, min(rest, last + quiet - now, start + timeout - now)))


_Name = tuple[str, ServiceKey]
"""Interface and service."""


def _packets(watches: Sequence[Watch]) -> dict[_Name, int]:
    return {
        (watch.balancer.interface, key): packets
        for watch in watches
        for key, packets in watch.packets().items()
    }


def _flows(watches: Sequence[Watch]) -> dict[_Name, Silences | None]:
    return {
        (watch.balancer.interface, key): silences
        for watch in watches
        for key, silences in watch.silences().items()
    }


def _silence(flows: Silences | None, grace: float = math.inf) -> float:
    """Seconds since the last packet of a flow; 0 if that is not known.

    grace: by how much flows that are not established seem to be silent longer.
    """
    if flows is None:
        return 0.0
    tentative = (silence + grace for silence in flows.tentative)
    return min([math.inf, *flows.confirmed, *tentative])
