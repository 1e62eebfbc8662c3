# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter plugin: what a balancer shall do, from variables and inventory groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model import checks
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

PREFIX = "l4lb_"


def desired_state(
    options: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    errors: str = "raise",
) -> Any:
    """Fill in the backends of groups, then let the model check and normalise everything.

    errors: "raise" what is wrong as AnsibleFilterError, or "return" it as text.
    """
    try:
        return _desired_state(options, groups, hostvars)
    except AnsibleFilterError as e:
        if errors != "return":
            raise
        return str(e.message)


def _desired_state(
    options: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    if "services" not in given:
        raise AnsibleFilterError(
            f"{PREFIX}services: give the services; an empty list is a balancer without any"
        )
    try:
        config = parse_config(_with_backends(given, groups, hostvars))
        for refusal in checks.check(config).refusals:
            raise refusal
    except ConfigError as e:
        raise AnsibleFilterError(f"{PREFIX}{e}") from e
    return config.dump()


def _with_backends(
    options: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    services = options["services"]
    if not isinstance(services, (list, tuple)):
        return dict(options)  # the model says what is wrong
    return {**options, "services": [_service(service, groups, hostvars) for service in services]}


def _service(
    service: object,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> object:
    if not isinstance(service, Mapping):
        return service
    given = {name: value for name, value in service.items() if value is not None}
    where = f"{PREFIX}services[{given.get('name', '?')}]"
    if "backends" not in given and "backend_group" not in given:
        raise AnsibleFilterError(
            f"{where}: give backends or backend_group; "
            "backends: [] is a service that drops everything"
        )
    group = given.pop("backend_group", None)
    if group is None:
        return given
    listed = given.get("backends", [])
    if not isinstance(listed, (list, tuple)):
        return given
    where = f"{where}.backend_group"
    if not groups.get(group):
        problem = "has no hosts" if group in groups else "is not in the inventory"
        raise AnsibleFilterError(f"{where}: the group {group!r} {problem}")
    hosts = [_backend(host, hostvars[host], where) for host in groups[group]]
    return {**given, "backends": [*hosts, *listed]}


def _backend(host: str, variables: Mapping[str, Any], where: str) -> dict[str, Any]:
    backend = {"address": _address(host, variables, where)}
    for option in ("weight", "state", "mac", "mtu"):
        value = variables.get(f"{PREFIX}backend_{option}")
        if value is not None:
            backend[option] = value
    return backend


def _address(host: str, variables: Mapping[str, Any], where: str) -> str:
    given = variables.get(f"{PREFIX}backend_address")
    if given:
        if not _is_address(given):
            raise AnsibleFilterError(
                f"{where}: {PREFIX}backend_address of the host {host} is no IP address: {given!r}"
            )
        return str(given)
    facts = variables.get("ansible_facts") or {}
    for candidate in (
        (facts.get("default_ipv4") or {}).get("address"),
        variables.get("ansible_host"),
        host,
    ):
        if _is_address(candidate):
            return str(candidate)
    raise AnsibleFilterError(
        f"{where}: the address of the host {host} is not known; set {PREFIX}backend_address for it "
        "(or gather its facts, or let ansible_host be an IP address)"
    )


def _is_address(value: object) -> bool:
    try:
        ip_address(str(value))
    except ValueError:
        return False
    return True


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"desired_state": desired_state}
