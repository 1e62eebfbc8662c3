# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus makes of the metrics, of alerts and the dashboard."""

from __future__ import annotations

import json
import re
import time

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.families import FAMILIES

from lab.build import start_services
from lab.host import CHECKOUT
from tests.fleet.monitoring.conftest import CHECK, NAME, Monitored
from tests.fleet.rig.clients import answers
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.hosts import python
from tests.fleet.rig.readme import blocks
from tests.fleet.rig.services import VIP, WEB
from tests.fleet.there.dawdling import dawdle

COUNTER = f"""
table ip sent {{
    counter seen {{ }}
    chain out {{ type filter hook output priority 0; ip daddr {VIP} counter name seen; }}
}}
"""
"""What a client sends to the VIP, by its own count."""
SERVICE = "l4lb_service_packets_total"
BACKEND = "l4lb_backend_packets_total"


def test_prometheus_takes_all_of_it(monitored: Monitored) -> None:
    """It prefers OpenMetrics, of which it takes all or nothing."""
    (target,) = monitored.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    names = set(monitored.ask("label/__name__/values"))
    missing = {one.name for one in FAMILIES if not {one.sample, f"{one.name}_sum"} & names}
    assert missing == {"l4lb_backend_check_failures"}, "no check has failed yet"
    assert monitored.values("l4lb_service_announced") == [1]
    status = json.loads(l4lb(monitored.host, "status", "--json"))["eth0"]
    (configuration,) = monitored.query("l4lb_configuration_info")
    assert configuration["metric"]["digest"] == status["digest"]
    (found,) = monitored.query(SERVICE)
    assert found["metric"]["service"] == NAME
    assert "# EOF" in monitored.scrape("-H", "Accept: application/openmetrics-text")
    assert "# EOF" not in monitored.scrape()


def test_packets_agree_with_the_client_s_own_count(monitored: Monitored) -> None:
    client = monitored.lab.host("client")
    client.run(["nft", "-f", "-"], input=COUNTER)

    def sent() -> int:
        listed = json.loads(client.run(["nft", "-j", "list", "counters"]).stdout)["nftables"]
        (found,) = (one["counter"]["packets"] for one in listed if "counter" in one)
        return int(found)

    monitored.after_a_scrape()
    (before,) = monitored.values(SERVICE)
    began = time.time()
    assert sum(answers(monitored.lab, 50).values()) == 50
    monitored.until(lambda: monitored.values(SERVICE) == [before + sent()])
    assert sent() >= 200
    assert monitored.values(f"sum({BACKEND})") == [before + sent()]
    # Between scrapes Prometheus has to guess, so a rate is not exact, as the counter is.
    seconds = int(time.time() - began) + 5
    (rate,) = monitored.values(f"rate({SERVICE}[{seconds}s])")
    assert rate * seconds == pytest.approx(sent(), rel=0.5)
    client.run(["nft", "delete table ip sent"])


def test_an_alert_fires_when_a_backend_dies_and_resolves_when_it_is_back(
    monitored: Monitored,
) -> None:
    web2 = monitored.lab.host("web2")
    alert = ("L4lbBackendDown", WEB["web2"])
    assert alert not in monitored.firing()
    web2.stop("nginx")
    monitored.until(lambda: alert in monitored.firing())
    failures = f'sum(l4lb_backend_check_failures_total{{backend="{WEB["web2"]}"}})'
    assert monitored.values(failures) >= [3]
    start_services(web2, ["nginx"])
    monitored.until(lambda: alert not in monitored.firing())


def test_strangers_do_no_harm_to_checks(monitored: Monitored) -> None:
    """1,000 connections that say nothing, and a request of 100 MB."""
    made = "l4lb_service_check_duration_seconds_count"

    def checks() -> tuple[int, ...]:
        text = monitored.scrape()
        count = sum(map(int, re.findall(rf"^{made}{{.*}} (\d+)$", text, re.MULTILINE)))
        late = re.findall(r'_service_check_failures_total{.*,reason="\w+"} (\d+)$', text, re.M)
        return count, sum(map(int, late))

    began, (before, failed) = time.monotonic(), checks()
    assert python(monitored.host, dawdle) == {"opened": 1000, "status": 405}
    after, failed_then = checks()
    assert failed_then == failed
    expected = (time.monotonic() - began) / CHECK["interval"] * len(WEB)
    assert after - before > expected / 2


def test_it_listens_nowhere_else(monitored: Monitored) -> None:
    """Of the balancer's other addresses none answers."""
    for address in ("203.0.113.11", "127.0.0.2"):
        where = monitored.lab.host("router" if address[:3] == "203" else "lb1")
        done = where.run(["curl", "-sS", f"http://{address}:9942/metrics"], check=False)
        assert done.returncode == 7, "refused"


def test_the_command_says_the_same(monitored: Monitored) -> None:
    l4lb(monitored.host, "metrics", "--output", "/run/l4lb.prom")
    written = monitored.host.run(["cat", "/run/l4lb.prom"]).stdout
    mode = monitored.host.run(["stat", "-c", "%a", "/run/l4lb.prom"]).stdout
    assert mode == "644\n"
    mine, of_agent = (
        {line for line in text.splitlines() if line[:1] != "#" and "agent" not in line}
        for text in (written, monitored.scrape())
    )
    known_to_the_agent = {line for line in of_agent if "_check_" in line}
    assert mine == of_agent - known_to_the_agent
    assert monitored.host.run(["ls", "-A", "/run"]).stdout.count(".l4lb.") == 0
    told = l4lb(monitored.host, "metrics", "--output", "/nowhere/l4lb.prom", code=1)
    assert "--output: '/nowhere/l4lb.prom': No such file or directory; give a file in" in told


def test_the_file_for_node_exporter_as_the_page_has_it(monitored: Monitored) -> None:
    page = (CHECKOUT / "docs/metrics.md").read_text()
    (script,) = blocks("sh", page)
    monitored.host.run(["sh", "-ec", script])
    written = "/var/lib/prometheus/node-exporter/l4lb.prom"
    done = monitored.host.run(["sh", "-c", f"promtool check metrics <{written} 2>&1"])
    assert done.stdout == ""


def test_every_query_of_the_dashboard(monitored: Monitored) -> None:
    board = json.loads((CHECKOUT / "files/monitoring/dashboard.json").read_text())
    queries = re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', json.dumps(board))
    assert len(queries) > 15
    for quoted in queries:
        query = json.loads(f'"{quoted}"')
        for name, value in {"$__rate_interval": "10s", "$job": "l4lb"}.items():
            query = query.replace(name, value)
        query = re.sub(r"\$\w+", ".*", query)
        assert monitored.query(query), query
