# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scheduler chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAGLEV_SLOTS = 65537
"""A prime; a slot is under 1 % of an equal share among 655 backends or fewer."""
JHASH_SLOTS = 512
MAX_CANDIDATES = 0xFFFF  # what a 16-bit slot can name


class Candidate(NamedTuple):
    """A backend as a scheduler sees it."""

    key: str  # what stays the same on every balancer and after every change: the canonical address
    weight: int  # 0..255; 0 takes no new flows


def check_count(candidates: Sequence[Candidate], limit: int) -> None:
    """Raises ValueError if there are more."""
    if len(candidates) > limit:
        raise ValueError(f"{len(candidates)} backends; the table holds at most {limit}")
