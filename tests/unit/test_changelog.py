# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changelog tells users what changes for them from one release to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
CHANGES = CHECKOUT / "changelogs"
FRAGMENTS = sorted((CHANGES / "fragments").glob("*.yml"))
OF_A_FIRST_RELEASE = {
    "release_summary",
    "major_changes",
    "minor_changes",
    "known_issues",
    "trivial",
}
"""It can break, remove and mend nothing, for nobody has an earlier one."""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_nothing_is_mended_that_was_never_released() -> None:
    if not read(CHANGES / "changelog.yaml")["releases"]:
        sections = {(path.name, section) for path in FRAGMENTS for section in read(path)}
        assert {(name, one) for name, one in sections if one not in OF_A_FIRST_RELEASE} == set()
