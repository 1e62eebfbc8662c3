# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the agent can be asked: `metrics_listen`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from ..errors import ConfigError
from .config import Address

_EXAMPLES = "give an address and a port from 1024 on, as in 127.0.0.1:9942 or [::1]:9942"
_PORTS = range(1024, 65536)
"""The agent has no right to lower ones."""


@dataclass(frozen=True)
class Listen:
    """An address, which may be 0.0.0.0 or [::] for all of a family, and a port."""

    address: Address
    port: int
    option: str

    def __str__(self) -> str:
        shown = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{shown}:{self.port}"

    @property
    def remedy(self) -> str:
        """What to do if that cannot be had."""
        return f"set {self.option} to an address of the host and a port that is free (ss -ltnp)"


def parse_listen(text: object, option: str) -> Listen | None:
    """None if it is empty: nowhere. Raises ConfigError, which names the option."""
    if text == "":
        return None
    host, _colon, port = str(text).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
        if bracketed == (address.version == 6) and port.isdecimal() and int(port) in _PORTS:
            return Listen(address, int(port), option)
    except ValueError:
        pass
    raise ConfigError(option, text, f"{_EXAMPLES}; empty is nowhere")
