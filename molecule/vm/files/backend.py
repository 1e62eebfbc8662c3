# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what docs/backends.md says that a server has to run, as one script."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.fleet.rig.readme import backend_by_hand

print(backend_by_hand("2001:db8:ffff::10", "on every backend, with nftables"))
