# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer whose agent a Prometheus asks, in the balancer's own namespaces."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import CHECKOUT
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import changes
from tests.fleet.rig.services import VIP, WEB

LISTEN, PROMETHEUS = "127.0.0.1:9942", "127.0.0.1:9090"
PATIENCE = 60.0
CHECK: dict[str, Any] = {
    "type": "tcp",
    "via": "address",
    "interval": 0.5,
    "timeout": 0.5,
    "rise": 1,
}
NAME = 'web "<b>" \\n ü'
"""As strange as a name may be that all shall show as it is."""
DEPLOYED: dict[str, Any] = {
    "interface": "eth0",
    "announce": True,
    "services": [
        {
            "name": NAME,
            "address": VIP,
            "port": 80,
            "protocol": "tcp",
            "check": CHECK,
            "backends": [{"address": address} for address in WEB.values()],
        }
    ],
}
CONFIGURATION = {
    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
    "rule_files": ["/tmp/alerts.yml"],  # noqa: S108 (of the host alone)
    "scrape_configs": [{"job_name": "l4lb", "static_configs": [{"targets": [LISTEN]}]}],
}


class Monitored:
    """lb1, its agent, and Prometheus."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.host = lab, lab.host("lb1")

    def start(self) -> None:
        self.host.start("agent", ["l4lb", "agent", "--listen", LISTEN])
        rules = yaml.safe_load((CHECKOUT / "files/monitoring/alerts.yml").read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)  # else a test would take as long
        for name, content in {"alerts": rules, "prometheus": CONFIGURATION}.items():
            text = yaml.safe_dump(content, allow_unicode=True)
            self.host.run(["tee", f"/tmp/{name}.yml"], input=text)  # noqa: S108
        places = ["--config.file=/tmp/prometheus.yml", "--storage.tsdb.path=/tmp/prometheus"]
        listen = f"--web.listen-address={PROMETHEUS}"
        self.host.start("prometheus", ["prometheus", *places, listen, "--log.level=warn"])
        self.until(lambda: self.values('up{job="l4lb"}') == [1])

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            logs = (self.host.log(name).read_text() for name in ("agent", "prometheus"))
            assert time.monotonic() < deadline, "\n".join(logs)
            time.sleep(0.2)

    def scrape(self, *arguments: str, path: str = "/metrics") -> str:
        """What the agent answers."""
        url = f"http://{LISTEN}{path}"
        return self.host.run(["curl", "-sS", "--max-time", "20", *arguments, url]).stdout

    def ask(self, path: str, **parameters: str) -> Any:
        """What the API of Prometheus answers; None while it does not."""
        given = [
            word
            for name, value in parameters.items()
            for word in ("--data-urlencode", f"{name}={value}")
        ]
        url = f"http://{PROMETHEUS}/api/v1/{path}"
        command = ["curl", "-sS", "--get", "--max-time", "20", *given, url]
        done = self.host.run(command, check=False)
        if done.returncode or not done.stdout.startswith("{"):  # it has not begun
            return None
        answer = json.loads(done.stdout)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, query: str) -> list[dict[str, Any]]:
        """The samples of a query, each with its labels under "metric" and its "value"."""
        data = self.ask("query", query=query)
        found: list[dict[str, Any]] = data["result"] if data else []
        return found

    def values(self, query: str) -> list[float]:
        return [float(one["value"][1]) for one in self.query(query)]

    def after_a_scrape(self) -> None:
        """Until Prometheus has what is counted by now."""
        now = time.time()
        self.until(lambda: self.values('timestamp(up{job="l4lb"})') > [now + 0.1])

    def firing(self) -> set[tuple[str, str]]:
        """Alerts, and the backends that they are about."""
        alerts = self.ask("alerts")["alerts"]
        labels = (one["labels"] for one in alerts if one["state"] == "firing")
        return {(one["alertname"], one.get("backend", "")) for one in labels}


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    if not shutil.which("prometheus"):
        pytest.skip("cannot run here: there is no prometheus")
    with laboratory("mo") as lab:
        yield lab


@pytest.fixture(scope="session")
def monitored(lab: Lab) -> Iterator[Monitored]:
    assert changes(lab, "deploy", **DEPLOYED) == 4
    found = Monitored(lab)
    found.start()
    yield found
    found.host.stop("prometheus")
    found.host.stop("agent")
    assert "Traceback" not in found.host.log("agent").read_text()
    l4lb(found.host, "remove", "eth0")
