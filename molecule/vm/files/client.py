# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make HTTP requests, each on a connection of its own, and tell what failed.

    client.py REQUESTS ADDRESS PORT [ADDRESS PORT ...]    so many to each
    client.py until FILE ADDRESS PORT [...]               round and round, until the file is there

Prints JSON: how many were answered, and what became of the others.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 20.0  # seconds for one request


def request(address: str, port: int) -> str:
    """What is wrong with the answer to a request; empty if nothing is."""
    try:
        with socket.create_connection((address, port), timeout=PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
    except OSError as e:
        return f"{address} {port}: {e}"
    expected = answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(f"{address}\n".encode())
    return "" if expected else f"{address} {port}: {answer!r}"


def rounds(order: list[str]) -> Iterator[None]:
    """As many as are wanted."""
    if order[0] != "until":
        yield from [None] * int(order[0])
        return
    while not Path(order[1]).exists():
        yield
        time.sleep(0.02)


def main() -> None:
    order, targets = (sys.argv[1:3], sys.argv[3:])
    if order[0] != "until":
        order, targets = order[:1], order[1:] + targets
    answered, failures = 0, []
    for _round in rounds(order):
        for address, port in zip(targets[::2], targets[1::2]):
            if problem := request(address, int(port)):
                failures.append(problem)
            else:
                answered += 1
    print(json.dumps({"answered": answered, "failures": failures}))


if __name__ == "__main__":
    main()
