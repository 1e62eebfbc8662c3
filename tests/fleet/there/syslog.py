# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A system log: prints what comes, a message a line. A script."""

from __future__ import annotations

import socket


def main() -> None:
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind("/dev/log")
    while True:
        print(ascii(log.recv(1 << 20)), flush=True)


if __name__ == "__main__":
    main()
