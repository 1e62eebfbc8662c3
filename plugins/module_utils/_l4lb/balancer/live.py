# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interface has now."""

from __future__ import annotations

from dataclasses import dataclass

from ..datapath.program import DataPath
from ..kernel.bpf import Program
from ..maps.manifest import Manifest
from ..model.config import Config
from ..network.link import Link


@dataclass
class Live:
    """What an interface has now."""

    link: Link
    data_path: DataPath | None = None
    """Ours, attached, or only pinned (as after the interface was made anew)."""
    program: Program | None = None
    """Ours, attached, whether its maps can be read or not."""
    mode: str | None = None
    foreign: Program | None = None
    manifest: Manifest | None = None
    pinned: bool = False
    """The pins are complete, and no interrupted run has left others."""
    saved: Config | None = None
    """What is on disk, if that is readable; asked only where the kernel does not say."""

    @property
    def attached(self) -> bool:
        """Whether our program is attached."""
        return self.program is not None

    @property
    def config(self) -> Config:
        """What it balances now; nothing if that is not known."""
        return self.manifest.config if self.manifest else Config(self.link.name)

    @property
    def remembered(self) -> Config:
        """What it balanced last: what is saved, where the kernel does not say."""
        return self.saved or self.config
