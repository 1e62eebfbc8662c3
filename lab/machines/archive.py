# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's archive, as machines see it: what they ask for, this machine's apt fetches.

    archive.py URL DIRECTORY    answer one HTTP connection, which is standard input and output

So machines get packages whatever way leads to the archive from here, and each only once: what never
changes is kept in the directory. QEMU starts this for each connection to an address of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO

FETCH = ["/usr/lib/apt/apt-helper", "-o", "APT::Sandbox::User=root", "download-file"]
NAME = re.compile(r"/(dists|pool)(/[A-Za-z0-9][A-Za-z0-9.+~_:%-]*)+")
LASTING = re.compile(r"/pool/|/by-hash/")


class Connection(BaseHTTPRequestHandler):
    """Requests, one after the other, until the other side has no more."""

    protocol_version = "HTTP/1.1"
    archive = ""
    directory = Path()

    def setup(self) -> None:
        """The connection is not a socket here."""
        self.rfile: IO[bytes] = sys.stdin.buffer  # type: ignore[assignment]
        self.wfile: IO[bytes] = sys.stdout.buffer  # type: ignore[assignment]

    def finish(self) -> None:
        """Nothing is left to be sent."""
        self.wfile.flush()

    def log_message(self, *words: object) -> None:
        """Nobody would read it."""

    def do_GET(self) -> None:
        """The name is of the base class."""
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            found = self._find(Path(scratch, "file"))
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(found.stat().st_size if found else 0))
            self.end_headers()
            if found:
                with found.open("rb") as content:
                    shutil.copyfileobj(content, self.wfile)
        self.wfile.flush()

    def _find(self, scratch: Path) -> Path | None:
        """The file that is asked for, from here or there."""
        if not NAME.fullmatch(self.path):
            return None
        kept = self.directory / self.path[1:]
        if kept.exists():
            return kept
        command = [*FETCH, self.archive + self.path, str(scratch)]
        nothing = subprocess.DEVNULL
        if subprocess.run(command, check=False, stdin=nothing, stdout=nothing).returncode:
            return None
        if not LASTING.search(self.path):
            return scratch
        kept.parent.mkdir(parents=True, exist_ok=True)
        return scratch.rename(kept)


if __name__ == "__main__":
    Connection.archive, Connection.directory = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    Connection(None, ("machine", 0), None)  # type: ignore[arg-type]
