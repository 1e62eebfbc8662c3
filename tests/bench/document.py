# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the results of a benchmark into docs/performance.md: python -m tests.bench.document [FILE],
by default of build/bench.json. They stand between `<!-- bench: NAME -->` and `<!-- end -->`, where
NAME is one of `report.tables`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import ROOT, report

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "build" / "bench.json"
MARKED = re.compile(r"(<!-- bench: ([\w ]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def main() -> int:
    """The command."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"{path} is missing; make bench writes it", file=sys.stderr)
        return 1
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    return 0


def fill(page: str, results: Mapping[str, Any]) -> str:
    """The page with these results. Raises KeyError if it wants a table that there is not."""
    tables = report.tables(results)
    return MARKED.sub(lambda found: f"{found[1]}{tables[found[2]]}\n", page)


if __name__ == "__main__":
    sys.exit(main())
