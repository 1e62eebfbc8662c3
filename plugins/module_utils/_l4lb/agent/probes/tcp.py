# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection, and what is said by it."""

from __future__ import annotations

from ...model.check import Check
from .answer import TimedOut, Unhealthy, quoted
from .wire import Wire


async def ask(wire: Wire, check: Check) -> str:
    """Returns what is good about the backend. Raises Unhealthy, CannotProbe."""
    if check.send is None and check.expect is None:
        wire.do_not_acknowledge()
        await wire.connect()
        return "connected"
    await wire.connect()
    if check.send:
        await wire.send(check.send.encode())
    expected = (check.expect or "").encode()
    said = b""
    while True:
        try:
            more = await wire.receive()
        except TimedOut as e:
            raise TimedOut(_otherwise(said) if said else e.reason, bool(said)) from e
        if not more:
            raise Unhealthy(_otherwise(said) if said else "closed without a word", bool(said))
        said += more
        if expected in said:
            return "answered as expected" if expected else "answered"


def _otherwise(said: bytes) -> str:
    return f"said {quoted(said)}, not what is expected"
