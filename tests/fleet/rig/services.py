# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the laboratory's web servers, as a user writes them."""

from __future__ import annotations

import random
from typing import Any

VIP, OTHER_VIP = "192.0.2.10", "192.0.2.129"
WEB = {f"web{index}": f"203.0.113.2{index}" for index in range(1, 5)}
ROUTED = "10.50.0.1"
"""An address that lb1 routes to a server, and does not balance."""
ECHO = 7
"""The port of lab/servers/echo.py."""


def wanted(*services: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A configuration."""
    return {"interface": "eth0", "services": list(services), **options}


def service(*backends: int | dict[str, Any], **options: Any) -> dict[str, Any]:
    """A service on the VIP; backends by the number of the web server."""
    listed = [{"address": WEB[f"web{one}"]} if isinstance(one, int) else one for one in backends]
    defaults = {"name": "web", "address": VIP, "port": 80, "protocol": "tcp"}
    return {**defaults, "backends": listed, **options}


def echo(
    protocol: str, *backends: str, vip: str = VIP, **options: dict[str, Any] | Any
) -> dict[str, Any]:
    """The echo service; a backend's options by its name."""
    listed = [{"address": WEB[name], **options.pop(name, {})} for name in backends]
    return {
        "name": protocol,
        "address": vip,
        "port": ECHO,
        "protocol": protocol,
        "backends": listed,
        **options,
    }


def echoes(*backends: str, **options: Any) -> list[dict[str, Any]]:
    """Over both protocols."""
    return [echo(protocol, *backends, **options) for protocol in ("tcp", "udp")]


def second(*backends: str, **options: Any) -> dict[str, Any]:
    """The echo service of another balancer of the host."""
    return {**wanted(*echoes(*backends, vip=OTHER_VIP, **options)), "interface": "eth1"}


def background(chance: random.Random, count: int) -> dict[str, Any]:
    """A service without traffic, whose backends go on changing."""
    chosen = chance.sample(range(1, 255), count)
    backends = [
        {"address": f"10.9.0.{n}", "mac": "02:00:00:00:00:09", "weight": chance.randrange(256)}
        for n in chosen
    ]
    return {
        "name": "background",
        "address": VIP,
        "port": 9,
        "protocol": "tcp",
        "scheduler": "jhash",
        "backends": backends,
    }
