# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter plugin: what a balancer shall do, from variables and inventory groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model import checks, values
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.listen import parse_listen
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import ROLE, RUN
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import (
    parse_backend,
    parse_config,
    parse_settings,
)
from ansible_collections.xdp.l4lb.plugins.plugin_utils.inventory import address_of, hosts_of
from ansible_collections.xdp.l4lb.plugins.plugin_utils.misspelt import PREFIX, warn_of_misspelt

OF_A_HOST = ("weight", "state", "mac", "mtu", "backup")
"""Options of a backend that are variables of the host, besides its address."""


def desired_state(
    options: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    errors: str = "raise",
    variables: Sequence[str] = (),
) -> Any:
    """Fill in the backends of groups, then let the model check and normalise everything.

    errors: "raise" what is wrong as AnsibleFilterError, or "return" it as text.
    variables: names, which are warned of if they are misspelt.
    """
    warn_of_misspelt(variables)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return _desired_state(given, groups, hostvars)
    except ConfigError as e:
        if errors != "return":
            raise AnsibleFilterError(f"{PREFIX}{e}") from e
        return f"{PREFIX}{e}"


def _desired_state(
    given: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    for option in ROLE.values():
        if option.kind == "bool":
            values.boolean(given, option, "")
    parse_listen(given.get("metrics_listen", ""), "metrics_listen")
    if values.choice(given, RUN["state"], "") == "absent":
        return {"interface": values.interface_name(given.get("interface"))}
    of_the_module = {name: value for name, value in given.items() if name not in ROLE}
    parse_settings(of_the_module)
    services = values.listed(given["services"], "services", "services")
    config = parse_config(
        {
            **{name: value for name, value in of_the_module.items() if name not in RUN},
            "services": [_service(service, groups, hostvars) for service in services],
        }
    )
    for refusal in checks.check(config).refusals:
        raise refusal
    return config.dump()


def _service(
    service: object,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> object:
    if not isinstance(service, Mapping):
        return service  # the model says what is wrong
    given = {name: value for name, value in service.items() if value is not None}
    where = f"services[{given.get('name', '?')}]"
    if "backends" not in given and "backend_group" not in given:
        raise ConfigError(
            f"{where}.backends",
            None,
            "give backends or backend_group; backends: [] is a service that drops everything",
        )
    group = given.pop("backend_group", None)
    if group is None:
        return given
    listed = given.get("backends", [])
    if not isinstance(listed, (list, tuple)):
        return given
    where = f"{where}.backend_group"
    hosts = [_backend(host, hostvars[host], where) for host in hosts_of(group, groups, where)]
    return {**given, "backends": [*hosts, *listed]}


def _backend(host: str, variables: Mapping[str, Any], where: str) -> dict[str, Any]:
    backend = {"address": address_of(host, variables, where)}
    for option in OF_A_HOST:
        value = variables.get(f"{PREFIX}backend_{option}")
        if value is not None:
            backend[option] = value
    try:
        parse_backend(backend)
    except ConfigError as e:
        name = f"{PREFIX}backend_{e.option}"
        if e.option == "address":
            name = "the address"
        raise ConfigError(where, e.value, f"{name} of the host {host}: {e.remedy}") from e
    return backend


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"desired_state": desired_state}
