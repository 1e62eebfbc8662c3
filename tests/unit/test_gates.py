# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""tools/gates: each gate is listed, runs whatever the others said, and has a line at the end."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
LIST = re.compile(r"(?<=<<'END'\n).*?(?=^END$)", re.MULTILINE | re.DOTALL)
ENDINGS = {"clean": 0, "fails": 1, "is-not-here": 77, "clean-2.22": 0, "fails-2.22": 1}
"""Gate -> its exit code."""


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """tools/gates with these."""
    tools = tmp_path / "tools"
    tools.mkdir()
    lines = "".join(f"{name}  ends {code}\n" for name, code in ENDINGS.items())
    made = {"ends": '#!/bin/sh\nexit "$1"\n'}
    made["gates"] = LIST.sub(lines, (TOOLS / "gates").read_text(), count=1)
    for name, text in made.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return tools / "gates"


def end_of(gates: Path, *patterns: str) -> tuple[int, list[str]]:
    """The exit code, and the last lines without seconds."""
    done = subprocess.run([gates, *patterns], capture_output=True, text=True, check=False)
    summary = done.stdout.rpartition("\n\n")[2].splitlines()
    return done.returncode, [re.sub(r" +\d+ s$", "", line) for line in summary[:-1]]


def test_all_run_and_one_that_fails_is_a_failure(gates: Path) -> None:
    code, lines = end_of(gates)
    assert code == 1
    assert lines == [
        "clean                  clean",
        "fails                  FAILED",
        "is-not-here            absent",
        "clean-2.22             clean",
        "fails-2.22             advisory",
        "gates: 2 clean, 1 FAILED, 1 advisory failed, 1 cannot run here",
    ]


def test_those_that_match(gates: Path) -> None:
    assert end_of(gates, "is-*", "*-2.22")[0] == 0
    assert end_of(gates, "fails")[0] == 1
    assert end_of(gates, "nothing")[0] == 2


def test_every_gate_is_listed() -> None:
    found = LIST.search((TOOLS / "gates").read_text())
    assert found
    commands = {line.split()[1] for line in found[0].splitlines()}
    assert {f"gate/{path.name}" for path in (TOOLS / "gate").iterdir()} <= commands
    assert all((TOOLS / command).is_file() for command in commands)
