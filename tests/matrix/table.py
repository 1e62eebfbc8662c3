# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of README.md, between `<!-- matrix -->` and `<!-- end -->`, from a record."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.matrix import ROOT

README = ROOT / "README.md"
RECORD = Path(__file__).with_name("record.json")
"""Of the last run of everything."""
MARKED = re.compile(r"(<!-- matrix -->\n).*?(?=<!-- end -->)", re.DOTALL)

PACKAGES = {"Python": "python3", "bcc": "python3-bpfcc", "pyroute2": "python3-pyroute2"}


def read(path: Path = RECORD) -> dict[str, Any]:
    """A record: date, kernel, and what became of each cell that ran."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def fill(page: str, record: Mapping[str, Any]) -> str:
    """The page with the table of this record."""
    return MARKED.sub(lambda found: f"{found[1]}{table(record)}", page)


def table(record: Mapping[str, Any]) -> str:
    """A row per controller and a column per userland, of those that ran; then what it means."""
    cells = record["cells"]
    ran = {(one["core"], one["python"], one["userland"]): one for one in cells}
    userlands = sorted({one["userland"] for one in cells})
    rows = [["ansible-core", "Python", *(heading(name, cells) for name in userlands)]]
    rows.append(["---"] * len(rows[0]))
    for core, python in dict.fromkeys((one["core"], one["python"]) for one in cells):
        outcomes = [outcome(ran.get((core, python, name))) for name in userlands]
        rows.append([core, python, *outcomes])
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", caption(record), ""])


def heading(userland: str, cells: Iterable[Mapping[str, Any]]) -> str:
    """A userland, with the versions that ran there."""
    there: Mapping[str, str] = next(
        (one["target"] for one in cells if one["userland"] == userland), {}
    )
    own = [f"{what} {there[package]}" for what, package in PACKAGES.items() if package in there]
    name, release = userland.split("-")
    return f"{name.capitalize()} {there.get('debian', release)}: {', '.join(own)}".rstrip(": ")


def outcome(cell: Mapping[str, Any] | None) -> str:
    """What became of it, in a word or two."""
    if not cell:
        return "did not run"
    words = f"failed: {cell['failed']}" if cell["failed"] else "passed"
    if cell["deprecations"] and not cell["failed"]:
        words += ", with deprecation warnings"
    return f"{words} (advisory)" if cell["advisory"] else words


def caption(record: Mapping[str, Any]) -> str:
    """When, on what kernel, which steps, and what was warned of."""
    day = datetime.date.fromisoformat(record["date"])
    ran = f"Last run on {day.day} {day:%B %Y}, on Linux {record['kernel']}."
    of = f"A cell is, in this order: {', '.join(record['steps'])}."
    warned = [f"{one['core']}: {text}" for one in record["cells"] for text in one["deprecations"]]
    return " ".join(
        [ran, of, *(f"Warning of ansible-core {text}" for text in dict.fromkeys(warned))]
    )
