# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's archive, in a laboratory that has no way out: each file is fetched when it is
first asked for, as this machine's apt would, and kept."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

from lab import roots
from lab.host import Host
from tests.matrix import BUILD

PORT = 3142
FILES = BUILD / "archive"
SOURCES = 'rm -f /etc/apt/sources.list.d/*; echo "$1" >/etc/apt/sources.list'
HELPER = ["/usr/lib/apt/apt-helper", "-o", "APT::Sandbox::User=root", "download-file"]

_fetching = threading.Lock()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers what apt asks for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(FILES))

    def send_head(self) -> Any:
        """Fetch it first; what cannot be had is not found."""
        fetch(self.path.lstrip("/"))
        return super().send_head()

    def log_message(self, *what: Any) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingTCPServer):
    """Listens in a host."""

    daemon_threads = True

    def __init__(self, host: Host) -> None:
        super().__init__(("0.0.0.0", PORT), Handler, bind_and_activate=False)  # noqa: S104
        self.socket.close()
        self.socket = host.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.server_bind()
        self.server_activate()


@contextlib.contextmanager
def served(host: Host, user: Host, suite: str) -> Iterator[None]:
    """Have a host serve the archive, and another one get its packages from it."""
    source = f"deb http://{host.address}:{PORT}/ {suite} main"
    user.run(["sh", "-ec", SOURCES, "sh", source])
    with Server(host) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def fetch(path: str) -> None:
    """Get a file of the archive by its path in a URL, unless it is here or there is none."""
    file = FILES / urllib.parse.unquote(path)
    with _fetching:
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        done = subprocess.run(
            [*HELPER, f"{roots.archive()}{path}", str(part)], capture_output=True, check=False
        )
        if done.returncode == 0:
            part.rename(file)


def forget_lists() -> None:
    """Have what changes in the archive, its lists of packages, fetched again; packages never do."""
    subprocess.run(["rm", "-rf", str(FILES / "dists")], check=True)
