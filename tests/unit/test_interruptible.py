# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests end wherever they are started: as a background job too, and when one of them hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomllib

from tests.interruptible import interruptible

CHECKOUT = Path(__file__).resolve().parents[2]
SLEEP = ["sleep", "600"]

HANGING = """
import threading, time

def wait_for_ever():
    threading.Event().wait()

def test_that_hangs():
    threading.Thread(target=wait_for_ever, daemon=True).start()
    threading.Event().wait()

def test_that_follows():
    pass
"""


@pytest.fixture
def _background_job() -> Iterator[None]:
    """Ignore SIGINT, as the shell has background jobs of a script do."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_background_job")
def test_a_child_takes_sigint_where_the_tests_ignore_it() -> None:
    with interruptible(SLEEP) as child:
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
    assert child.returncode == -signal.SIGINT


def test_a_failed_test_does_not_wait_for_its_child() -> None:
    with pytest.raises(AssertionError), interruptible(SLEEP) as child:
        raise AssertionError
    assert child.returncode == -signal.SIGKILL


def test_a_hanging_test_fails_with_all_stacks(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    others = [f"cache_dir={tmp_path}/cache", "pythonpath=", "addopts=", "timeout=0.5"]
    options = [word for other in others for word in ("-o", other)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(CHECKOUT / "pyproject.toml"),
            *options,
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTEST_PLUGINS": ""},  # ansible-test's read nothing but collections
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "in wait_for_ever" in done.stdout, "the other thread's stack"
    assert "def test_that_hangs" in done.stdout, "its own"


def test_every_test_has_a_limit() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert settings["tool"]["pytest"]["ini_options"]["timeout"] > 0
