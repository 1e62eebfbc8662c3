# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of options: what somebody wrote becomes what is meant, or one ConfigError.

YAML, templates, the command line and INI inventories write the same value in different ways: a
number as text, a truth as a word, a MAC address as a number of base 60. What can only mean one
thing is taken; else the error says what to write.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface
from typing import Any

from ..errors import ConfigError
from .config import Address, Network
from .options import BACKEND, CONFIG, MAX_NAME_BYTES, MAX_OWN_MACS, Option

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}
"""As text that came from a template, the command line or an INI inventory."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACE = re.compile(r"[^\s/:]{1,127}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_MOST_DIGITS = 32
"""Of a number that is text, leading zeros included: none that fits has as many."""
_BASE, _PAIRS = 60, 6


# Collections


def known(options: Mapping[str, Any], table: Mapping[str, Option], where: str) -> None:
    """All options are in the table. Raises ConfigError."""
    for option, value in options.items():
        if option in table:
            continue
        close = difflib.get_close_matches(str(option), table)
        remedy = f"did you mean {' or '.join(close)}?" if close else f"use {', '.join(table)}"
        if option == "backend_group":
            remedy = "groups are known to the role xdp.l4lb.l4lb alone; list the backends"
        shown = "not shown" if "hash_seed" in close else value
        raise ConfigError(join(where, str(option)), shown, f"no such option; {remedy}")


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """Options. Raises ConfigError."""
    if not isinstance(value, Mapping):
        raise ConfigError(where, value, "give a mapping of options")
    return value


def listed(value: object, where: str, what: str = "") -> list[Any]:
    """A list of `what`. Raises ConfigError."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        remedy = "give a list"
        if isinstance(value, str) and what:
            remedy += f" of {what}; on a command line, write it as JSON"
        raise ConfigError(where, value, remedy)
    return list(value)


def join(where: str, option: str) -> str:
    """The name of an option below another."""
    return f"{where}.{option}" if where else option


# Plain values


def choice(options: Mapping[str, Any], option: Option, at: str) -> str:
    """One of a few words. Raises ConfigError."""
    value = options.get(option.name)
    if value is None:
        value = option.default
    if value not in option.choices:
        raise ConfigError(
            join(at, option.name), value, f"choose one of {', '.join(option.choices)}"
        )
    return str(value)


def integer(options: Mapping[str, Any], option: Option, at: str) -> int:
    """A whole number in the range of the option. Raises ConfigError."""
    value = options.get(option.name)
    return whole(option.default if value is None else value, join(at, option.name), option)


def whole(value: object, where: str, option: Option) -> int:
    """Likewise, one that is given."""
    low, high = option.range or (0, 0)
    number = value
    if isinstance(value, str) and value.isascii() and value.strip().isdecimal():
        digits = value.strip()
        number = int(digits) if len(digits) <= _MOST_DIGITS else -1
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise ConfigError(where, value, f"give a whole number from {low} to {high}")
    return number


def seconds(value: object, where: str, option: Option) -> float:
    """A number in the range of the option, which may be a fraction. Raises ConfigError."""
    low, high = option.range or (0, 0)
    given = value
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        given = float(value)
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not low <= given <= high:
        raise ConfigError(where, value, f"give a number of seconds from {low} to {high}")
    return float(given)


def seed(options: Mapping[str, Any]) -> int:
    """A secret, which no error shows."""
    try:
        return integer(options, CONFIG["hash_seed"], "")
    except ConfigError as e:  # perhaps it is nearly right
        raise ConfigError(e.option, "not shown", e.remedy) from None


def weight(value: object, where: str) -> int:
    """Of a backend. Raises ConfigError."""
    return whole(value, where, BACKEND["weight"])


def mtu(value: object, where: str) -> int:
    """Of a path to a backend. Raises ConfigError."""
    return whole(value, where, BACKEND["mtu"])


def optional(options: Mapping[str, Any], option: str, where: str, parse: Any) -> Any:
    """What `parse` makes of a value, if there is one."""
    value = options.get(option)
    return None if value in (None, "") else parse(value, join(where, option))


