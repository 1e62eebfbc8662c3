# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter plugins: what a server shall do for a group of balancers, from their variables, and which
servers these have left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import CONFIG
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.options import parse_desired
from ansible_collections.xdp.l4lb.plugins.plugin_utils.inventory import address_of, hosts_of
from ansible_collections.xdp.l4lb.plugins.plugin_utils.misspelt import PREFIX

SOURCES = {4: "source_address", 6: "source_address6"}
Interface = Mapping[str, Any]
"""One of a balancer, with its variables, which have no prefix."""


def real_server(
    options: Mapping[str, Any],
    group: object,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    host: str,
    addresses: Sequence[str] = (),
    learned: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    errors: str = "raise",
) -> Any:
    """Fill in the services that have this host as a backend, and where balancers send from.

    addresses: that the host has. learned: balancer -> its interfaces, as of ip -json address.
    errors: "raise" what is wrong as AnsibleFilterError, or "return" it as text.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return _real_server(given, group, groups, hostvars, host, addresses, learned or {})
    except ConfigError as e:
        if errors != "return":
            raise AnsibleFilterError(f"{PREFIX}backend_{e}") from e
        return f"{PREFIX}backend_{e}"


def _real_server(
    given: Mapping[str, Any],
    group: object,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    host: str,
    addresses: Sequence[str],
    learned: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    names = hosts_of(group, groups, "balancer_group")
    own = {ip_address(one) for one in addresses}
    services: list[dict[str, Any]] = []
    sources: list[str] = []
    unknown: list[str] = []
    for name in names:
        for interface in _interfaces(name, hostvars[name]):
            try:
                found = [*_services(name, interface, groups, hostvars, host, own)]
            except (AttributeError, KeyError, TypeError, ValueError) as e:
                remedy = f"its services are wrong ({e!r}), which deploying it would explain"
                raise ConfigError("balancer_group", name, remedy) from e
            services += [one for one in found if one not in services]
            for version in _versions(found):
                there = _sources(interface, version, hostvars[name], learned.get(name, ()))
                sources += there
                if not there and name not in unknown:
                    unknown.append(name)
    if not given.get("balancers"):
        given = {**given, "balancers": [] if unknown else sorted({*sources})}
    desired = parse_desired({**given, "services": services})
    return {**desired.dump(), "unknown": unknown}


def _interfaces(name: str, variables: Mapping[str, Any]) -> Iterator[Interface]:
    """Of a balancer. Raises ConfigError."""
    if variables.get(f"{PREFIX}state") == "absent":
        return
    common = {
        option: variables[f"{PREFIX}{option}"]
        for option in ("interface", "services", "gue_port", *SOURCES.values())
        if variables.get(f"{PREFIX}{option}") is not None
    }
    several = variables.get(f"{PREFIX}interfaces") or [common]
    for each in several:
        interface = {**common, **each}
        if "services" not in interface:
            remedy = f"no {PREFIX}services are among the variables of its host {name}; give them"
            raise ConfigError("balancer_group", name, f"{remedy} in the inventory, not in a play")
        yield interface


def _services(
    name: str,
    interface: Interface,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    host: str,
    own: set[Any],
) -> Iterator[dict[str, Any]]:
    """Those that have the host as a backend, as of the module l4lb_real_server."""
    for service in interface["services"] or ():
        where = f"balancer_group: {name}: services[{service.get('name', '?')}].backend_group"
        group = service.get("backend_group")
        for backend in _backends(service, group, groups, hostvars, host, own, where):
            yield {
                "address": service["address"],
                "encapsulation": service.get("encapsulation"),
                "gue_port": interface.get("gue_port", CONFIG["gue_port"].default),
                **backend,
            }


def _backends(
    service: Mapping[str, Any],
    group: object,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    host: str,
    own: set[Any],
    where: str,
) -> Iterator[dict[str, Any]]:
    """Those that are this host: its address, and the MTU of the path to it."""
    if group is not None and host in hosts_of(group, groups, where):
        variables = hostvars[host]
        yield {
            "backend": address_of(host, variables, where),
            "mtu": variables.get(f"{PREFIX}backend_mtu"),
        }
    for backend in service.get("backends") or ():
        if ip_address(str(backend["address"]).strip()) in own:
            yield {"backend": str(backend["address"]).strip(), "mtu": backend.get("mtu")}


def _versions(services: Sequence[Mapping[str, Any]]) -> list[int]:
    """Of the tunnels."""
    ends = {one["backend"] for one in services if one["encapsulation"] != "l2"}
    return sorted({ip_address(end).version for end in ends})


def _sources(
    interface: Interface,
    version: int,
    variables: Mapping[str, Any],
    links: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Where a balancer's tunnels come from: what is set, or else any of its addresses there."""
    given = interface.get(SOURCES[version])
    if given:
        return [str(given)]
    name = str(interface.get("interface"))
    there = [*_answered(name, links), *_facts(name, variables)]
    return [one for one in there if ip_address(one).version == version]


def _answered(interface: str, links: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The addresses of an interface, as ip(8) lists them."""
    for link in links:
        if interface in (link.get("ifname"), *link.get("altnames", ())):
            for one in link.get("addr_info", ()):
                if one.get("scope") == "global" and "local" in one:
                    yield one["local"]


def _facts(interface: str, variables: Mapping[str, Any]) -> Iterator[str]:
    """The same, as far as facts of the balancer are known."""
    facts = variables.get("ansible_facts") or {}
    there = facts.get(interface.replace("-", "_")) or {}
    ipv4 = [there.get("ipv4") or {}, *(there.get("ipv4_secondaries") or ())]
    ipv6 = [one for one in there.get("ipv6") or () if one.get("scope") == "global"]
    return (one["address"] for one in (*ipv4, *ipv6) if one.get("address"))


def left_backends(
    facts: Sequence[Mapping[str, Any]],
    hosts: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Addresses that a balancer sent to before and sends to no more, and that none of these hosts
    is known to have.

    facts: of the module l4lb_stats, before and after.
    """
    before, after = map(_addresses, facts)
    known = {str(one) for host in hosts for one in _known(host, hostvars[host])}
    return sorted(before - after - known)


def _addresses(facts: Mapping[str, Any]) -> set[str]:
    """Of all backends."""
    return {
        backend["address"]
        for interface in (facts.get("l4lb") or {}).values()
        for service in interface["services"]
        for backend in service["backends"]
    }


def _known(host: str, variables: Mapping[str, Any]) -> Iterator[object]:
    """Addresses of a host, as far as the inventory, facts and the role know."""
    facts = variables.get("ansible_facts") or {}
    yield from facts.get("all_ipv4_addresses") or ()
    yield from facts.get("all_ipv6_addresses") or ()
    yield from variables.get("l4lb_backend_has") or ()
    with contextlib.suppress(ConfigError):
        yield address_of(host, variables, host)


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"real_server": real_server, "left_backends": left_backends}
