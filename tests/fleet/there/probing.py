# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks of the balancer on eth0, by its tunnel."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes import tunnel as tunnels
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import (
    CannotProbe,
    Target,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.prober import Prober
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.tunnel import Tunnel
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.live import at_work
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.places import Places
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.probes import ProbeProgram
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import libbpf
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.backend_record import both_records
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Backend, Service

from tests.fleet.there.library import sources
from tests.fleet.there.worker import end, pause

Found = dict[str, dict[str, list[Any]]]
"""Service -> address of a backend -> whether it is healthy, whether it answered, and the reason;
of what cannot be probed None, False and the reason."""
MTU = 1500


@dataclass(frozen=True)
class Opened:
    """A tunnel to all backends of the balancer."""

    tunnel: Tunnel
    targets: dict[tuple[Service, Backend], Target]

    def ask(self) -> Found:
        """All of them, by the checks of their services."""
        return asyncio.run(self._ask())

    async def _ask(self) -> Found:
        prober = Prober(tunnel=self.tunnel)
        found: Found = {}
        for (service, backend), target in self.targets.items():
            assert service.check
            try:
                answer = await prober.probe(service.check, target)
                result = [answer.healthy, answer.answered, answer.reason]
            except CannotProbe as e:
                result = [None, False, e.reason]
            found.setdefault(service.name, {})[str(backend.address)] = result
        prober.close()
        return found


@contextlib.contextmanager
def opened(tcx: bool = True) -> Iterator[Opened]:
    """With the records that clients' packets meet."""
    _live, data_path, manifest = at_work(Places.of("eth0"))
    index = socket.if_nametoindex("eth0")
    records, keys = {}, {}
    for service in manifest.config.services:
        for backend in service.backends:
            number = manifest.numbers[service.name][backend.address]
            both = both_records(data_path.backends.lookup(number) or b"")
            records[service.key, backend.address] = both[service.name in manifest.second], index
            keys[service.key, backend.address] = service, backend
    tunnel = Tunnel(ProbeProgram.load(sources(), len(records)), tcx)
    targets = {}
    for key, place in tunnel.place(records).items():
        service, backend = keys[key]
        check = service.check
        assert check
        versions = service.address.version, backend.address.version
        mss = tunnels.segment_size(MTU, service.encapsulation, *versions)
        address = service.address
        if check.via == "address":
            targets[keys[key]] = Target(backend.address, check.port or 0, backend.address)
            continue
        targets[keys[key]] = Target(address, check.port or 0, backend.address, place, mss)
    tunnel.keep(service.address for service in manifest.config.services)
    try:
        yield Opened(tunnel, targets)
    finally:
        tunnel.close()


def ask(tcx: bool = True) -> Found:
    """All backends of the balancer once."""
    with opened(tcx) as there:
        return there.ask()


def watched(times: int, tcx: bool) -> list[dict[str, Any]]:
    """What it finds and says so many times, with a pause before each but the first: before it
    looks after its filters, and after."""
    told = []
    with opened(tcx) as there:
        addresses = {service.address for service, _backend in there.targets}
        for number in range(times):
            if number:
                pause()
            before = there.ask()
            said = there.tunnel.keep(addresses)
            told.append(
                {
                    "before": before,
                    "said": said,
                    "problems": tunnels.told(there.tunnel.problems),
                    "after": there.ask(),
                }
            )
    return told


def killed() -> None:
    """A process that leaves its filter behind."""
    with opened(tcx=False) as there:
        end(len(there.targets))


def leftovers() -> list[str]:
    """Interfaces where one was, and is no longer."""
    return tunnels.remove_leftovers()


def pass_on(interface: str) -> None:
    """Attach a filter of somebody else, which has no opinion on any packet."""
    from pyroute2 import IPRoute

    code = struct.pack("=2Bhi2Bhi", 0xB7, 0, 0, -1, 0x95, 0, 0, 0)  # r0 = -1; exit
    fd = libbpf().bpf_prog_load(3, b"others", b"GPL", code, 2, None)
    index = socket.if_nametoindex(interface)
    with IPRoute() as ip:
        options = {"parent": "ffff:fff3", "prio": 5, "direct_action": True}
        ip.tc("add-filter", "bpf", index, ":1", fd=fd, name="others", **options)


def release() -> list[int]:
    """Of the kernel: major and minor."""
    return [int(number) for number in platform.release().split(".")[:2]]
