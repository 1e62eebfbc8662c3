# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
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
