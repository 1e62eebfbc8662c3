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


class ByLaboratory(LoadScopeScheduling):
    """A folder here has one laboratory, and so has a file beside the folders. Folders take longest,
    and come first (--no-loadscope-reorder)."""

    def _split_scope(self, nodeid: str) -> str:
        path = self.config.rootpath / nodeid.partition("::")[0]
        shared: str = path.relative_to(HERE).parts[0]
        return shared


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Called where --dist is loadscope."""
    return ByLaboratory(config, log)
