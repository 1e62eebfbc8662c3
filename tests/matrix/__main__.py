# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command; the package says what it does. Its exit code is 1 if a cell failed that counts."""

from __future__ import annotations

import concurrent.futures
import datetime
import json
import platform
import sys
import time
from typing import Any

from lab import LabError
from lab.topology import ROOTS
from tests.fleet.rig.labs import laboratory, plan
from tests.matrix import BUILD, archive, controllers, steps, table, versions
from tests.matrix.controllers import Controller
from tests.matrix.versions import Cell

AT_ONCE = 2
"""Cells, most of whose time is a controller's on one core."""


def main() -> int:
    """Run cells; all of them, and README.md has the outcome."""
    began = time.monotonic()
    words = sys.argv[1:]
    cells = [cell for cell in versions.cells() if all(word in str(cell) for word in words)]
    if not cells:
        say(f"there is no cell {' '.join(words)}")
        return 2
    archive.forget_lists()
    ready = with_controllers(cells)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(run, range(len(ready)), ready, ready.values()))
    say(f"{len(found)} of {len(cells)} cells in {time.monotonic() - began:.0f} s")
    record = {"date": today(), "kernel": kernel(), "steps": list(steps.STEPS), "cells": found}
    write(record, not words)
    return int(any(one["failed"] and not one["advisory"] for one in found))


def with_controllers(cells: list[Cell]) -> dict[Cell, Controller]:
    """Those that can run here, with the collection installed."""
    built = controllers.build_archive()
    made = {}
    for core, python in dict.fromkeys((cell.core, cell.python) for cell in cells):
        if controller := controllers.make(core, python):
            controller.install(built)
            made[core, python] = controller
        else:
            say(f"there is no Python {python} here for ansible-core {core}")
    there = [cell for cell in cells if (cell.core, cell.python) in made]
    return {cell: made[cell.core, cell.python] for cell in there}


def run(number: int, cell: Cell, controller: Controller) -> dict[str, Any]:
    """What becomes of a cell, as it is recorded."""
    began = time.monotonic()
    log = BUILD / f"{cell.core}-{cell.python}-{cell.userland}.log"
    log.unlink(missing_ok=True)
    record: dict[str, Any] = {
        "core": cell.core,
        "userland": cell.userland,
        "advisory": cell.advisory,
        "failed": "",
        "target": {},
        "deprecations": [],
        **controller.versions(),
    }
    try:
        with laboratory(chr(ord("a") + number), topology(cell)) as lab:
            record["target"] = steps.versions(lab)
            going = steps.Run(lab, controller, log)
            with archive.served(lab.host("router"), lab.host("lb2"), ROOTS[cell.userland]):
                record["failed"] = first_failure(going, cell.advisory)
            record["deprecations"] = going.deprecations
    except Exception as e:  # whatever it is, the other cells go on
        record["failed"] = "laboratory"
        say(f"{cell}: {e!r}")
    record["seconds"] = round(time.monotonic() - began)
    say(f"{cell}: {table.outcome(record)}; {record['seconds']} s")
    return record


def topology(cell: Cell) -> dict[str, Any]:
    """The laboratory, with balancers of this userland; nothing is installed yet on lb2."""
    found = plan()
    found["hosts"]["lb1"]["root"] = cell.userland
    found["hosts"]["lb2"]["root"] = f"{cell.userland}-bare"
    return found


def first_failure(going: steps.Run, advisory: bool) -> str:
    """The first step that fails, if one does; the others need what it does."""
    try:
        for name, step in steps.STEPS.items():
            began = time.monotonic()
            step(going)
            going.note(f"{name}: {time.monotonic() - began:.0f} s")
    except (steps.StepError, LabError) as e:
        say(f"{name}: {e}; {going.log} has all")
        return name
    return "deprecations" if going.deprecations and not advisory else ""


def write(record: dict[str, Any], whole: bool) -> None:
    """What ran; if it was all, where the table is, too."""
    text = json.dumps(record, indent=1) + "\n"
    (BUILD.parent / "matrix.json").write_text(text, encoding="utf-8")
    print(table.table(record))
    if whole:
        table.RECORD.write_text(text, encoding="utf-8")
        page = table.README.read_text(encoding="utf-8")
        table.README.write_text(table.fill(page, record), encoding="utf-8")


def today() -> str:
    """The date, as ISO 8601 has it."""
    return datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()


def kernel() -> str:
    """Major and minor version of this machine's."""
    return ".".join(platform.release().split(".")[:2])


def say(text: str) -> None:
    """To who watches."""
    print(f"matrix: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
