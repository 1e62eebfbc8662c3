#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A UDP service: sends back what it gets, with its host's name and a space before it.

    echo.py PORT ADDRESS...

It asks for each address by itself, as answers must come from the one that was asked.
"""

from __future__ import annotations

import selectors
import socket
import sys


def main() -> None:
    name = socket.gethostname().encode() + b" "
    waiting = selectors.DefaultSelector()
    for address in sys.argv[2:]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((address, int(sys.argv[1])))
        waiting.register(server, selectors.EVENT_READ, server)
    while True:
        for key, _ in waiting.select():
            asked, client = key.data.recvfrom(65535)
            key.data.sendto(name + asked, client)


if __name__ == "__main__":
    main()
