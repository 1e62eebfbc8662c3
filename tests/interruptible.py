# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Children that SIGINT ends, also where the tests themselves ignore it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a command that SIGINT ends; options as of subprocess.Popen.

    A background job of a script ignores SIGINT, and so does all that it starts. If the test fails,
    the child is killed: whoever leaves waits for it.
    """
    with subprocess.Popen(["env", "--default-signal=INT", *command], **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
