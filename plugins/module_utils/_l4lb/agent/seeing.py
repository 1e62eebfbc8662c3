# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent knows of its host, and of itself, for those who ask."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from ..balancer.saved import Saved
from ..kernel.paths import Paths
from ..metrics import families, look
from ..metrics.samples import Host
from ..metrics.seen import Kept, Seen, no_checks
from ..model.config import Announced
from ..network import neighbours
from ..operations import here
from ..operations.judge import Judge
from .journal import Journal
from .probes.prober import Prober
from .upkeep import Upkeep
from .watch import Watch

_RESIDENT = 1
"""The column of /proc/self/statm (proc(5)), in pages."""


class Seeing:
    """Looks at what the agent works with, without a hand in it."""

    def __init__(
        self,
        version: str,
        judges: Mapping[str, Judge],
        watches: Mapping[str, Watch],
        upkeep: Upkeep,
        prober: Prober,
        journal: Journal,
    ) -> None:
        """version: of the collection. judges, watches: by interface, as the agent has them."""
        self._version, self._judges, self._watches = version, judges, watches
        self._upkeep, self._prober, self._journal = upkeep, prober, journal
        self._started = time.time()

    def look(self) -> tuple[Host, list[Seen]]:
        """All of it; balancers are the interfaces that have one, or should have. It may be called
        in another thread, as it takes long where there are many links and neighbours. Raises
        L4lbError."""
        kept, announced = self._upkeep.kept(), look.announced()
        return self._host(), [self._seen(name, announced, kept.get(name)) for name in here.known()]

    def _host(self) -> Host:
        pages = int(Path("/proc/self/statm").read_text().split()[_RESIDENT])
        agent = {
            families.LOOP_LAG: self._prober.lag,
            families.TROUBLES: len(self._journal.troubles),
            families.STARTED: self._started,
            families.MEMORY: pages * os.sysconf("SC_PAGE_SIZE"),
            families.CPU: time.process_time(),
        }
        return Host(self._version, neighbours.next_hop_counts(), agent)

    def _seen(self, name: str, announced: Collection[Announced], kept: Kept | None) -> Seen:
        judge, watch = self._judges.get(name), self._watches.get(name)
        known, checks = judge.known if judge else None, watch.checks if watch else no_checks
        paused = Saved(name, Paths()).paused is not None
        mode = look.mode(name, known.data_path) if known else None
        if known is None or (mode is None and not paused):  # or another program is there by now
            return look.at(name, announced, checks, kept)
        return Seen(name, mode, paused, known.data_path, known.manifest, announced, checks, kept)
