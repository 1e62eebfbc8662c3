# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters as facts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.counters import (
    Count,
    Statistics,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.report import facts

CONFIG = parse_config(
    {
        "interface": "eth0",
        "services": [
            {
                "name": "web",
                "address": "2001:db8::10",
                "port": 443,
                "protocol": "tcp",
                "backends": [{"address": "10.0.0.1", "state": "drained"}, {"address": "fd00::1"}],
            },
            {"name": "dns", "address": "192.0.2.10", "port": 53, "protocol": "udp"},
        ],
    }
)


def statistics(packets: int) -> Statistics:
    """With so many packets of 100 bytes to the second backend of web, and 7 to one that is gone."""
    return Statistics(
        services={"web": Count(packets + 7, (packets + 7) * 100), "dns": Count()},
        backends={
            ("web", ip_address("10.0.0.1")): Count(),
            ("web", ip_address("fd00::1")): Count(packets, packets * 100),
        },
        drops={"fragment": 1},
        answers={"echo_reply": 2},
        flows={"hits": packets - 3, "misses": 3},
    )


def web(now: Statistics, before: Statistics | None = None, seconds: float = 0.0) -> dict[str, Any]:
    """Its facts; of its backends those of the second."""
    (found,) = facts(CONFIG, "native", now, before, seconds, "web")["services"]
    return {**found, "backends": found["backends"][1]}


def test_everything_is_there() -> None:
    found = facts(CONFIG, "native", statistics(5))
    assert [service["name"] for service in found.pop("services")] == ["dns", "web"]
    assert found == {
        "mode": "native",
        "drops": {"fragment": 1},
        "answers": {"echo_reply": 2},
        "flow_table": {"hits": 2, "misses": 3},
    }


def test_a_service_without_rates() -> None:
    assert web(statistics(5)) == {
        "name": "web",
        "address": "2001:db8::10",
        "port": 443,
        "protocol": "tcp",
        "packets": 12,
        "bytes": 1200,
        "backends": {
            "address": "fd00::1",
            "weight": 1,
            "state": "enabled",
            "held": False,
            "packets": 5,
            "bytes": 500,
        },
    }


def test_rates() -> None:
    found = web(statistics(50), statistics(5), 2.0)
    for rates in (found, found["backends"]):
        assert rates["packets_per_second"] == 22.5
        assert rates["bits_per_second"] == 18000.0


def test_a_counter_that_started_anew_has_no_negative_rate() -> None:
    found = web(statistics(5), statistics(50), 2.0)
    assert found["packets_per_second"] == found["backends"]["bits_per_second"] == 0
