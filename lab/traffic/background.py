# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on in threads for as long as a block lasts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import socket

Self = TypeVar("Self", bound="Background")


class Background:
    """Calls `run` in threads; it goes on until `stopping` is set, and sockets are closed then."""

    def __init__(self, threads: int = 1) -> None:
        self.stopping = threading.Event()
        self.sockets: list[socket.socket] = []
        self.threads = [threading.Thread(target=self.run) for _each in range(threads)]

    def run(self) -> None:
        """Until `stopping` is set."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        for each in self.sockets:
            each.close()
