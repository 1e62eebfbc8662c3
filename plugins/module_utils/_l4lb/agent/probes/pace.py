# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this process is in time itself: a host without a free CPU must not blame its backends."""

from __future__ import annotations

import asyncio

_BEAT = 0.05


class Pace:
    """How much time the event loop of this process has lost so far, in seconds."""

    def __init__(self) -> None:
        self.lost = 0.0
        self._loop = asyncio.get_running_loop()
        self._next()

    def close(self) -> None:
        """Look no longer."""
        self._timer.cancel()

    def _next(self) -> None:
        self._timer = self._loop.call_later(_BEAT, self._beat)

    def _beat(self) -> None:
        self.lost += max(0.0, self._loop.time() - self._timer.when())
        self._next()
