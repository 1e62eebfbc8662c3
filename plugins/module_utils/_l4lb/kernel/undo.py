# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking back the steps of a change that fails."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from ..errors import L4lbError


class Undo:
    """What takes back the steps that a block has done so far; if the block fails, it happens, that
    of the last step first.

    It is added before its step is taken, as a step may fail when it is half done, or be interrupted
    right after. So it must also do where nothing is to be taken back.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], Any]] = []

    def add(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Have `step` called with these if the block fails from now on."""
        self._steps.append(functools.partial(step, *arguments))

    def __enter__(self) -> Undo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            return
        problems = []
        with uninterrupted():
            for step in reversed(self._steps):
                try:
                    step()
                except Exception as e:  # noqa: PERF203 (others are to be called)
                    problems.append(str(e))
        if problems and isinstance(error, L4lbError):
            told = "; ".join(problems)
            error.args = (f"{error}; not all could be put back as it was: {told}", *error.args[1:])


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Have Ctrl-C wait until the block is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
