# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where benchmark and random walks are alone: nothing of the machine's is in it, nor half done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab.host import CHECKOUT


def test_a_virgin_place_where_links_are_up(tmp_path: Path) -> None:
    stray = tmp_path / "l4lb/eth0.json"
    stray.parent.mkdir()
    stray.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fleet.there.sandboxed", f"{tmp_path}:/etc"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["False", "UP"], done.stderr
    assert stray.exists()
