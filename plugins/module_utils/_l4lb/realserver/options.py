# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a real server: what they are called, and what they may be.

This is the only place that says so; tests/unit/test_real_server_options.py holds module, role and
README against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..model import values
from ..model.config import Network
from ..model.options import BACKEND, CONFIG, PRESENCE, SERVICE, Option
from .desired import Desired, Entry, order

WAYS = ("auto", "kernel", "bpf")


def _table(*options: Option) -> Mapping[str, Option]:
    return {option.name: option for option in options}


OPTIONS = _table(
    Option(
        "decapsulation",
        "str",
        "`kernel`: its tunnel devices; `bpf`: an XDP program; `auto`: the kernel's wherever it has "
        "the modules",
        default="auto",
        choices=WAYS,
    ),
    Option(
        "interface",
        "str",
        "where the XDP program unpacks; the one that has the server's address if not given",
    ),
    Option(
        "balancers",
        "list",
        "addresses and prefixes that tunnels come from; nobody else is unpacked for by the XDP "
        "program, or let in by the firewall",
        default=(),
    ),
    Option(
        "firewall",
        "bool",
        "let only balancers into the kernel's tunnels, and out of these only what is for a VIP, by "
        "a table of nftables",
        default=False,
    ),
    Option(
        "limit_segments",
        "bool",
        "have clients send segments that fit into the tunnel, by a table of nftables",
        default=True,
    ),
)

RUN = _table(
    Option(
        "state",
        "str",
        "`present`, or `absent`: remove all of it",
        default="present",
        choices=PRESENCE,
    ),
    Option(
        "keep",
        "bool",
        "keep what was set up before and is no longer wanted, for packets that are still sent",
        default=False,
    ),
    Option(
        "verify",
        "bool",
        "send a probe through each tunnel, which must reach a socket at the VIP",
        default=True,
    ),
)
"""What is asked of a run."""

ENTRY = _table(
    Option("address", "str", "the VIP", required=True),
    Option("backend", "str", "the server's own address, which packets are sent to", required=True),
    Option(
        "encapsulation",
        "str",
        "how they are sent",
        default=SERVICE["encapsulation"].default,
        choices=SERVICE["encapsulation"].choices,
    ),
    Option(
        "gue_port",
        "int",
        "UDP port of GUE",
        default=CONFIG["gue_port"].default,
        range=CONFIG["gue_port"].range,
    ),
    Option("mtu", "int", "of the path to the server", range=BACKEND["mtu"].range),
)


def parse_desired(options: Mapping[str, Any]) -> Desired:
    """What somebody wrote, or what is saved, in its canonical form. Raises ConfigError."""
    values.known(options, {**OPTIONS, "services": OPTIONS["balancers"]}, "")
    given = values.listed(options.get("services"), "services", "services")
    interface = options.get("interface")
    return Desired(
        services=tuple(
            sorted({_entry(one, f"services[{at}]") for at, one in enumerate(given)}, key=order)
        ),
        balancers=_balancers(options.get("balancers")),
        decapsulation=values.choice(options, OPTIONS["decapsulation"], ""),
        interface=values.interface_name(interface) if interface else None,
        firewall=values.boolean(options, OPTIONS["firewall"], ""),
        limit_segments=values.boolean(options, OPTIONS["limit_segments"], ""),
    )


def _entry(raw: object, where: str) -> Entry:
    options = values.mapping(raw, where)
    values.known(options, ENTRY, where)
    vip = values.unicast_address(options.get("address"), f"{where}.address")
    backend = values.unicast_address(options.get("backend"), f"{where}.backend")
    if vip == backend:
        raise ConfigError(f"{where}.backend", str(backend), "the VIP is not the server's own")
    return Entry(
        vip,
        backend,
        values.choice(options, ENTRY["encapsulation"], where),
        values.integer(options, ENTRY["gue_port"], where),
        values.optional(options, "mtu", where, values.mtu) or 0,
    )


def _balancers(raw: object) -> tuple[Network, ...]:
    given = values.listed(raw, "balancers", "addresses and prefixes")
    found = {_network(one, f"balancers[{at}]") for at, one in enumerate(given)}
    return tuple(sorted(found, key=lambda one: (one.version, one)))


def _network(value: object, where: str) -> Network:
    try:
        return ip_network(str(value).strip())
    except ValueError:
        remedy = "not an IP address or prefix, as in 203.0.113.11 or 2001:db8:2::/64"
        raise ConfigError(where, value, remedy) from None


class Request(NamedTuple):
    """A desired state, and what is asked of a run besides."""

    desired: Desired
    keep: bool
    verify: bool


def parse_request(options: Mapping[str, Any]) -> Request:
    """The options of the module. Raises ConfigError."""
    given = {name: value for name, value in options.items() if name not in RUN}
    desired = parse_desired(given)
    if values.choice(options, RUN["state"], "") == "absent":
        desired = Desired()
    elif options.get("services") is None:
        raise ConfigError("services", None, "required, unless the state is absent; give a list")
    keep, verify = (values.boolean(options, RUN[name], "") for name in ("keep", "verify"))
    return Request(desired, keep, verify)