def boolean(options: Mapping[str, Any], option: Option, at: str) -> bool:
    """Raises ConfigError."""
    value = options.get(option.name)
    if value is None:
        value = option.default
    if isinstance(value, str):
        value = _BOOLEANS.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise ConfigError(join(at, option.name), value, "give true or false")
    return value


# Names


def service_name(value: object, where: str) -> str:
    """That statistics are labelled with. Raises ConfigError."""
    name = value.strip() if isinstance(value, str) else ""
    if not name:
        remedy = "give the service a name; it labels statistics"
        if value is not None and not isinstance(value, str):
            remedy = "YAML does not take this for text; give the service a name in quotes"
        raise ConfigError(where, value, remedy)
    if not name.isprintable() or len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise ConfigError(where, value, f"use up to {MAX_NAME_BYTES} bytes of printable text")
    return name


def interface_name(value: object) -> str:
    """Check a name of a network interface, which may be an alternative one (1 to 127 bytes)."""
    if not isinstance(value, str) or not value:
        remedy = "give the interface that receives the packets"
        if isinstance(value, (int, float)):
            remedy += ", in quotes"
        raise ConfigError("interface", value, remedy)
    fits = _INTERFACE.fullmatch(value) and value.isprintable() and len(value.encode()) <= 127
    if not fits or value in (".", ".."):
        raise ConfigError("interface", value, "not an interface name (see ip link)")
    return value


# Addresses


def unicast_address(value: object, where: str) -> Address:
    """Check an address of a service or backend. Raises ConfigError, which names `where`."""
    try:
        if not isinstance(value, str) or "%" in value:  # a zone would be lost
            raise ValueError
        address = ip_address(value.strip())
    except ValueError:
        raise ConfigError(
            where, value, "not an IP address, as in 192.0.2.10 or 2001:db8::10"
        ) from None
    _check_unicast(address, value, where)
    if isinstance(address, IPv6Address) and (address.is_link_local or address.ipv4_mapped):
        raise ConfigError(where, value, "neither link-local nor IPv4-mapped addresses are balanced")
    return address


def _check_unicast(address: Address, value: object, where: str) -> None:
    broadcast = address == IPv4Address("255.255.255.255")
    if address.is_multicast or address.is_unspecified or broadcast:
        raise ConfigError(where, value, "not a unicast address")


def source4(value: object, where: str) -> Network:
    """Where tunnels over IPv4 come from. Raises ConfigError."""
    return _source(value, where, IPv4Network, "IPv4", "192.0.2.1 or 192.0.2.0/28")


def source6(value: object, where: str) -> Network:
    """Where tunnels over IPv6 come from. Raises ConfigError."""
    return _source(value, where, IPv6Network, "IPv6", "2001:db8::1 or 2001:db8::/112")


def _source(value: object, where: str, kind: type, family: str, example: str) -> Network:
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        given = ip_interface(value.strip())
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


def mac(value: object, where: str) -> str:
    """In its canonical form. Raises ConfigError."""
    text = value.strip().lower().replace("-", ":") if isinstance(value, str) else ""
    if not _MAC.fullmatch(text):
        written = _sexagesimal(value)
        remedy = "not a MAC address, as in 52:54:00:00:00:0b"
        if written:
            remedy = f"YAML took the MAC address for a number; write '{written}', with quotes"
        raise ConfigError(where, value, remedy)
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise ConfigError(where, value, "not a unicast MAC address")
    return text


def _sexagesimal(value: object) -> str | None:
    """The MAC address that YAML took for a number of base 60; None if it was none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    pairs = []
    for _each in range(_PAIRS - 1):
        value, pair = divmod(value, _BASE)
        pairs.append(pair)
    pairs.append(value)
    return ":".join(f"{pair:02}" for pair in reversed(pairs)) if 0 < value < 100 else None


def macs(value: object, where: str) -> tuple[str, ...]:
    """Each once, in order. As text, as on the command line, they have commas between them."""
    if isinstance(value, str):
        value = [one for one in value.split(",") if one.strip()]
    found = {mac(one, f"{where}[{index}]") for index, one in enumerate(listed(value, where))}
    if len(found) > MAX_OWN_MACS:
        raise ConfigError(where, f"{len(found)} addresses", f"at most {MAX_OWN_MACS} fit")
    return tuple(sorted(found))
