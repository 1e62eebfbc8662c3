# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines there are: a file, read and checked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from lab.topology import NAME, ROOTS, LabError

if TYPE_CHECKING:
    from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Plan:
    """One machine. Its first card, eth0, is for SSH; the others are plugged into the laboratory."""

    system: str
    """A key of ROOTS."""
    cards: tuple[str, ...] = ()
    """HOST/BRIDGE of the laboratory, of eth1 and on."""
    queues: int = 2
    """Of each of these."""
    processors: int = 2
    memory: int = 1200
    """In MB."""


def read(path: Path) -> dict[str, Plan]:
    """The machines of a file, in its order."""
    import yaml

    try:
        plans = yaml.safe_load(path.read_text())
        machines = {
            name: Plan(**{**plan, "cards": tuple(plan["cards"])}) for name, plan in plans.items()
        }
        for name, plan in machines.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"machine name {name!r}: {NAME.pattern} is allowed")
            if plan.system not in ROOTS:
                raise ValueError(
                    f"{name}: there is no system {plan.system!r}, but {', '.join(ROOTS)}"
                )
    except OSError as e:
        raise LabError(f"cannot read which machines: {e}") from e
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as e:
        raise LabError(f"machines {path}: {e}") from e
    return machines
