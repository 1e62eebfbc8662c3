# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user wrote, or a JSON file, becomes a Config, or one ConfigError."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface
from typing import Any

from ..errors import ConfigError
from ..schedulers.candidate import JHASH_SLOTS
from .config import Address, Backend, Config, Network, Service, ServiceKey
from .options import (
    BACKEND,
    CONFIG,
    MAX_BACKENDS,
    MAX_NAME_BYTES,
    MAX_OWN_MACS,
    MAX_SERVICES,
    SERVICE,
    Option,
)

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""As text that came from a template, the command line or an INI inventory."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACE = re.compile(r"[^\s/:]{1,15}")


def parse_config(options: Mapping[str, Any]) -> Config:
    """Validate `options` (names as in the documentation of the module) and normalise them.

    Services come out sorted by name. The order of the backends is kept where it means
    something (`jhash`), else they are sorted by address.

    Raises ConfigError, which names the first option that is wrong.
    """
    _known(options, CONFIG, "")
    services = []
    for index, raw in enumerate(_list(options.get("services"), "services")):
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
    return Config(
        interface=interface_name(options.get("interface")),
        mode=_choice(options, CONFIG["mode"], ""),
        source_address=_optional(options, "source_address", "", _source4),
        source_address6=_optional(options, "source_address6", "", _source6),
        gateway_mac=_optional(options, "gateway_mac", "", _mac),
        flow_table_size=_integer(options, CONFIG["flow_table_size"], ""),
        udp_timeout=_integer(options, CONFIG["udp_timeout"], ""),
        gue_port=_integer(options, CONFIG["gue_port"], ""),
        hash_seed=_seed(options),
        own_macs=_macs(options.get("own_macs"), "own_macs"),
        no_service=_choice(options, CONFIG["no_service"], ""),
        allow_own_address=_boolean(options, CONFIG["allow_own_address"], ""),
        echo_rate=_integer(options, CONFIG["echo_rate"], ""),
        too_big_rate=_integer(options, CONFIG["too_big_rate"], ""),
        manage_sysctls=_boolean(options, CONFIG["manage_sysctls"], ""),
        services=tuple(sorted(services, key=lambda service: service.name)),
    )


def interface_name(value: object) -> str:
    """Check the name of a network interface (1 to 15 bytes, as the kernel allows)."""
    if not isinstance(value, str) or not value:
        raise ConfigError("interface", value, "give the interface that receives the packets")
    fits = _INTERFACE.fullmatch(value) and value.isprintable() and len(value.encode()) <= 15
    if not fits or value in (".", ".."):
        raise ConfigError("interface", value, "not an interface name (see ip link)")
    return value


def unicast_address(value: object, where: str) -> Address:
    """Check an address of a service or backend. Raises ConfigError, which names `where`."""
    try:
        if not isinstance(value, str) or "%" in value:  # a zone would be lost
            raise ValueError
        address = ip_address(value)
    except ValueError:
        raise ConfigError(
            where, value, "not an IP address, as in 192.0.2.10 or 2001:db8::10"
        ) from None
    _check_unicast(address, value, where)
    if isinstance(address, IPv6Address) and (address.is_link_local or address.ipv4_mapped):
        raise ConfigError(where, value, "neither link-local nor IPv4-mapped addresses are balanced")
    return address


def _service(raw: object, where: str) -> Service:
    options = _mapping(raw, where)
    name = options.get("name")
    _known(options, SERVICE, f"services[{name}]" if isinstance(name, str) and name else where)
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{where}.name", name, "give the service a name; it labels statistics")
    if not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
        raise ConfigError(
            f"{where}.name", name, f"use up to {MAX_NAME_BYTES} bytes of printable text"
        )
    where = f"services[{name}]"
    scheduler = _choice(options, SERVICE["scheduler"], where)
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
    return Service(
        name=name,
        address=unicast_address(options.get("address"), f"{where}.address"),
        port=_integer(options, SERVICE["port"], where),
        protocol=_choice(options, SERVICE["protocol"], where),
        scheduler=scheduler,
        affinity=_choice(options, SERVICE["affinity"], where),
        encapsulation=_choice(options, SERVICE["encapsulation"], where),
        flow_table=_boolean(options, SERVICE["flow_table"], where),
        backends=tuple(backends),
    )


def _backends(raw: object, where: str) -> list[Backend]:
    backends: list[Backend] = []
    seen: set[tuple[int, bytes]] = set()
    for index, item in enumerate(_list(raw, f"{where}.backends")):
        here = f"{where}.backends[{index}]"
        backend = _backend(_mapping(item, here), here)
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
        _known(options, BACKEND, where)
    values = [options.get(name) for name in BACKEND]
    try:
        return _seen_backend("", *values)
    except (ConfigError, TypeError):  # TypeError: of what is not hashable
        return _checked_backend(where, *values)


