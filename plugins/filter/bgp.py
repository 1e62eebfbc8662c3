# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter plugin: how a balancer speaks BGP, checked and completed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.announce.table import (
    LEAVES,
    STAYS,
    TABLE,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.plugin_utils.misspelt import PREFIX

COMMON = ("password", "multihop", "med", "communities")
"""Options that all peers have, unless a peer has its own."""
OF_A_PEER = ("name", "address", "asn", "source", "families", "next_hop4", "next_hop6", *COMMON)
OF_BIRD = ("router_id", "peers", "password", "multihop")
"""Options that say what FRR has in its own configuration."""
ROUTE_MAP = "l4lb"
FAMILIES = {4: "ipv4", 6: "ipv6"}
LONGEST_PASSWORD = 80
"""Bytes: TCP_MD5SIG_MAXKEYLEN of linux/tcp.h; RFC 2385 leaves it open."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_RESERVED = {0, 23456, 65535, 2**32 - 1}
"""By RFC 7607, RFC 6793 and RFC 7300."""
_U16 = 2**16 - 1
_U32 = 2**32 - 1


def bgp(options: Mapping[str, Any], errors: str = "raise") -> Any:
    """Check and complete the options of the role l4lb_bgp, without their prefix.

    errors: "raise" what is wrong as AnsibleFilterError, or "return" it as text.
    """
    try:
        return _bgp(options)
    except ConfigError as e:
        if errors != "return":
            raise AnsibleFilterError(f"{PREFIX}bgp_{e}") from e
        return f"{PREFIX}bgp_{e}"


def _bgp(options: Mapping[str, Any]) -> dict[str, Any]:
    asn = _asn(options.get("asn"), "asn")
    if options.get("daemon") == "frr":
        return _frr(options, asn)
    router_id = options.get("router_id")
    if router_id is not None and not isinstance(_address(router_id, "router_id"), IPv4Address):
        raise ConfigError("router_id", router_id, "give an IPv4 address, also for IPv6 alone")
    peers = options.get("peers")
    if isinstance(peers, (str, Mapping)) or not isinstance(peers, Sequence) or not peers:
        raise ConfigError("peers", peers, "give a list of routers, each with address and asn")
    common = {name: options.get(name) for name in COMMON}
    found = [_peer(common, one, f"peers[{index}]") for index, one in enumerate(peers)]
    for option in ("name", "address"):
        seen = set()
        for one in found:
            if one[option] in seen:
                raise ConfigError("peers", one[option], f"two peers have this {option}")
            seen.add(one[option])
    return {
        "asn": asn,
        "router_id": router_id,
        "hold_time": _number(options.get("hold_time", 90), "hold_time", 3, _U16),
        "bfd": _truth(options.get("bfd", True), "bfd"),
        "bfd_interval": _number(options.get("bfd_interval", 100), "bfd_interval", 10, 60000),
        "bfd_multiplier": _number(options.get("bfd_multiplier", 3), "bfd_multiplier", 2, 255),
        "peers": found,
    }


def _frr(options: Mapping[str, Any], asn: int) -> dict[str, Any]:
    """`frr`: the lines that its configuration is to have, each with the sections that it is in, and
    as `show running-config` has them."""
    for option in OF_BIRD:
        if options.get(option):
            given = "(hidden)" if option == "password" else options[option]
            raise ConfigError(option, given, "leave it out, and configure it in FRR itself")
    med = options.get("med")
    communities = _communities(options.get("communities"), "communities")
    plain = [":".join(map(str, one)) for one in sorted(communities) if len(one) == 2]
    large = [":".join(map(str, one)) for one in sorted(communities) if len(one) == 3]
    number = 0 if med is None else _number(med, "med", 0, _U32)
    lines = []
    for entry, metric, more in ((10, LEAVES, ["graceful-shutdown"]), (20, STAYS, [])):
        section = f"route-map {ROUTE_MAP} permit {entry}"
        lines += [[section], [section, f"match metric {metric}"], [section, f"set metric {number}"]]
        if plain or more:
            lines.append([section, f"set community {' '.join([*plain, *more])}"])
        if large:
            lines.append([section, f"set large-community {' '.join(large)}"])
    redistribute = f"redistribute table-direct {TABLE} route-map {ROUTE_MAP}"
    for family in FAMILIES.values():
        lines.append([f"router bgp {asn}", f"address-family {family} unicast", redistribute])
    return {"asn": asn, "frr": lines}


def _peer(common: Mapping[str, Any], given: object, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError(where, given, "give a mapping with address and asn")
    for name in given:
        if name not in OF_A_PEER:
            raise ConfigError(f"{where}.{name}", given[name], f"use {', '.join(OF_A_PEER)}")
    options = {**common, **given}
    address = _address(options.get("address"), f"{where}.address")
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise ConfigError(f"{where}.address", str(address), "give an address that is routed to")
    name = options.get("name", f"peer_{re.sub('[^0-9a-f]', '_', str(address))}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        remedy = "give small letters, digits and _, at most 31, the first a letter"
        raise ConfigError(f"{where}.name", name, remedy)
    source = options.get("source")
    if source is not None and _address(source, f"{where}.source").version != address.version:
        remedy = f"give one of the family of the peer's address, {address}"
        raise ConfigError(f"{where}.source", source, remedy)
    multihop, med = options.get("multihop"), options.get("med")
    return {
        "name": name,
        "address": str(address),
        "asn": _asn(options.get("asn"), f"{where}.asn"),
        "source": source,
        "password": _password(options.get("password"), f"{where}.password"),
        "multihop": None if multihop is None else _number(multihop, f"{where}.multihop", 1, 255),
        "med": None if med is None else _number(med, f"{where}.med", 0, _U32),
        "communities": _communities(options.get("communities"), f"{where}.communities"),
        "families": _families(options, address.version, where),
    }


def _families(
    options: Mapping[str, Any], version: int, where: str
) -> list[dict[str, int | str | None]]:
    """Which VIPs a peer gets, and by which next hop; None: the balancer's end of the session."""
    wanted = options.get("families") or [FAMILIES[version]]
    if isinstance(wanted, str) or not {*wanted} <= {*FAMILIES.values()}:
        raise ConfigError(f"{where}.families", wanted, "give a list of ipv4 and ipv6")
    found: list[dict[str, int | str | None]] = []
    for number, name in FAMILIES.items():
        option = f"next_hop{number}"
        hop = options.get(option)
        if hop is not None and _address(hop, f"{where}.{option}").version != number:
            raise ConfigError(f"{where}.{option}", hop, f"give an {name} address")
        if name not in wanted:
            continue
        if hop is None and number != version:
            remedy = (
                f"the session is {FAMILIES[version]}, so give the address of the balancer that "
                f"routers send these packets to, or a peer with an {name} address"
            )
            raise ConfigError(f"{where}.{option}", hop, remedy)
        found.append({"version": number, "next_hop": hop})
    return found


