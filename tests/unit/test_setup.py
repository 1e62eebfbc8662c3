# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""tools/setup prepares its own checkout and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_what_a_link_points_to_is_left_alone(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    (mine / "tools").mkdir(parents=True)
    shutil.copy(CHECKOUT / "tools/setup", mine / "tools")
    (mine / "requirements.txt").touch()
    theirs.mkdir()
    (theirs / "contents").write_text("of another checkout")
    (mine / ".venv").symlink_to(theirs)
    done = subprocess.run(
        [mine / "tools/setup", "python"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"setup: leaving {theirs} alone, which .venv was a link to\n" in done.stdout
    assert [path.name for path in theirs.iterdir()] == ["contents"]
    assert not (mine / ".venv").is_symlink()
    assert (mine / ".venv/bin/python").exists()
