# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a command of this machine."""

from __future__ import annotations

import subprocess
from typing import Any

from lab.topology import LabError


def call(
    command: list[str], *, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command and wait. What it wrote is in the error if it fails."""
    settings = {"text": True, "capture_output": True, "umask": 0o022, **options}
    if "input" not in settings:
        settings.setdefault("stdin", subprocess.DEVNULL)
    try:
        return subprocess.run(command, check=check, **settings)
    except FileNotFoundError as e:
        raise LabError(f"{e.filename} is not installed") from e
    except subprocess.CalledProcessError as e:
        output = f"{e.stdout or ''}{e.stderr or ''}".strip()
        raise LabError(f"{' '.join(command)}: exit code {e.returncode}\n{output}") from e
