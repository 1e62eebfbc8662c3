# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders for single backends, and what they leave."""

from __future__ import annotations

from typing import Any

from lab.host import Host
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import ECHO, WEB, service
from tests.fleet.there import library, looking


def backend(server: int = 2, check: bool = False, **options: Any) -> dict[str, Any]:
    """A task that runs the module on the address of a web server."""
    address = {"address": WEB[f"web{server}"]}
    return {"xdp.l4lb.l4lb_backend": {**address, **options}, "check_mode": check}


def echoing(*servers: int | dict[str, Any], **options: Any) -> dict[str, Any]:
    """A service of lab/servers/echo.py, backends as of `service`."""
    return service(*servers, name="echo", port=ECHO, protocol="udp", **options)


def states(host: Host) -> dict[str, str]:
    """State by service and server, with a * if held and the weight if it is not 1."""
    found: dict[str, str] = python(host, looking.states, interface="eth0")
    return found


def order(host: Host, *orders: dict[str, Any]) -> Any:
    """Carry out orders in one process; the outcome of the last."""
    return python(host, library.operated, orders=orders)
