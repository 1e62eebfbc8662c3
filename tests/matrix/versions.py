# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What versions.yml names, with the releases that are pinned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.matrix import ROOT

PLANNED = Path(__file__).with_name("versions.yml")
PINS = ("requirements.txt", "tools/requirements/core-*.txt")


@dataclass(frozen=True)
class Cell:
    """What is run at once, and told apart in the table."""

    core: str
    """Release of ansible-core."""
    python: str
    """Of the controller, major and minor."""
    userland: str
    """Of the balancers: one of those in lab/roots.py."""
    advisory: bool = False

    def __str__(self) -> str:
        return f"ansible-core {self.core}, Python {self.python}, {self.userland}"


def cells() -> list[Cell]:
    """All of them, those of a controller together."""
    found = yaml.safe_load(PLANNED.read_text(encoding="utf-8"))
    releases = pinned()
    return [
        Cell(releases[one["core"]], python, userland, one.get("advisory", False))
        for one in found["controllers"]
        for python in one["pythons"]
        for userland in found["userlands"]
    ]


def pinned() -> dict[str, str]:
    """The release of ansible-core for each series, as 2.21.5 for 2.21."""
    files = [path for pattern in PINS for path in sorted(ROOT.glob(pattern))]
    texts = [path.read_text(encoding="utf-8") for path in files]
    return {
        found[2]: found[1]
        for text in texts
        for found in re.finditer(r"^ansible-core==((\d+\.\d+)\.\S+)", text, re.MULTILINE)
    }
