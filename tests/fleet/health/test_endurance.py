# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""As many changes of health as a site has in hours, and deploys meanwhile: the agent does not grow,
and what it has learned is what the maps do."""

from __future__ import annotations

import json
from typing import Any

from lab.build import await_services, start_services
from tests.fleet.health.conftest import DEPLOYED, FLOWS, Balancer
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.services import WEB

MANY = 300
ADDRESSES = [f"10.99.{number >> 8}.{number & 255}" for number in range(1, MANY + 1)]
CYCLES = 4
MOST_GROWTH = 8 << 10
"""Kilobytes; a tenth of a kilobyte for each change would be more."""


def config(**options: Any) -> dict[str, Any]:
    """With services of very many servers, all of which are one."""
    check = {"type": "tcp", "via": "address", "interval": 0.5, "timeout": 0.4, "fall": 1, "rise": 1}
    backends = [{"address": address} for address in ADDRESSES]
    many = {**FLOWS, "check": {**check, "port": 80}, "backends": backends}
    services = [{**many, "name": f"many{port}", "port": port} for port in (1001, 1002)]
    return {**DEPLOYED, "services": [*DEPLOYED["services"], *services], **options}


def test_hours_of_flaps_in_a_minute(balancer: Balancer) -> None:
    host, web1 = balancer.host, balancer.lab.host("web1")
    agent = host.running("agent")

    def memory() -> int:
        """Kilobytes that the agent has."""
        text = host.run(["cat", f"/proc/{agent}/status"]).stdout
        (line,) = (line for line in text.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1])

    def changed() -> int:
        """How often the health of any backend has changed so far."""
        return host.log("agent").read_text().count("many100")

    def until_all(unhealthy: bool) -> None:
        def found() -> bool:
            health = balancer.all_health()
            return all(
                bool(reason) == unhealthy
                for name in ("many1001", "many1002")
                for reason in health[name].values()
            )

        balancer.until(found)

    web1.ip([f"address add {address}/32 dev lo" for address in ADDRESSES])
    host.ip([f"route add 10.99.0.0/16 via {WEB['web1']}"])
    l4lb(host, "apply", "-", given=config())
    begun, sizes = changed(), []
    for cycle in range(CYCLES):
        web1.stop("nginx")
        until_all(unhealthy=True)
        if cycle == 1:
            l4lb(host, "apply", "-", given=config(udp_timeout=31))
        if cycle == 2:
            l4lb(host, "apply", "-", given=config(flow_table_size=4096))  # another program
        start_services(web1, ["nginx"])
        await_services(web1)
        until_all(unhealthy=False)
        sizes.append(memory())
    assert changed() - begun >= CYCLES * 2 * 2 * MANY
    assert sizes[-1] - sizes[0] < MOST_GROWTH, sizes
    status = json.loads(l4lb(host, "status", "--json"))
    assert not status["eth0"]["outdated"]
    l4lb(host, "apply", "-", given=DEPLOYED)
    host.ip(["route delete 10.99.0.0/16"])
    web1.ip([f"address delete {address}/32 dev lo" for address in ADDRESSES])
