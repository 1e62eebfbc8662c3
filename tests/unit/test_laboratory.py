# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Laboratories of several test runs, which share a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lab


def test_the_last_other_one_goes_at_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the directory of all away, which another one has just found, or made."""
    labs, mkdir = tmp_path / "labs", Path.mkdir
    gone: list[Path] = []

    def made_in_vain(path: Path, *arguments: Any, **options: Any) -> None:
        if path.parent == labs and len(gone) < 2 and labs.exists():
            labs.rmdir()
            gone.append(path)
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(lab, "LABS", labs)
    monkeypatch.setattr(lab, "call", lambda *_arguments: None)
    monkeypatch.setattr(Path, "mkdir", made_in_vain)
    labs.mkdir()
    one = lab.Lab("one")
    one._mount()
    assert one.directory.is_dir()
    assert len(gone) == 2
