# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders that would leave a service without a backend that takes new flows, beside those that
would not."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import LastBackendError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import Order

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def service(name: str, port: int, **backends: dict[str, Any]) -> dict[str, Any]:
    """backends: by a letter."""
    there = {"name": name, "address": "192.0.2.10", "port": port, "protocol": "tcp"}
    addresses = {"a": A, "b": B, "c": C}
    listed = [{"address": addresses[name], **options} for name, options in backends.items()]
    return {**there, "backends": listed}


CONFIG = parse_config(
    {
        "interface": "eth0",
        "services": [
            service("web", 80, a={}, b={}),
            service("api", 81, b={}, c={"weight": 0}),
            service("dns", 82, c={}),
            service("tls", 83, b={"state": "disabled"}, c={}),
            service("off", 84, a={"state": "drained"}),
        ],
    }
)

ORDERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "another is left": ({"address": A, "state": "drained"}, None),
    "drained": ({"address": B, "state": "drained"}, "api"),
    "disabled": ({"address": B, "state": "disabled"}, "api"),
    "weight 0": ({"address": B, "weight": 0}, "api"),
    "enabled with weight 0": ({"address": B, "state": "enabled", "weight": 0}, "api"),
    "another weight": ({"address": B, "weight": 3}, None),
    "in a service that has another": ({"address": B, "state": "drained", "service": "web"}, None),
    "in several": ({"address": C, "state": "drained"}, "dns, tls"),
    "in one of several": ({"address": C, "state": "drained", "service": "tls"}, "tls"),
    "nobody took them before": ({"address": A, "state": "disabled", "service": "off"}, None),
    "nothing to change": ({"address": C, "wait": 1.0}, None),
}


@pytest.mark.parametrize(("options", "services"), ORDERS.values(), ids=ORDERS)
def test_the_last_backend(options: dict[str, Any], services: str | None) -> None:
    address = options["address"]
    order = {**options, "address": ip_address(address)}
    forced = Order(**order, force=True).edit(CONFIG)
    if services is None:
        assert Order(**order).edit(CONFIG) == forced
        return
    with pytest.raises(LastBackendError) as caught:
        Order(**order).edit(CONFIG)
    assert str(caught.value) == (
        f"{services} on eth0: {address} is the last backend that takes new flows, which would be "
        "dropped; enable another one first, or set force: true"
    )
