# SPDX-License-Identifier: GPL-3.0-or-later
"""Where benchmark and random walks are alone: nothing of the machine's is in it, nor half done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

INSIDE = """
import pathlib, subprocess, sys, threading
from tests.bench import sandbox

sandbox.MOUNTS = sandbox.MOUNTS.replace("lowerdir=/etc", "lowerdir=" + sys.argv[1])
sandbox.enter()
print(pathlib.Path("/etc/l4lb").exists())

sandbox.ip("link add eth0 type veth peer name far")
sandbox.ip("link set eth0 up")
threading.Timer(0.2, sandbox.ip, ["link set far up"]).start()
sandbox.await_carrier("eth0")
print(subprocess.check_output(["ip", "-br", "link", "show", "eth0"], text=True).split()[1])
"""


def test_a_virgin_place_where_links_are_up(tmp_path: Path) -> None:
    stray = tmp_path / "l4lb/eth0.json"
    stray.parent.mkdir()
    stray.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, f"{tmp_path}:/etc"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["False", "UP"], done.stderr
    assert stray.exists()
