# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling in a process of its own: bcc takes more memory than all else together, and what it has
loaded stays as long as the process does. What lasts long never imports it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from .. import errors
from ..errors import CompileError, HostError, L4lbError
from .bpf import Program

_START = (
    "import importlib, json, sys; order = json.load(sys.stdin); sys.path[:] = order['path'];"
    "importlib.import_module(order['module']).serve(order)"
)
_PATIENCE = 300
"""Seconds; a busy host may need some for what takes one."""


def load(text: str, flags: Sequence[str], function: str, kind: str) -> Program:
    """As compiler.load; it takes a second or more.

    Raises HostError or CompileError.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        order = {
            "path": sys.path,
            "module": __name__,
            "socket": theirs.fileno(),
            "arguments": [text, [*flags], function, kind],
        }
        try:
            done = subprocess.run(
                [sys.executable, "-c", _START],
                input=json.dumps(order),
                text=True,
                capture_output=True,
                pass_fds=[theirs.fileno()],
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as e:
            raise HostError(f"compile {function}: {e}") from e
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise HostError(f"compile {function}: {last}")
        said = json.loads(done.stdout)
        if said:
            raise _error(*said)
        _nothing, fds, _flags, _from = socket.recv_fds(ours, 1, 1)
        return Program(fds[0])


def _error(kind: str, message: str, log: str) -> L4lbError:
    """What was raised there."""
    if kind == CompileError.__name__:
        return CompileError(message, log)
    made: L4lbError = getattr(errors, kind, L4lbError)(message)
    return made


def serve(order: dict[str, Any]) -> None:
    """In that process: loads a program, sends its descriptor by a socket, and says on standard
    output what went wrong, if anything did."""
    from . import compiler  # not before it is needed: this is read in the other process, too

    text, flags, function, kind = order["arguments"]
    said: list[str] = []
    with socket.socket(fileno=order["socket"]) as theirs:
        try:
            program = compiler.load(text, flags, function, kind)
            socket.send_fds(theirs, [b"x"], [program.fd])
        except L4lbError as e:
            said = [type(e).__name__, str(e), getattr(e, "log", "")]
    os.write(1, json.dumps(said).encode())
