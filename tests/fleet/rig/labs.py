# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Laboratories of this test run alone: other checkouts may be testing at the same time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lab import TOPOLOGY, Lab
from tests.fleet.rig import hosts


@contextmanager
def laboratory(name: str, topology: Path | dict[str, Any] = TOPOLOGY) -> Iterator[Lab]:
    """One that is up; in the end nothing of it is left, nor runs there."""
    lab = Lab(f"{name}{os.getpid()}")
    with tempfile.TemporaryDirectory() as directory:
        if isinstance(topology, dict):
            plan, topology = topology, Path(directory, "topology.yml")
            topology.write_text(yaml.safe_dump(plan))
        lab.up(topology)
        try:
            yield lab
        finally:
            hosts.dismiss(lab)
            left = lab.down()
    assert left == {}


def plan(topology: Path = TOPOLOGY) -> dict[str, Any]:
    """A topology, to be changed."""
    found: dict[str, Any] = yaml.safe_load(topology.read_text())
    return found
