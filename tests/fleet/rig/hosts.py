# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders to hosts of a laboratory: functions of tests/fleet/there are called on them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import Lab
from lab.host import CHECKOUT, ENVIRONMENT, Host

_workers: dict[Path, subprocess.Popen[str]] = {}
"""By the directory of the host."""


def python(host: Host, function: Callable[..., Any], **given: Any) -> Any:
    """Call a function of tests/fleet/there on a host, in a process of its own; what it returns.

    given: its arguments, which are JSON, as is the answer.
    """
    _say(host, [function.__module__, function.__name__, given])
    return _answer(host)


def go_on(host: Host) -> Any:
    """Have a function go on that pauses; what it returns."""
    _say(host, None)
    return _answer(host)


def dismiss(lab: Lab) -> None:
    """End what runs for `python` on the hosts of a laboratory."""
    for directory in [one for one in _workers if one.parent == lab.directory]:
        _workers.pop(directory).communicate("")


def _worker(host: Host) -> subprocess.Popen[str]:
    worker = _workers.get(host.directory)
    if worker is None:
        # The interpreter that Debian's bcc belongs to, whichever this one is.
        library = f"PYTHONPATH={CHECKOUT}:{CHECKOUT}/.ansible/collections"
        worker = _workers[host.directory] = subprocess.Popen(
            host.inside("env", library, "/usr/bin/python3", "-m", "tests.fleet.there.worker"),
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    return worker


def _say(host: Host, line: Any) -> None:
    stdin = _worker(host).stdin
    assert stdin
    print(json.dumps(line), file=stdin, flush=True)


def _answer(host: Host) -> Any:
    stdout = _worker(host).stdout
    assert stdout
    answer = json.loads(stdout.readline())
    assert "error" not in answer, answer["error"]
    return answer["result"]
