# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic of a client that knows what became of it."""

from __future__ import annotations

PATIENCE = 10.0  # seconds until what shall come must have come
