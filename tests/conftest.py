# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No test is skipped silently: a skip needs a reason that says why this machine cannot run it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ACCEPTED = "cannot run here: "


def reports(config: pytest.Config, outcome: str) -> list[Any]:
    """What pytest reports at its end as "passed", "failed", "error" or "skipped"."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    return list(reporter.stats.get(outcome, []))


def reason_of(skip: Any) -> str:
    """Why a test, or a whole file, was skipped: its longrepr is (file, line, "Skipped: reason")."""
    return str(skip.longrepr[2]).removeprefix("Skipped: ")


def is_accepted(skip: Any) -> bool:
    """Whether a skip does not count as a failure; where L4LB_NO_SKIPS is set, each does."""
    return reason_of(skip).startswith(ACCEPTED) and not os.environ.get("L4LB_NO_SKIPS")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run with unexplained skips; tell tools/stages how many tests there were."""
    if hasattr(session.config, "workerinput"):
        return  # of several processes, the one that hears of all tests does this
    skipped = reports(session.config, "skipped")
    unexplained = [skip for skip in skipped if not is_accepted(skip)]
    if unexplained and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

    if counts := os.environ.get("L4LB_TEST_COUNTS"):
        passed = len(reports(session.config, "passed"))
        failed = len(reports(session.config, "failed") + reports(session.config, "error"))
        with Path(counts).open("a", encoding="utf-8") as file:
            file.write(f"{passed} {failed} {len(skipped)}\n")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """List the skips, the unexplained ones as failures."""
    for skip in reports(config, "skipped"):
        reason = reason_of(skip)
        if is_accepted(skip):
            terminalreporter.write_line(f"SKIPPED {skip.nodeid}: {reason}", yellow=True)
        else:
            message = f"FAILED {skip.nodeid}: no such skip is accepted: {reason}"
            terminalreporter.write_line(message, red=True)
