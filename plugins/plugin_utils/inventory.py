# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory says of backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.plugin_utils.misspelt import PREFIX


def hosts_of(group: object, groups: Mapping[str, Sequence[str]], where: str) -> Sequence[str]:
    """The hosts of a group. Raises ConfigError, which names `where`."""
    if not isinstance(group, str):
        remedy = "give the name of one group; one that has others as children has all their hosts"
        raise ConfigError(where, group, remedy)
    hosts = groups.get(group.strip())
    if not hosts:
        problem = "it is not in the inventory" if hosts is None else "it has no hosts"
        raise ConfigError(where, group, f"{problem}; give a group whose hosts are the backends")
    return hosts


def address_of(host: str, variables: Mapping[str, Any], where: str) -> str:
    """Of a host as a backend. What is set is taken before what happens to be known, which must not
    change anything. Raises ConfigError."""
    given = variables.get(f"{PREFIX}backend_address")
    if given:
        if not is_address(given):
            remedy = f"{PREFIX}backend_address of the host {host}: not an IP address"
            raise ConfigError(where, given, remedy)
        return str(given)
    facts = variables.get("ansible_facts") or {}
    for candidate in (
        variables.get("ansible_host"),
        host,
        (facts.get("default_ipv4") or {}).get("address"),
    ):
        if is_address(candidate):
            return str(candidate)
    raise ConfigError(
        where,
        host,
        f"the address of this host is not known; set {PREFIX}backend_address for it "
        "(or let ansible_host be an IP address, or gather its facts)",
    )


def is_address(value: object) -> bool:
    """Whether it is an IP address."""
    try:
        ip_address(str(value).strip())
    except ValueError:
        return False
    return True
