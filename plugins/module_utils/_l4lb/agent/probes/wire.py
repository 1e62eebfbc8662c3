# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A socket to a backend, on which every wait has an end, and so has what comes by it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from types import TracebackType
from typing import Any, Callable

from .answer import CannotProbe, Target, TimedOut, Unhealthy
from .pace import Pace

TAG = 0x4C340000
"""With the index of a record in its lower half, a packet's priority that the tunnel knows."""
_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: FIN would leave TIME_WAIT, and there are too few ports for that."""
_MOST_BYTES, _LEAST_BYTES = 1 << 18, 64
"""That a backend may send in one probe; and that anything counts for, so that empty packets come to
an end, too."""
_LEAST_MSS, _MOST_MSS = 88, 32767


class Wire:
    """A socket that does not block; all of its coroutines raise Unhealthy or CannotProbe."""

    def __init__(self, kind: socket.SocketKind, target: Target, timeout: float, pace: Pace) -> None:
        self.timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._pace, self._lost = pace, pace.lost
        self._room = _MOST_BYTES
        self._waiting: asyncio.Future[None] | None = None
        self._peer = str(target.address), target.port
        try:
            self._socket = _opened(kind, target)
        except OSError as e:
            raise CannotProbe(_words(e)) from e
        self._fd = self._socket.fileno()
        self._timer = self._loop.call_later(timeout, self._expire)
        self._expired = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._socket.close()

    def do_not_acknowledge(self) -> None:
        """Have the connection reset before it is complete, so that the server does not see it."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)

    async def connect(self) -> None:
        """What fails at once is not the backend's doing, unless that is on this host."""
        try:
            self._socket.connect(self._peer)
        except BlockingIOError:
            await self._until(self._loop.add_writer, self._loop.remove_writer)
        except ConnectionRefusedError as e:
            raise Unhealthy(_words(e)) from e
        except OSError as e:
            raise CannotProbe(_no_way(e, self._peer[0])) from e
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise Unhealthy(_words(OSError(code, os.strerror(code))))

    async def send(self, data: bytes) -> None:
        """All of it; of UDP in one packet."""
        while True:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                await self._until(self._loop.add_writer, self._loop.remove_writer)
                continue
            except ConnectionError as e:
                raise Unhealthy(_words(e)) from e
            except OSError as e:
                raise CannotProbe(_words(e)) from e
            if not data:
                return

    async def receive(self, most: int = 1 << 14) -> bytes:
        """What has come; of TCP b"" if no more will."""
        while True:
            try:
                data = self._socket.recv(most)
            except BlockingIOError:
                await self._until(self._loop.add_reader, self._loop.remove_reader)
                continue
            except OSError as e:
                raise Unhealthy(_words(e)) from e
            self._room -= max(len(data), _LEAST_BYTES)
            if self._room < 0:
                raise Unhealthy("the answer is too long", answered=True)
            return data

    async def _until(self, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        """It can be written to, or read from."""
        if self._expired:
            raise self._timed_out()
        self._waiting = future = self._loop.create_future()
        add(self._fd, _wake, future)
        try:
            await future
        finally:
            remove(self._fd)
            self._waiting = None

    def _expire(self) -> None:
        self._expired = True
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(self._timed_out())

    def _timed_out(self) -> Exception:
        return timed_out(self.timeout, self._pace.lost - self._lost, self._timer.when())


def timed_out(timeout: float, lost: float, due: float) -> Exception:
    """The fault of the backend, unless this process was late by more than half the time."""
    late = max(lost, asyncio.get_running_loop().time() - due)
    if late > timeout / 2:
        return CannotProbe(f"this host was late by {late:.1f} s")
    return TimedOut(f"timeout after {timeout:g} s")


def _opened(kind: socket.SocketKind, target: Target) -> socket.socket:
    family = socket.AF_INET if target.address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if target.index is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TAG | target.index)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            if target.mss:
                mss = max(_LEAST_MSS, min(target.mss, _MOST_MSS))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
    except OSError:
        sock.close()
        raise
    return sock


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _words(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _no_way(error: OSError, address: str) -> str:
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES):
        return f"no route to {address}"
    return _words(error)
