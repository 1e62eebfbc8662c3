# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancers of this host."""

from __future__ import annotations

from ..balancer.saved import saved_interfaces
from ..errors import ConfigError, L4lbError
from ..kernel.paths import Paths
from ..kernel.pins import pinned_interfaces
from ..printable import listed


def balancing() -> list[str]:
    """The interfaces that have a balancer, attached or not."""
    return pinned_interfaces(Paths())


def saved() -> list[str]:
    """The interfaces of which a balancer is saved."""
    return saved_interfaces(Paths())


def known() -> list[str]:
    """Either."""
    return sorted({*balancing(), *saved()})


def chosen(interface: str | None, option: str) -> list[str]:
    """The given one, or all that have a balancer.

    Raises L4lbError if none has, and ConfigError, which names the option, if that one has not.
    """
    there = balancing()
    if not there:
        raise L4lbError("this host does not balance; set it up with the module l4lb")
    if interface is None:
        return there
    if interface not in there:
        raise ConfigError(
            option, interface, f"this host does not balance there, but {listed(there)}"
        )
    return [interface]


def only(interface: str | None, option: str) -> str:
    """The given one, or the only one that has a balancer. Raises ConfigError if there are several,
    and L4lbError if there is none."""
    if interface is not None:
        return interface
    there = balancing()
    if not there:
        raise L4lbError("this host does not balance")
    if len(there) > 1:
        raise ConfigError(option, None, f"several balance; choose one of {listed(there)}")
    return there[0]