def _asn(given: object, where: str) -> int:
    found = _number(given, where, 1, _U32)
    if found in _RESERVED:
        raise ConfigError(where, given, "this number is reserved; give that of the network")
    return found


def _password(given: object, where: str) -> str | None:
    """It is not told what it is."""
    if given is None or given == "":
        return None
    if not isinstance(given, str) or not given.isascii() or not given.isprintable():
        raise ConfigError(where, "(hidden)", "give printable ASCII characters")
    if '"' in given:
        raise ConfigError(where, "(hidden)", "BIRD cannot take a password with a quotation mark")
    if len(given) > LONGEST_PASSWORD:
        remedy = f"it has {len(given)} bytes; TCP's MD5 signatures take {LONGEST_PASSWORD}"
        raise ConfigError(where, "(hidden)", remedy)
    return given


def _communities(given: object, where: str) -> list[list[int]]:
    """Each as two numbers, or, of a large one, three."""
    if given is None:
        return []
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise ConfigError(where, given, "give a list, as ['64512:100']")
    found = []
    for one in given:
        parts = str(one).split(":")
        most = _U16 if len(parts) == 2 else _U32
        if len(parts) not in (2, 3) or not all(
            part.isdecimal() and int(part) <= most for part in parts
        ):
            remedy = "give two numbers of 16 bits, as '64512:100', or three of 32 bits"
            raise ConfigError(where, one, remedy)
        found.append([int(part) for part in parts])
    return found


def _address(given: object, where: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(str(given).strip())
    except ValueError as e:
        raise ConfigError(where, given, "give an IPv4 or IPv6 address") from e


def _number(given: object, where: str, least: int, most: int) -> int:
    text = str(given).strip()
    if isinstance(given, bool) or not (text.isascii() and text.isdecimal()):
        raise ConfigError(where, given, f"give a whole number from {least} to {most}")
    if not least <= int(text) <= most:
        raise ConfigError(where, given, f"give a whole number from {least} to {most}")
    return int(text)


def _truth(given: object, where: str) -> bool:
    values = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    found = values.get(str(given).strip().lower())
    if found is None:
        raise ConfigError(where, given, "give true or false")
    return found


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"bgp": bgp}
