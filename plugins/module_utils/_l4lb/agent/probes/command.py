# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of the operator, which has no more rights than it needs, and no more time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
from types import TracebackType
from typing import Any

from ...model.check import Check
from .answer import CannotProbe, Target, Unhealthy
from .pace import Pace
from .wire import timed_out

MOST_AT_ONCE = 16
_MOST_OUTPUT = 1 << 12
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}


class Commands:
    """All that run at a time.

    user: whose rights they have; None: those of this process.
    """

    def __init__(self, pace: Pace, user: str | None) -> None:
        self._pace, self._user = pace, user
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def ask(self, check: Check, target: Target) -> str:
        """Returns what is good about the backend. Raises Unhealthy, CannotProbe."""
        try:
            await asyncio.wait_for(self._room.acquire(), check.timeout)
        except asyncio.TimeoutError:
            raise CannotProbe(f"{MOST_AT_ONCE} commands run already") from None
        try:
            with _Process(_words(check, target), self._user) as process:
                return await self._ended(process, check.timeout)
        finally:
            self._room.release()

    async def _ended(self, process: _Process, timeout: float) -> str:
        loop, lost = asyncio.get_running_loop(), self._pace.lost
        due = loop.time() + timeout
        try:
            await asyncio.wait_for(process.end, timeout)
        except asyncio.TimeoutError:
            raise timed_out(timeout, self._pace.lost - lost, due) from None
        code, said = process.close(), process.first_line()
        if code < 0:
            raise CannotProbe(f"the command died of {_signal(-code)}")
        if code:
            raise Unhealthy(said or f"exit code {code}", answered=True)
        return said or "exit code 0"


class _Process:
    """A program that runs in a group of its own, which ends with it."""

    def __init__(self, words: list[str], user: str | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.end: asyncio.Future[None] = self._loop.create_future()
        self._output = b""
        self._open: list[int] = []
        with contextlib.ExitStack() as undo:
            try:
                self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                self._keep(self._reader, undo)
                undo.callback(os.close, writer)
                os.set_blocking(writer, True)
                # pylint: disable-next=ansible-bad-function  # this is no module
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=writer,
                    stderr=writer,
                    cwd="/",
                    env=_ENVIRONMENT,
                    start_new_session=True,
                    **_rights(user),
                )
                undo.callback(self._kill)
                self._ended = os.pidfd_open(self._process.pid)
                self._keep(self._ended, undo)
            except (OSError, subprocess.SubprocessError, LookupError) as e:
                raise CannotProbe(f"{words[0]}: {_said(e)}") from e
            undo.pop_all()
            os.close(writer)
        self._loop.add_reader(self._reader, self._read)
        self._loop.add_reader(self._ended, self._wake)

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> int:
        """Have it ended, with all of its group; returns the exit code, or a signal's, negative."""
        if self._open:
            self._read()
            for fd in self._open:
                self._loop.remove_reader(fd)
                os.close(fd)
            self._open.clear()
            self._kill()
        return self._process.returncode

    def first_line(self) -> str:
        """That it printed; "" if it printed nothing."""
        lines = self._output.decode("utf-8", "backslashreplace").split("\n")
        return next((line.strip() for line in lines if line.strip()), "")

    def _keep(self, fd: int, undo: contextlib.ExitStack) -> None:
        self._open.append(fd)
        undo.callback(os.close, fd)

    def _kill(self) -> None:
        """The leader is not reaped yet, so its number is nobody else's."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self) -> None:
        """Its output, of which only the beginning is kept."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._reader, 1 << 16)
            self._output += data[: _MOST_OUTPUT - len(self._output)]
            if not data:
                self._loop.remove_reader(self._reader)

    def _wake(self) -> None:
        self._loop.remove_reader(self._ended)
        if not self.end.done():
            self.end.set_result(None)


def _words(check: Check, target: Target) -> list[str]:
    values = {"{address}": str(target.backend), "{port}": str(target.port)}
    command = check.command or ()
    return [
        re.sub(r"\{address\}|\{port\}", lambda found: values[found[0]], word) for word in command
    ]


def _rights(user: str | None) -> dict[str, Any]:
    """Raises LookupError if there is no such user."""
    if user is None:
        return {}
    import pwd

    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error.args[0] if error.args else error)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
