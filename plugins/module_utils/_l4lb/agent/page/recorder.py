# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures all balancers of a host again and again, for whoever looks at the last 15 minutes.

Counting takes long where there are very many backends, so it is done in a thread, and nobody waits
for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...announce.decide import Side
from ...announce.host import Told, idle, told
from ...balancer.live import Live, at_work
from ...balancer.places import Places
from ...datapath.digests import Digests
from ...datapath.program import DataPath
from ...errors import L4lbError
from ...kernel.paths import Paths
from ...maps.manifest import Manifest
from ...model.config import Config
from ...network import link, rtnetlink
from ...operations import here
from ...operations.judge import Judge, Judged
from ...operations.sampler import remedied
from .counts import Counts
from .history import STEP, History
from .hops import Hops, Lookout


@dataclass(frozen=True)
class Reading:
    """What was found of a balancer.

    now, before: counters; before: None: it is the first time. seconds: between these.
    digest: of the configuration, as in `l4lb status --json`. at: seconds since 1970.
    """

    live: Live
    manifest: Manifest
    digest: str
    hops: Hops
    history: History
    at: float
    now: Counts
    before: Counts | None = None
    seconds: float = 0.0
    program: int = 0


class Recorder:
    """Of all balancers of this host."""

    def __init__(self, judges: Mapping[str, Judge]) -> None:
        """judges: of those that are at work, by interface; to be kept up to date."""
        self._judges = judges
        self._balancers: dict[str, _Balancer] = {}
        self.readings: dict[str, Reading] = {}
        """By interface."""
        self.problems: dict[str, str] = {}
        """Interface -> why nothing can be read of it, and what to do."""
        self.announcement: Told = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.take()
            await asyncio.sleep(STEP - time.monotonic() % STEP)

    async def take(self) -> None:
        """Measure once."""
        try:
            names = here.known()
        except (L4lbError, OSError):  # the agent says so
            return
        for name in self._balancers.keys() - names:
            del self._balancers[name]
            self.readings.pop(name, None)
            self.problems.pop(name, None)
        for name in names:
            await self._take(name)
        with contextlib.suppress(L4lbError, OSError):  # the agent says so
            self.announcement = await asyncio.to_thread(self._announced)

    def _announced(self) -> Told:
        readings = self.readings.items()
        if not any(one.manifest.config.announce for _name, one in readings):
            return {}
        links = rtnetlink.links()
        sides = [Side(one.manifest, idle(name, links, one.program)) for name, one in readings]
        return told(Paths(), sides)

    async def _take(self, name: str) -> None:
        balancer = self._balancers.setdefault(name, _Balancer(name))
        try:
            judge = self._judges.get(name)
            if judge:
                judge.look()
            known = judge.known if judge else None
            self.readings[name] = await asyncio.to_thread(balancer.read, known)
            self.problems.pop(name, None)
        except Exception as e:  # nothing that happens here is worth ending an agent
            self.readings.pop(name, None)
            self.problems[name] = remedied(e) if isinstance(e, L4lbError) else repr(e)

    def latest(self) -> dict[str, Reading]:
        """The readings, with the verdicts that hold now."""
        return {name: self._judged(name, reading) for name, reading in self.readings.items()}

    def _judged(self, name: str, reading: Reading) -> Reading:
        with contextlib.suppress(L4lbError, OSError):  # soon to be told as a problem
            now = self._judges[name].look() if name in self._judges else reading.manifest
            if now.config is reading.manifest.config:
                return replace(reading, manifest=now)
        return reading


class _Balancer:
    """What is remembered of one from one time to the next."""

    def __init__(self, name: str) -> None:
        self._places = Places.of(name)
        self._lookout, self._history = Lookout(), History()
        self._known: tuple[Config | None, str] = None, ""
        self._before: tuple[float, Counts] | None = None

    def read(self, judged: Judged | None) -> Reading:
        """judged: None: the agent does not watch it. Raises L4lbError."""
        if judged:
            data_path, manifest = judged.data_path, judged.manifest
        else:
            _unwatched, data_path, manifest = at_work(self._places, or_paused=True)
        live = _live(self._places, data_path, manifest)
        hops = self._lookout.look(manifest.config)
        now, at = Counts.taken(data_path, manifest), time.monotonic()
        then, before = self._before or (at, None)
        self._before = at, now
        if before:
            self._history.add(at, now.since(before, at - then))
        return Reading(
            live,
            manifest,
            self._digest(data_path, manifest),
            hops,
            self._history,
            time.time(),
            now,
            before,
            at - then,
            data_path.program.id,
        )

    def _digest(self, data_path: DataPath, manifest: Manifest) -> str:
        """It takes long where there are very many backends, so it is found out once."""
        known, digest = self._known
        if known is not manifest.config:
            digest = Digests(data_path, manifest).configuration
            self._known = manifest.config, digest
        return digest


def _live(places: Places, data_path: DataPath, manifest: Manifest) -> Live:
    """As live.read finds it, where it is known what the maps hold. Raises ConfigError if the
    interface has gone."""
    found = link.read_link(places.interface)
    there = found.attached
    ours = there if there and there.program_id == data_path.program.id else None
    return Live(
        found,
        data_path,
        data_path.program if ours else None,
        ours.mode if ours else None,
        manifest=manifest,
        paused=None if ours else places.saved.paused,
    )
