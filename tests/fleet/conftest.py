# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that share a laboratory stay together where several processes run them side by side.

Most of their time passes in waiting, for Ansible, for neighbours and for clocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).parent
LONGEST = ("steady", "apply", "health")
"""Folders that take longest, and so begin first: else one process ends long after the other."""


class ByLaboratory(LoadScopeScheduling):
    """A folder here has one laboratory, and so has a file beside the folders. Folders come first
    (--no-loadscope-reorder)."""

    def _split_scope(self, nodeid: str) -> str:
        return _shared(self.config.rootpath / nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Called where --dist is loadscope."""
    return ByLaboratory(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first; else they stay in their order."""
    here = [item for item in items if item.path.is_relative_to(HERE)]
    if len(here) == len(items):
        items.sort(key=lambda item: _shared(item.path) not in LONGEST)


def _shared(path: Path) -> str:
    """What has a laboratory: a folder's name, or a file's."""
    return path.relative_to(HERE).parts[0]