def _checked_backend(
    where: str,
    address: object,
    weight: object,
    state: object,
    mac: object,
    mtu: object,
    held: object,
) -> Backend:
    options = {"weight": weight, "state": state, "mac": mac, "mtu": mtu, "held": held}
    backend = _same_backend(
        unicast_address(address, f"{where}.address"),
        _integer(options, BACKEND["weight"], where),
        _choice(options, BACKEND["state"], where),
        _optional(options, "mac", where, _mac),
        _optional(options, "mtu", where, _mtu),
        _boolean(options, BACKEND["held"], where),
    )
    if backend.held and backend.state == "enabled":
        raise ConfigError(f"{where}.held", True, "only drained and disabled backends are held")
    return backend


# What is said again, as most of the desired state says what the live state does, is checked once,
# and makes the same object, which compares at once. (True is not 1 here.)
_seen_backend = functools.lru_cache(maxsize=MAX_BACKENDS, typed=True)(_checked_backend)
_same_backend = functools.lru_cache(maxsize=MAX_BACKENDS)(Backend)


def _unique(services: Iterable[Service]) -> None:
    names: set[str] = set()
    keys: dict[ServiceKey, str] = {}
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


def _join(where: str, option: str) -> str:
    return f"{where}.{option}" if where else option


def _known(options: Mapping[str, Any], table: Mapping[str, Option], where: str) -> None:
    for option, value in options.items():
        if option not in table:
            raise ConfigError(
                _join(where, str(option)), value, f"no such option; use {', '.join(table)}"
            )


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(where, value, "give a mapping of options")
    return value


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise ConfigError(where, value, "give a list")
    return list(value)


def _choice(options: Mapping[str, Any], option: Option, at: str) -> str:
    value = options.get(option.name)
    if value is None:
        value = option.default
    if value not in option.choices:
        raise ConfigError(
            _join(at, option.name), value, f"choose one of {', '.join(option.choices)}"
        )
    return str(value)


def _integer(options: Mapping[str, Any], option: Option, at: str) -> int:
    value = options.get(option.name)
    return _whole(option.default if value is None else value, _join(at, option.name), option)


def _whole(value: object, where: str, option: Option) -> int:
    low, high = option.range or (0, 0)
    if isinstance(value, str) and value.isascii() and value.strip().isdecimal():
        value = int(value)  # from a template, the command line or an INI inventory
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(where, value, f"give a whole number from {low} to {high}")
    return value


def _seed(options: Mapping[str, Any]) -> int:
    try:
        return _integer(options, CONFIG["hash_seed"], "")
    except ConfigError as e:  # perhaps it is nearly right
        raise ConfigError(e.option, "not shown", e.remedy) from None


def _mtu(value: object, where: str) -> int:
    return _whole(value, where, BACKEND["mtu"])


def _optional(options: Mapping[str, Any], option: str, where: str, parse: Any) -> Any:
    value = options.get(option)
    return None if value in (None, "") else parse(value, _join(where, option))


def _boolean(options: Mapping[str, Any], option: Option, at: str) -> bool:
    value = options.get(option.name)
    if value is None:
        value = option.default
    if isinstance(value, str):
        value = _BOOLEANS.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise ConfigError(_join(at, option.name), value, "give true or false")
    return value


def _check_unicast(address: Address, value: object, where: str) -> None:
    broadcast = address == IPv4Address("255.255.255.255")
    if address.is_multicast or address.is_unspecified or broadcast:
        raise ConfigError(where, value, "not a unicast address")


def _source4(value: object, where: str) -> Network:
    return _source(value, where, IPv4Network, "IPv4", "192.0.2.1 or 192.0.2.0/28")


def _source6(value: object, where: str) -> Network:
    return _source(value, where, IPv6Network, "IPv6", "2001:db8::1 or 2001:db8::/112")


def _source(value: object, where: str, kind: type, family: str, example: str) -> Network:
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        given = ip_interface(value)
    except ValueError:
        raise ConfigError(where, value, f"not an IP address or prefix, as in {example}") from None
    network: Network = given.network
    if not isinstance(network, kind):
        raise ConfigError(where, value, f"give an {family} address or prefix, as in {example}")
    if given.ip != network.network_address:
        raise ConfigError(
            where, value, f"neither one address nor a prefix; give {given.ip} or {network}"
        )
    _check_unicast(network.network_address, value, where)
    return network


def _mac(value: object, where: str) -> str:
    text = value.lower().replace("-", ":") if isinstance(value, str) else ""
    if not _MAC.fullmatch(text):
        raise ConfigError(where, value, "not a MAC address, as in 52:54:00:00:00:0b")
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise ConfigError(where, value, "not a unicast MAC address")
    return text


def _macs(value: object, where: str) -> tuple[str, ...]:
    """Each once, in order."""
    macs = {_mac(mac, f"{where}[{index}]") for index, mac in enumerate(_list(value, where))}
    if len(macs) > MAX_OWN_MACS:
        raise ConfigError(where, f"{len(macs)} addresses", f"at most {MAX_OWN_MACS} fit")
    return tuple(sorted(macs))
