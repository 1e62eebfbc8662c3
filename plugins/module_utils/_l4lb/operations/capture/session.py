# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A capture, from its beginning to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from ...balancer.live import at_work
from ...balancer.places import Places
from ...errors import L4lbError
from ...model.config import Address, Config
from ...network import link, rtnetlink
from .packet import Captured, Reader
from .tracer import Tracer
from .wanted import Bounds, Wanted

_PAUSE = 0.05
"""Seconds between two looks into the ring; it has room for what comes in that time."""
_LOOK = 1.0
"""Seconds between two looks whether it is still this program that is attached."""


class Session:
    """Captures packets of one interface."""

    def __init__(self, interface: str, wanted: Wanted, bounds: Bounds) -> None:
        """Raises L4lbError if it does not balance, ConfigError if there is no such service."""
        self.interface = interface
        self._wanted, self._bounds = wanted, bounds
        _live, self._data_path, manifest = at_work(Places.of(interface))
        wanted.check(manifest.config)
        self._reader = Reader(manifest.config, _macs(manifest.config))
        self._tracer: Tracer | None = None
        self._stopped = False
        self.count = 0
        """Packets that were captured."""

    def load(self, sources: Mapping[str, str]) -> None:
        """Compile what it takes. Raises HostError."""
        self._tracer = Tracer.load(sources, self._data_path, self._wanted)

    def attach(self) -> None:
        """Packets are seen from now on. Raises HostError."""
        self._loaded.attach()

    @property
    def _loaded(self) -> Tracer:
        if self._tracer is None:
            raise ValueError("load comes first")
        return self._tracer

    @property
    def lost(self) -> int:
        """Packets that came too fast."""
        return self._loaded.lost

    def packets(self) -> Iterator[list[Captured]]:
        """Those that are wanted, as they come, perhaps none; until the bounds are reached, or it is
        stopped.

        Raises L4lbError if another program is attached meanwhile.
        """
        tracer = self._loaded
        look = now = time.monotonic()
        end = now + self._bounds.seconds
        while now < end and self.count < self._bounds.count and not self._stopped:
            if now >= look:
                self._require_program()
                look = now + _LOOK
            yield self._take(tracer)
            time.sleep(_PAUSE)
            now = time.monotonic()
        tracer.detach()
        yield self._take(tracer)

    def stop(self) -> None:
        """End it soon, with what has come by then."""
        self._stopped = True

    def close(self) -> None:
        """Leaves nothing behind."""
        if self._tracer:
            self._tracer.close()

    def _take(self, tracer: Tracer) -> list[Captured]:
        seen = (self._reader.read(record) for record in tracer.take())
        taken = [one for one in seen if self._wanted.takes(one)]
        taken = taken[: self._bounds.count - self.count]
        self.count += len(taken)
        return taken

    def _require_program(self) -> None:
        attached = link.read_link(self.interface).attached
        if attached is None or attached.program_id != self._data_path.program.id:
            raise L4lbError(
                f"the program that was captured from is no longer attached to {self.interface}; "
                "capture again"
            )


def _macs(config: Config) -> list[tuple[Address, str]]:
    """Of backends that get frames without an outer header."""
    services = [one for one in config.services if one.encapsulation == "l2"]
    backends = {one.address: one.mac for service in services for one in service.backends}
    if not backends:
        return []
    given = {address: mac for address, mac in backends.items() if mac}
    heard = {
        entry.address: entry.mac.hex(":")
        for entry in rtnetlink.neighbours()
        if entry.mac and entry.address in backends
    }
    return [*{**heard, **given}.items()]
