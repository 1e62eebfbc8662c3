# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of interfaces and of what they share, and what a run notes in its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import BusyError, HostError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import lock
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(run=tmp_path / "run/l4lb")


def test_one_at_a_time(paths: Paths) -> None:
    told = f"has been held for 0 seconds by process {os.getpid()}; another run is busy or stuck"
    with lock.of_interface("eth0", paths) as held:
        assert held.waited < 60
        with lock.of_interface("eth1", paths), lock.of_host(paths):
            for another in (
                lock.of_interface("eth0", paths, patience=0),
                lock.of_host(paths, patience=0),
            ):
                with pytest.raises(BusyError, match=told), another:
                    pass
        with lock.of_host(paths, patience=0):
            pass
    assert not paths.run.exists()


def test_a_note_lasts_as_long_as_the_lock(paths: Paths) -> None:
    with lock.of_interface("eth0", paths) as first:
        assert lock.notes(paths) == {"eth0": b""}
        first.note(b"something long")
        first.note(b"something")
        with lock.of_interface("veth.100", paths) as second:
            second.note(b"else")
            assert lock.notes(paths) == {"eth0": b"something", "veth.100": b"else"}
        assert lock.notes(paths) == {"eth0": b"something"}
    assert lock.notes(paths) == {}


def test_the_note_of_a_run_that_was_killed_counts_no_more(paths: Paths) -> None:
    child = os.fork()
    if not child:
        with lock.of_interface("eth0", paths) as held:
            held.note(b"something")
            os._exit(0)
    os.waitpid(child, 0)
    assert (paths.run / "eth0.lock").read_bytes() == b"something"
    assert lock.notes(paths) == {}
    with lock.of_interface("eth0", paths):
        assert lock.notes(paths) == {"eth0": b""}
    assert not paths.run.exists()


def test_what_the_agent_notes_is_there_for_others_while_it_is(paths: Paths) -> None:
    """And for the next agent, if it is killed."""
    assert lock.note_of_agent(paths) == b""
    with lock.of_agent(paths) as held:
        assert held.noted() == b""
        held.note(b"something")
        assert lock.note_of_agent(paths) == b"something"
        with pytest.raises(BusyError, match="another agent is at work"), lock.of_agent(paths):
            pass
    assert not paths.run.exists()
    child = os.fork()
    if not child:
        with lock.of_agent(paths) as held:
            held.note(b"something else")
            os._exit(0)
    os.waitpid(child, 0)
    assert lock.note_of_agent(paths) == b""
    with lock.of_agent(paths) as held:
        assert held.noted() == b"something else"


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = Paths(run=tmp_path / "file/l4lb")
    message = r"make .*/eth0\.lock: Not a directory"
    with pytest.raises(HostError, match=message), lock.of_interface("eth0", paths):
        pass
