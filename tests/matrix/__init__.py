# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every version that README.md names, run: python -m tests.matrix [WORD ...]

A cell is a controller, which is a version of ansible-core with a version of Python, and the
userland of balancers. With words, only the cells run whose names have all of them, and README.md
stays as it is.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/matrix"
