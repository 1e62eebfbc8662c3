# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in a process of its own, for what lasts long: it neither waits for that nor keeps the memory
that it takes. Above all for compiling, as bcc takes more than all else together, and what it has
loaded stays as long as the process does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .. import errors
from ..errors import CompileError, ConfigError, HostError, L4lbError
from .bpf import Program

_START = (
    "import importlib, json, sys; order = json.load(sys.stdin); sys.path[:] = order['path'];"
    "importlib.import_module(order['module']).serve(order)"
)
_PATIENCE = 300
"""Seconds; a busy host may need some for what takes one."""
_MOST_DESCRIPTORS = 8


def ask(module: str, arguments: Sequence[Any], action: str, fds: Sequence[int] = ()) -> Any:
    """Have `serve` of a module of the library called in another process; returns what `answer`
    there has found.

    arguments: what JSON can say; order["arguments"] there. action: in words. fds: open there, too.

    Raises HostError, or what was raised there.
    """
    order = {"path": sys.path, "module": module, "arguments": [*arguments]}
    try:
        # pylint: disable-next=ansible-bad-function  # the library is used without modules, too
        done = subprocess.run(
            [sys.executable, "-c", _START],
            input=json.dumps(order),
            text=True,
            capture_output=True,
            pass_fds=fds,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as e:
        raise HostError(f"{action}: {e}") from e
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise HostError(f"{action}: {last}")
    said = json.loads(done.stdout)
    if said["error"]:
        raise _error(*said["error"])
    return said["found"]


def answer(work: Callable[[], Any]) -> None:
    """In that process: do it, and say on standard output what came of it."""
    error, found = None, None
    try:
        found = work()
    except L4lbError as e:
        error = [type(e).__name__, str(e), getattr(e, "log", "")]
    os.write(1, json.dumps({"found": found, "error": error}).encode())


def _error(kind: str, message: str, log: str) -> L4lbError:
    """What was raised there."""
    if kind == CompileError.__name__:
        return CompileError(message, log)
    if kind == ConfigError.__name__:  # whose message has its parts in it
        return L4lbError(message)
    made: L4lbError = getattr(errors, kind, L4lbError)(message)
    return made


def descriptors(
    module: str, arguments: Sequence[Any], action: str, fds: Sequence[int] = ()
) -> list[int]:
    """The same for what `give` there has to give: descriptors, which are the caller's to close."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        ask(module, [*arguments, number], action, [number, *fds])
        _nothing, found, _flags, _from = socket.recv_fds(ours, 1, _MOST_DESCRIPTORS)
        return found


def give(order: dict[str, Any], work: Callable[..., AbstractContextManager[list[int]]]) -> None:
    """In that process: do it, and send descriptors, which are open for as long as it lasts."""
    *arguments, number = order["arguments"]

    def sent() -> None:
        with socket.socket(fileno=number) as theirs, work(*arguments) as found:
            socket.send_fds(theirs, [b"x"], found)

    answer(sent)


# Compiling


def load(text: str, flags: Sequence[str], function: str, kind: str) -> Program:
    """As compiler.load; it takes a second or more.

    Raises HostError or CompileError.
    """
    arguments = [text, [*flags], function, kind]
    (fd,) = descriptors(__name__, arguments, f"compile {function}")
    return Program(fd)


def serve(order: dict[str, Any]) -> None:
    """In that process: loads a program, and sends its descriptor."""
    give(order, _loaded)


@contextmanager
def _loaded(*arguments: Any) -> Iterator[list[int]]:
    from . import compiler  # not before it is needed: this is read in the other process, too

    program = compiler.load(*arguments)
    yield [program.fd]
