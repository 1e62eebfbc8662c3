# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user wrote, or a JSON file, becomes a Config, or one ConfigError."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..schedulers.candidate import JHASH_SLOTS
from . import values
from .config import Address, Backend, Config, Service, ServiceKey
from .options import BACKEND, CONFIG, MAX_BACKENDS, MAX_SERVICES, RUN, SERVICE
from .parse_check import parse_health


@dataclass(frozen=True)
class Request:
    """What somebody wants of a run."""

    interface: str
    config: Config | None
    """None: no balancer."""
    replace: bool
    """The program of somebody else may be replaced."""


def parse_request(options: Mapping[str, Any]) -> Request:
    """What the options of the module and the command ask for, `state` and `replace` included.

    Raises ConfigError, which names the first option that is wrong.
    """
    settings = parse_settings(options)
    config = parse_config({name: options[name] for name in options if name not in RUN})
    is_present = settings["state"] == "present"
    return Request(config.interface, config if is_present else None, settings["replace"])


def parse_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """All of a request but its services, normalised, as plain JSON types: quick, whatever there
    is below these. Raises ConfigError."""
    values.known(options, {**CONFIG, **RUN}, "")
    run = {
        "state": values.choice(options, RUN["state"], ""),
        "replace": values.boolean(options, RUN["replace"], ""),
    }
    config = _with_services(options, [])
    if run["state"] == "present" and options.get("services") is None:
        raise ConfigError(
            "services", None, "give the services; an empty list is a balancer without any"
        )
    values.listed(options.get("services"), "services", "services")
    return {**config.options(), **run}


def parse_config(options: Mapping[str, Any]) -> Config:
    """Validate `options` (names as in the documentation of the module) and normalise them.

    Services come out sorted by name. The order of the backends is kept where it means
    something (`jhash`), else they are sorted by address.

    Raises ConfigError, which names the first option that is wrong.
    """
    values.known(options, CONFIG, "")
    services = []
    for index, raw in enumerate(values.listed(options.get("services"), "services", "services")):
        services.append(_service(raw, f"services[{index}]"))
    if len(services) > MAX_SERVICES:
        raise ConfigError("services", len(services), f"at most {MAX_SERVICES} services fit")
    _unique(services)
    total = sum(len(service.backends) + 1 for service in services)
    if total > MAX_BACKENDS:
        raise ConfigError(
            "services",
            f"{total - len(services)} backends of {len(services)} services",
            f"at most {MAX_BACKENDS} backends and services together fit",
        )
    return _with_services(options, services)


def parse_backend(options: Mapping[str, Any]) -> Backend:
    """One by itself. Raises ConfigError."""
    return _backend(options, "")


def _with_services(options: Mapping[str, Any], services: Iterable[Service]) -> Config:
    return Config(
        interface=values.interface_name(options.get("interface")),
        mode=values.choice(options, CONFIG["mode"], ""),
        source_address=values.optional(options, "source_address", "", values.source4),
        source_address6=values.optional(options, "source_address6", "", values.source6),
        gateway_mac=values.optional(options, "gateway_mac", "", values.mac),
        flow_table_size=values.integer(options, CONFIG["flow_table_size"], ""),
        udp_timeout=values.integer(options, CONFIG["udp_timeout"], ""),
        gue_port=values.integer(options, CONFIG["gue_port"], ""),
        hash_seed=values.seed(options),
        own_macs=values.macs(options.get("own_macs"), "own_macs"),
        no_service=values.choice(options, CONFIG["no_service"], ""),
        allow_own_address=values.boolean(options, CONFIG["allow_own_address"], ""),
        echo_rate=values.integer(options, CONFIG["echo_rate"], ""),
        too_big_rate=values.integer(options, CONFIG["too_big_rate"], ""),
        manage_sysctls=values.boolean(options, CONFIG["manage_sysctls"], ""),
        announce=values.boolean(options, CONFIG["announce"], ""),
        announce_timeout=values.integer(options, CONFIG["announce_timeout"], ""),
        announce_prefix_length6=values.integer(options, CONFIG["announce_prefix_length6"], ""),
        services=tuple(sorted(services, key=lambda service: service.name)),
    )


