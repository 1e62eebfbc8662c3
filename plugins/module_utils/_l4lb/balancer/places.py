# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the balancer of an interface has what is its own."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel.paths import Paths
from ..kernel.pins import Pins
from .saved import Saved


@dataclass(frozen=True)
class Places:
    """Of one interface.

    pins: of its program and maps. staging: of a program that is to take over. saved: its file.
    """

    interface: str
    paths: Paths
    pins: Pins
    staging: Pins
    saved: Saved

    @classmethod
    def of(cls, interface: str, paths: Paths | None = None) -> Places:
        """The places of an interface of this host."""
        paths = paths or Paths()
        return cls(
            interface,
            paths,
            Pins.of(interface, paths),
            Pins.staging(interface, paths),
            Saved(interface, paths),
        )
