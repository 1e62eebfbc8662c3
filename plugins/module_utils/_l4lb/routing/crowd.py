# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel keeps as many neighbours as there are next hops. All of this is pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..network.neighbour_table import Limits, name

_OTHERS = 128
"""Neighbours that a host has besides, or may get."""
_USUAL_SOFT = 512
"""The kernel's own limit, where it does not show."""


@dataclass(frozen=True)
class Crowd:
    """What speaks against so many next hops.

    refusals: the kernel does not take them. warnings: it does, but not for long, or nobody knows.
    sysctls: what is to be set, by name, if it is for this run to do.
    """

    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sysctls: dict[str, int] = field(default_factory=dict)


def judge(counts: Mapping[int, int], limits: Mapping[int, Limits | None], managed: bool) -> Crowd:
    """Whether so many next hops of each IP version fit.

    limits: None: they do not show. managed: this run may raise them.
    """
    found = Crowd()
    for version, count in sorted(counts.items()):
        now = limits.get(version)
        soft = min(now.soft, now.hard) if now else _USUAL_SOFT
        if count + _OTHERS <= soft:
            continue
        wanted = enough(count)
        crowd = f"{count} next hops are neighbours by IPv{version}"
        remedy = "set it to {}, and {} to {}, or manage_sysctls to true"
        soft_name, hard_name = name(version, "soft"), name(version, "hard")
        if now is None:
            found.warnings.append(
                f"{crowd}; whether the kernel keeps as many does not show in this network "
                f"namespace: on the host itself, {soft_name} is to be {wanted.soft} and "
                f"{hard_name} {wanted.hard} or more"
            )
        elif managed:
            raised = {
                name(version, limit): max(getattr(now, limit), getattr(wanted, limit))
                for limit in Limits._fields
            }
            found.sysctls.update(raised)
        elif count >= now.hard:
            found.refusals.append(
                f"{crowd}, and {hard_name} is {now.hard}, so the kernel does not take as many; "
                + remedy.format(wanted.hard, soft_name, wanted.soft)
            )
        else:
            found.warnings.append(
                f"{crowd}, and {soft_name} is {now.soft}, beyond which the kernel forgets some "
                "again and again; " + remedy.format(wanted.soft, hard_name, wanted.hard)
            )
    return found


def enough(count: int) -> Limits:
    """Limits for so many next hops, in powers of two."""
    least = 1 << (count + _OTHERS - 1).bit_length()
    return Limits(least, 2 * least, 4 * least)
