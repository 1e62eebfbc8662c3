# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enters a sandbox above other files than the machine's, and tells what is there. A script."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from tests.bench import sandbox


def main(lower: str) -> None:
    """lower: what /etc is made of."""
    sandbox.MOUNTS = sandbox.MOUNTS.replace("lowerdir=/etc", f"lowerdir={lower}")
    sandbox.enter()
    print(Path("/etc/l4lb").exists())

    sandbox.ip("link add eth0 type veth peer name far")
    sandbox.ip("link set eth0 up")
    threading.Timer(0.2, sandbox.ip, ["link set far up"]).start()
    sandbox.await_carrier("eth0")
    shown = subprocess.check_output(["ip", "-json", "link", "show", "eth0"])
    print(json.loads(shown)[0]["operstate"])


if __name__ == "__main__":
    main(sys.argv[1])
