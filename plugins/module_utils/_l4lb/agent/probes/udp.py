# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A packet, and what comes back."""

from __future__ import annotations

from ...model.check import Check
from .answer import TimedOut, quoted
from .wire import Wire


async def ask(wire: Wire, check: Check) -> str:
    """Returns what is good about the backend, of which silence tells nothing unless words are
    expected. Raises Unhealthy, CannotProbe."""
    await wire.connect()
    await wire.send((check.send or "").encode())
    said = None
    while True:
        try:
            said = await wire.receive(1 << 16)
        except TimedOut as e:
            if check.expect is None:
                return "no error came"
            if said is not None:
                raise TimedOut(f"said {quoted(said)}, not what is expected", True) from e
            raise
        if check.expect is None or check.expect.encode() in said:
            return "answered"
