# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How it is found out whether a backend is healthy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .options import Option, table

TYPES = ("tcp", "http", "https", "dns", "udp", "command")
COSTS = {
    "tcp": 0.0002,
    "udp": 0.0003,
    "dns": 0.0003,
    "http": 0.0005,
    "https": 0.0015,
    "command": 0.004,
}
"""Seconds of a core that each type takes on a busy host, without what a command does itself."""
MOST_OF_A_CORE = 0.8
"""For all checks of a balancer: one process does them."""
VIAS = ("tunnel", "address")

QUERY_TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
}
"""Types of records that can be asked for, and their numbers."""

CHECK = table(
    Option(
        "type",
        "str",
        "`tcp` opens a connection, `http` and `https` ask for a page, `dns` for a name, `udp` "
        "sends a packet, and `command` runs a program",
        required=True,
        choices=TYPES,
    ),
    Option(
        "via",
        "str",
        "`tunnel`: to the service's address, encapsulated as clients' packets are, and to this "
        "backend alone; `address`: to the backend's own. If not given, `address` for a `command`, "
        "which knows no other, and else `tunnel`",
        choices=VIAS,
    ),
    Option(
        "port",
        "int",
        "the service's if not given",
        range=(1, 65535),
    ),
    Option(
        "interval",
        "float",
        "seconds from one check of a backend to the next, 0.1 to 3600; if not given, 5 for "
        "`https`, and else 2",
        range=(0.1, 3600),
    ),
    Option(
        "timeout",
        "float",
        "seconds that an answer may take, 0.01 to 60, and no more than the interval",
        default=1,
        range=(0.01, 60),
    ),
    Option(
        "rise",
        "int",
        "so many good checks on end make a backend healthy, 1 to 100",
        default=2,
        range=(1, 100),
    ),
    Option(
        "fall",
        "int",
        "so many bad checks on end make a backend unhealthy, 1 to 100",
        default=3,
        range=(1, 100),
    ),
    Option(
        "path",
        "str",
        "of `http` and `https`: what to ask for; `/` if not given",
    ),
    Option(
        "host",
        "str",
        "of `http` and `https`: the name to ask for, in the header Host and for TLS (SNI); if not "
        "given, the address that is asked",
    ),
    Option(
        "status",
        "list",
        "of `http` and `https`: the least and the most that is good; `[200, 299]` if not given",
    ),
    Option(
        "verify",
        "bool",
        "of `https`: the certificate must be valid for the host, and of an authority that the "
        "balancer's system trusts",
        default=False,
    ),
    Option(
        "query",
        "str",
        "of `dns`, required: name and type of a record, as in `www.example.com A`",
    ),
    Option(
        "send",
        "str",
        "of `tcp` and `udp`: what to send",
    ),
    Option(
        "expect",
        "str",
        "of all but `command`: text that must be in the answer. Without it, any answer of a `dns` "
        "server is good but SERVFAIL and REFUSED; and for `udp` silence is good, too, as long as "
        "no ICMP error comes",
    ),
    Option(
        "command",
        "list",
        "of `command`, required: the absolute path of a program, and its arguments, in which "
        "`{address}` and `{port}` stand for those of the backend. No shell reads them. It must end "
        "with 0 before the timeout; else the first line that it printed is shown as the reason",
    ),
)
"""Options; most types have no use for some of them."""


@dataclass(frozen=True)
class Check:
    """The check of a service's backends; what its type has no use for is None."""

    type: str
    via: str
    port: int | None
    """None: a command without one."""
    interval: float
    """Seconds, as is the timeout."""
    timeout: float = CHECK["timeout"].default
    rise: int = CHECK["rise"].default
    fall: int = CHECK["fall"].default
    path: str | None = None
    host: str | None = None
    status: tuple[int, int] | None = None
    verify: bool = CHECK["verify"].default
    query: str | None = None
    """Name in lower case and without a dot at its end, a space, and type."""
    send: str | None = None
    expect: str | None = None
    command: tuple[str, ...] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """As plain JSON types, without those that are not used."""
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: _plain(value) for name, value in values if value not in (None, False)}

    def differences(self, other: Check) -> list[str]:
        """The options in which another one differs."""
        names = (one.name for one in fields(self))
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [*value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
