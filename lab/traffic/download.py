# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A download that takes long."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from lab.host import ENVIRONMENT
from lab.topology import LabError

if TYPE_CHECKING:
    from lab.host import Host


# Options that have curl give up when nothing moves, however long the whole of it takes.
STALLED = ("--speed-limit", "1", "--speed-time", "10")


class Download:
    """A running download with curl; `server` is who serves it."""

    def __init__(self, host: Host, url: str, rate: str = "1G") -> None:
        command = ["curl", "-sS", *STALLED, "--limit-rate", rate, "-D/dev/stderr", url]
        digest = host.inside("sh", "-c", '"$@" | sha256sum', "sh", *command)
        self.process = subprocess.Popen(
            digest,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.server = ""
        headers = self.process.stderr
        while headers and (line := headers.readline()).strip():
            name, _colon, value = line.partition(":")
            if name.lower() == "x-server":
                self.server = value.strip()

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.process.poll() is None

    def digest(self) -> str:
        """Wait for the end; the SHA-256 of what came."""
        output, errors = self.process.communicate()
        if errors:
            raise LabError(f"download from {self.server}: {errors.strip()}")
        return output.split()[0]
