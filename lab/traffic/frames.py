# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames that a host sends, counted."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lab.host import Host

BUFFER = 64 << 20
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33


class Frames:
    """What a host sends to some addresses; packets without IP options or extension headers."""

    def __init__(self, host: Host, interface: str, addresses: Iterable[str]) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self._packed = {_packed(address) for address in addresses}
        self._seen: dict[tuple[bytes, int], tuple[int, int]] = {}

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def count(self, address: str, port: int) -> tuple[int, int]:
        """Frames and their bytes to a TCP or UDP port so far."""
        for frame in self._sent():
            start, end = (38, 54) if frame[12:14] == b"\x86\xdd" else (30, 34)
            if frame[start:end] in self._packed:
                # After the addresses comes the transport header: source port, destination port.
                key = frame[start:end], int.from_bytes(frame[end + 2 : end + 4], "big")
                packets, octets = self._seen.get(key, (0, 0))
                self._seen[key] = packets + 1, octets + len(frame)
        return self._seen.get((_packed(address), port), (0, 0))

    def _sent(self) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, origin = self._socket.recvfrom(2048)
                if origin[2] == socket.PACKET_OUTGOING:
                    yield frame


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed
