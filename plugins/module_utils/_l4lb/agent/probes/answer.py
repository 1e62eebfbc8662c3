# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from ...model.config import Address
from ...printable import clipped, printable

_MOST_COLUMNS = 60
_MOST_READ = 400
"""Characters of a reason before it is made printable."""


@dataclass(frozen=True)
class Target:
    """Whom to ask.

    address, port: where the packets go; of a tunnel, the service's.
    backend: its own address.
    index: of a tunnel, its record there; None without a tunnel.
    mss: bytes of the longest TCP segment that fits into the tunnel.
    """

    address: Address
    port: int
    backend: Address
    index: int | None = None
    mss: int | None = None


@dataclass(frozen=True)
class Answer:
    """What came of it.

    answered: if it is unhealthy, the backend said something, even if it was not what it should.
    reason: for people: short and printable.
    seconds: that it took.
    timed_out: if it is unhealthy, whether that is because no answer came in time.
    """

    healthy: bool
    answered: bool
    reason: str
    seconds: float
    timed_out: bool = False

    @property
    def failure(self) -> str:
        """The reason as metrics have it, of FAILURES; empty if it is healthy."""
        if self.healthy:
            return ""
        if self.timed_out:
            return "timeout"
        return "wrong_answer" if self.answered else "no_answer"


class CannotProbe(Exception):  # noqa: N818 (it is no error of the program)
    """It was not found out, and that is not the backend's fault."""

    def __init__(self, reason: str) -> None:
        self.reason = short(reason)
        super().__init__(self.reason)


class Unhealthy(Exception):  # noqa: N818 (likewise)
    """The backend is; `answered` and `reason` as in Answer."""

    def __init__(self, reason: str, answered: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.answered = reason, answered


class TimedOut(Unhealthy):
    """Because no answer came in time."""


def short(reason: str) -> str:
    """A reason as it is shown."""
    text = printable(reason[:_MOST_READ].strip())
    shown = clipped(text, _MOST_COLUMNS)
    return text if shown == text else f"{clipped(text, _MOST_COLUMNS - 1)}…"


def quoted(data: bytes) -> str:
    """The beginning of what somebody sent, who may have sent anything."""
    return ascii(data[:20].decode("latin-1"))
