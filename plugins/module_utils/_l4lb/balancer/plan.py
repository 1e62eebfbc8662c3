# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an apply would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model.config import Config
from ..model.interface import Ingress
from ..model.standing import Verdict
from ..routing.ways import Ways
from .changes import Move
from .live import Live
from .needs import Needs


@dataclass(frozen=True)
class Plan:
    """What an apply would do."""

    live: Live
    desired: Config | None
    """None: no balancer. `source_address` is filled in."""
    declared: Config | None = None
    """What to save: the same as the user gave it, for at the next boot addresses may differ."""
    accepted: bool = False
    """It was applied once, so that it is only warned of what cannot be meant."""
    ingress: Ingress = field(default_factory=lambda: Ingress(None, ""))
    """What the host has for it."""
    ways: Ways | None = None
    """To the backends."""
    build: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    """What changes, in words; empty if nothing does."""
    moves: tuple[Move, ...] = ()
    """What happens to the flows of services that change."""
    warnings: tuple[str, ...] = ()
    load: bool = False
    attach: bool = False
    write: bool = False
    save: bool = False
    repair: tuple[str, ...] = ()
    sysctls: Mapping[str, int] = field(default_factory=dict)
    """What is to be set for that, by name."""
    needs: Needs = field(default_factory=Needs)
    """What of the host it takes, there already or not."""
    newcomer: Verdict | None = None
    """As of `verdicts_after`."""
    overlap: Config | None = None
    """What to apply first, and to wait with: old backends serve until a new one is healthy."""

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.steps)

    @property
    def before(self) -> dict[str, Any]:
        """The live state as the options a user would write, as it is shown; empty if there is
        none."""
        if self.live.manifest is None:
            return {}
        state = self.live.manifest.config.dump(shown=True)
        if state["mode"] != "auto" and self.live.mode:
            state["mode"] = self.live.mode
        return state

    @property
    def after(self) -> dict[str, Any]:
        """The desired state, likewise."""
        return self.desired.dump(shown=True) if self.desired else {}
