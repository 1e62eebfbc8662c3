# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts, the dashboard and the page about metrics; what Prometheus makes of them is tested in
tests/fleet/monitoring."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import DROPS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.metrics.families import (
    FAILURES,
    FAMILIES,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.listen import parse_listen

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = CHECKOUT / "files/monitoring"
ALERTS, DASHBOARD = SHIPPED / "alerts.yml", SHIPPED / "dashboard.json"
CASES = CHECKOUT / "tests/monitoring/alerts_test.yml"
PAGE = (CHECKOUT / "docs/metrics.md").read_text()
GALAXY = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
BOARD = json.loads(DASHBOARD.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="cannot run here: there is no promtool"
)


@needs_promtool
@pytest.mark.parametrize(("verb", "path"), [("check", ALERTS), ("test", CASES)])
def test_promtool(verb: str, path: Path) -> None:
    done = subprocess.run(
        ["promtool", verb, "rules", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_each_alert_has_a_case_in_which_it_fires() -> None:
    cases = CASES.read_text()
    for rule in RULES:
        name = rule["alert"]
        fires = rf'alertname="{name}"|alertname: {name}\n +eval_time: \S+\n +exp_alerts:\n'
        assert re.search(fires, cases), name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_what_is_to_be_done(rule: dict[str, Any]) -> None:
    page, _hash, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == f"{GALAXY['repository']}/docs/metrics.md"
    assert anchor == rule["alert"].lower()
    assert f"\n### {rule['alert']}\n" in PAGE
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}


def test_the_page_has_no_other_alerts() -> None:
    assert re.findall(r"^### (L4lb\w+)$", PAGE, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_each_reason_of_a_drop_has_one_alert() -> None:
    listed = [
        reason
        for rule in RULES
        for found in re.findall(r'l4lb_drops_total{reason=~"([^"]*)"}', rule["expr"])
        for reason in found.split("|")
    ]
    assert sorted(listed) == sorted(DROPS)


SAMPLES = {
    name
    for one in FAMILIES
    for name in (
        [f"{one.name}_sum", f"{one.name}_count"] if one.type == "summary" else [one.sample]
    )
}


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD, CASES], ids=lambda path: path.name)
def test_only_metrics_that_there_are(path: Path) -> None:
    assert set(re.findall(r"\bl4lb_[a-z_]+", path.read_text())) - SAMPLES <= {
        "l4lb_metrics_per_backend"  # of which a comment speaks
    }


def test_every_metric_is_on_the_page() -> None:
    """And with the words that Prometheus has."""
    table = PAGE.partition("<!-- metrics -->\n")[2].partition("<!-- end -->")[0]
    lines = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for one in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.sample}` | {one.type} | {labels} | {one.help} |")
    assert table == "".join(f"{line}\n" for line in lines)


def test_every_failure_is_on_the_page() -> None:
    for reason, meaning in FAILURES.items():
        assert f"| `{reason}` | {meaning} |\n" in PAGE


# The examples of the page


def blocks(language: str) -> dict[str, str]:
    """Those of a language, by the file that they are of."""
    found = re.findall(rf"^```{language}\n# ([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return dict(found)


def test_where_the_agent_listens() -> None:
    variables = yaml.safe_load(blocks("yaml")["group_vars/balancers.yml"])
    for address, shown in {"203.0.113.11": "203.0.113.11:9942", "lb1.example.com": None}.items():
        told = variables["l4lb_metrics_listen"].replace("{{ ansible_host }}", address)
        if shown:
            assert str(parse_listen(told, "metrics_listen")) == shown
        else:
            with pytest.raises(ConfigError, match="give an address and a port"):
                parse_listen(told, "metrics_listen")


@needs_promtool
def test_promtool_likes_the_configuration(tmp_path: Path) -> None:
    text = blocks("yaml")["prometheus.yml"]
    assert "/etc/prometheus/l4lb-alerts.yml" in text
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/l4lb-alerts.yml", str(ALERTS)))
    done = subprocess.run(
        ["promtool", "check", "config", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


# The dashboard


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_are_as_grafana_wants_them() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert {panel["type"] for panel in PANELS} <= {"stat", "timeseries", "table"}
    for panel in PANELS:
        assert panel["title"]
        assert panel["targets"]
        for target in panel["targets"]:
            source = {"type": "prometheus", "uid": "${datasource}"}
            assert panel["datasource"] == target["datasource"] == source
            assert 'job=~"$job",instance=~"$instance"' in target["expr"]


def test_variables() -> None:
    listed = BOARD["templating"]["list"]
    assert [one["name"] for one in listed] == ["datasource", "job", "instance", "service"]
    used = set(re.findall(r"\$(\w+)", json.dumps(BOARD)))
    assert used == {"job", "instance", "service", "__rate_interval", "__all"}


def test_it_ships() -> None:
    for path in (ALERTS, DASHBOARD):
        parts = path.relative_to(CHECKOUT).parts
        names = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        ignored = [one for one in GALAXY["build_ignore"] for name in names
                   if fnmatch.fnmatch(name, one)]  # fmt: skip
        assert not ignored