def _service(raw: object, where: str) -> Service:
    options = values.mapping(raw, where)
    given = options.get("name")
    named = isinstance(given, str) and given
    values.known(options, SERVICE, f"services[{given}]" if named else where)
    name = values.service_name(given, f"{where}.name")
    where = f"services[{name}]"
    scheduler = values.choice(options, SERVICE["scheduler"], where)
    backends = _backends(options.get("backends"), where)
    if scheduler == "jhash":
        if len(backends) > JHASH_SLOTS:
            raise ConfigError(
                f"{where}.backends",
                f"{len(backends)} backends",
                f"the jhash scheduler takes at most {JHASH_SLOTS}; use maglev",
            )
    else:
        backends.sort(key=lambda backend: backend.order)
    address = values.unicast_address(options.get("address"), f"{where}.address")
    port = values.integer(options, SERVICE["port"], where)
    return Service(
        name=name,
        address=address,
        port=port,
        protocol=values.choice(options, SERVICE["protocol"], where),
        scheduler=scheduler,
        affinity=values.choice(options, SERVICE["affinity"], where),
        encapsulation=values.choice(options, SERVICE["encapsulation"], where),
        flow_table=values.boolean(options, SERVICE["flow_table"], where),
        **parse_health(options, port, where),
        announce_when=values.choice(options, SERVICE["announce_when"], where),
        backends=tuple(backends),
    )


def _backends(raw: object, where: str) -> list[Backend]:
    backends: list[Backend] = []
    seen: set[tuple[int, bytes]] = set()
    for index, item in enumerate(values.listed(raw, f"{where}.backends", "backends")):
        here = f"{where}.backends[{index}]"
        backend = _backend(values.mapping(item, here), here)
        if backend.order in seen:
            raise ConfigError(
                f"{here}.address",
                str(backend.address),
                "listed twice; give it a larger weight instead",
            )
        seen.add(backend.order)
        backends.append(backend)
    return backends


def _backend(options: Mapping[str, Any], where: str) -> Backend:
    if not options.keys() <= BACKEND.keys():
        values.known(options, BACKEND, where)
    given = [options.get(name) for name in BACKEND]
    try:
        return _seen_backend("", *given)
    except (ConfigError, TypeError):  # TypeError: of what is not hashable
        return _checked_backend(where, *given)


def _checked_backend(
    where: str,
    address: object,
    weight: object,
    state: object,
    mac: object,
    mtu: object,
    backup: object,
    held: object,
    configured_weight: object,
) -> Backend:
    options = {"weight": weight, "state": state, "mac": mac, "mtu": mtu, "backup": backup}
    options |= {"held": held, "configured_weight": configured_weight}
    backend = _same_backend(
        values.unicast_address(address, values.join(where, "address")),
        values.integer(options, BACKEND["weight"], where),
        values.choice(options, BACKEND["state"], where),
        values.optional(options, "mac", where, values.mac),
        values.optional(options, "mtu", where, values.mtu),
        values.boolean(options, BACKEND["backup"], where),
        values.boolean(options, BACKEND["held"], where),
        values.optional(options, "configured_weight", where, values.weight),
    )
    if backend.held and backend.state == "enabled":
        remedy = "only drained and disabled backends are held"
        raise ConfigError(values.join(where, "held"), True, remedy)
    return backend


# What is said again, as most of the desired state says what the live state does, is checked once,
# and makes the same object, which compares at once. (True is not 1 here.)
_seen_backend = functools.lru_cache(maxsize=MAX_BACKENDS, typed=True)(_checked_backend)
_same_backend = functools.lru_cache(maxsize=MAX_BACKENDS)(Backend)


def _unique(services: Iterable[Service]) -> None:
    names: set[str] = set()
    keys: dict[ServiceKey, str] = {}
    whens: dict[Address, Service] = {}
    for service in services:
        if service.name in names:
            raise ConfigError("services", service.name, "two services have this name; rename one")
        names.add(service.name)
        other = keys.setdefault(service.key, service.name)
        if other != service.name:
            raise ConfigError(
                f"services[{service.name}]",
                f"{service.address} {service.port}/{service.protocol}",
                f"service {other} has this address, port and protocol already; merge them",
            )
        first = whens.setdefault(service.address, service)
        if first.announce_when != service.announce_when:
            raise ConfigError(
                f"services[{service.name}].announce_when",
                service.announce_when,
                f"service {first.name} of the same address has {first.announce_when}; an address "
                "is announced or not, so give the same for all of its services",
            )
