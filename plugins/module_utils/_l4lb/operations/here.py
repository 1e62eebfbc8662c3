# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancers of this host."""

from __future__ import annotations

import os
from dataclasses import replace

from ..balancer.saved import saved_interfaces
from ..errors import ConfigError, HostError, L4lbError
from ..kernel.paths import Paths
from ..kernel.pins import pinned_interfaces
from ..model.parse import Request
from ..network import link
from ..printable import listed

_LONGEST_FIRST_NAME = 15


def balancing() -> list[str]:
    """The interfaces that have a balancer, attached or not."""
    return pinned_interfaces(Paths())


def require_writable() -> None:
    """Raises HostError if this process may not write where pins are, if any are.

    That is so where systemd lets one write there only, since the directory was removed with the
    last balancer and came again.
    """
    directory = Paths().bpffs / "l4lb"
    if directory.is_dir() and not os.access(directory, os.W_OK):
        raise HostError(f"{directory} is not the one that was there; this is for a new process")


def saved() -> list[str]:
    """The interfaces of which a balancer is saved."""
    return saved_interfaces(Paths())


def known() -> list[str]:
    """Either."""
    return sorted({*balancing(), *saved()})


def named(name: str) -> str:
    """The interface that is called so, by the name that its balancer has: alternative names will do
    where one is asked for. Raises ConfigError if it is too long for any but an alternative."""
    if name in known():
        return name
    found = link.first_name(name)
    if len(os.fsencode(found)) > _LONGEST_FIRST_NAME:
        link.read_link(found)  # there is none
    return found


def resolved(request: Request) -> Request:
    """With the interface as `named` has it."""
    name = named(request.interface)
    config = request.config and replace(request.config, interface=name)
    return replace(request, interface=name, config=config)


def chosen(interface: str | None, option: str) -> list[str]:
    """The given one, or all that have a balancer.

    Raises L4lbError if none has, and ConfigError, which names the option, if that one has not.
    """
    there = balancing()
    if not there:
        raise L4lbError("this host does not balance; set it up with the module l4lb")
    if interface is None:
        return there
    interface = named(interface)
    if interface not in there:
        raise ConfigError(
            option, interface, f"this host does not balance there, but {listed(there)}"
        )
    return [interface]


def only(interface: str | None, option: str) -> str:
    """The given one, or the only one that has a balancer. Raises ConfigError if there are several,
    and L4lbError if there is none."""
    if interface is not None:
        return named(interface)
    there = balancing()
    if not there:
        raise L4lbError("this host does not balance")
    if len(there) > 1:
        raise ConfigError(option, None, f"several balance; choose one of {listed(there)}")
    return there[0]
