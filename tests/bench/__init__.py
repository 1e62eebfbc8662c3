# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks of the data plane: python -m tests.bench --help."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# where the collection is known under its own name
sys.path.insert(0, str(ROOT / ".ansible" / "collections"))
