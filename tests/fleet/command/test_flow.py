# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking where a flow goes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.command import CLIENT, DEPLOYED, l4lb, service, who
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import VIP, WEB
from tests.fleet.there import looking


def look(host: Host) -> Any:
    """Everything that a packet could leave in the maps."""
    return python(host, looking.left_by_packets)


def owner(host: Host, slot: int) -> int:
    """Number of the backend that has a slot of the only service's lookup table."""
    return int(python(host, looking.owner, slot=slot))


def flow(host: Host, protocol: str, source: str, destination: str, code: int = 0) -> Any:
    return json.loads(l4lb(host, "flow", "--json", protocol, source, destination, code=code))


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        ({}, (22001, 22002)),
        ({"scheduler": "jhash"}, (22003, 22004)),
        ({"affinity": "source", "flow_table": False}, (22005, 22006)),
    ],
)
def test_flow_foresees_who_answers(
    lab: Lab, lb1: Host, options: dict[str, Any], ports: tuple[int, ...]
) -> None:
    everyone = {**DEPLOYED, "services": [service(*WEB, **options)]}
    l4lb(lb1, "apply", "-", given=everyone)
    for port in ports:
        before = look(lb1) if options.get("flow_table", True) else None
        found = flow(lb1, "tcp", f"{CLIENT}:{port}", f"{VIP}:80")
        if before:
            assert look(lb1) == before, "it leaves no trace"
        assert found["service"] == "web" and found["remembered"] == []
        assert found["new"]["fate"] == "sent" and not found["other_sources"]
        assert found["new"]["next_hop"]["interface"] == "eth0"
        assert owner(lb1, found["slot"]) == found["new"]["backend"]["number"]
        assert WEB[who(lab, port)] == found["new"]["backend"]["address"]


def test_flow_knows_what_is_remembered(lab: Lab, lb1: Host) -> None:
    port = 22101
    first = who(lab, port)
    other = "web2" if first == "web1" else "web1"
    drained = service("web1", "web2")
    for backend in drained["backends"]:
        backend["state"] = "drained" if backend["address"] == WEB[first] else "enabled"
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [drained]})
    before = look(lb1)
    found = flow(lb1, "tcp", f"{CLIENT}:{port}", f"{VIP}:80")
    assert look(lb1) == before, "it leaves no trace"
    (remembered,) = found["remembered"]
    assert remembered["backend"]["address"] == WEB[first]
    assert remembered["backend"]["state"] == "drained"
    assert found["new"]["backend"]["address"] == WEB[other]
    told = l4lb(lb1, "flow", "tcp", f"{CLIENT}:{port}", f"{VIP}:80")
    assert f"because:    CPU {remembered['cpu']} remembers the flow\n" in told
    assert f"next hop:   {found['new']['next_hop']['mac'][:-2]}" in told
    assert re.search(rf"^a new flow: to {WEB[other]} \(.*: the only one for new flows$", told, re.M)


MAC = "52:54:00:00:00:0b"


@pytest.mark.parametrize(
    ("options", "route", "expected", "told"),
    [
        ({}, 0, {"bytes": 1500, "of": "interface"}, "1500, of eth0"),
        ({}, 1400, {"bytes": 1400, "of": "route"}, "1400, of the route"),
        ({}, 9000, {"bytes": 1500, "of": "interface"}, "1500, of eth0"),
        ({"mtu": 1300}, 1400, {"bytes": 1300, "of": "option"}, "1300, of the backend's option"),
        ({"mtu": 1450}, 1400, {"bytes": 1400, "of": "route"}, "1400, of the route"),
        ({"mac": MAC}, 1400, {"bytes": 1500, "of": "interface"}, "1500, of eth0"),
        (
            {"mac": MAC, "mtu": 1300},
            0,
            {"bytes": 1300, "of": "option"},
            "1300, of the backend's option",
        ),
    ],
)
def test_flow_says_how_long_packets_may_be(
    lb1: Host, options: dict[str, Any], route: int, expected: dict[str, Any], told: str
) -> None:
    web = service()
    web["backends"] = [{"address": WEB["web1"], **options}]
    if route:
        lb1.ip([f"route add {WEB['web1']} dev eth0 mtu {route}"])
    try:
        l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [web]})
        ends = ("tcp", f"{CLIENT}:22201", f"{VIP}:80")
        assert flow(lb1, *ends)["new"]["mtu"] == expected
        assert f"MTU:        {told}\n" in l4lb(lb1, "flow", *ends)
    finally:
        if route:
            lb1.ip([f"route delete {WEB['web1']} dev eth0"])


def test_flow_to_nobody(lb1: Host) -> None:
    nobody = service(name="nobody", port=0, address="2001:db8:ffff::10", protocol="udp")
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [service("web1"), nobody]})
    assert flow(lb1, "tcp", f"{CLIENT}:1", f"{VIP}:81") == {
        "interface": "eth0",
        "service": None,
        "slot": None,
        "new": {"fate": "passed"},
        "remembered": [],
        "other_sources": False,
    }
    dropped = ("flow", "udp", "[2001:db8:1::2]:1", "[2001:db8:ffff::10]:53")
    found = l4lb(lb1, *dropped)
    assert "nobody on eth0, 2001:db8:ffff::10 udp every port\n" in found
    assert "packets:    dropped: no_backend. The service has no enabled backend" in found
    assert "because:    nobody takes new flows; no CPU remembers the flow\n" in found


def test_flow_that_would_come_back(lb1: Host) -> None:
    """As the program asks for a packet that comes in by the interface."""
    forwarding = "net.ipv4.conf.eth0.forwarding"
    for value, fate in ((0, "passes to the host"), (1, "dropped: no_service. To a service's")):
        lb1.run(["sysctl", "-qw", f"{forwarding}={value}"])
        told = l4lb(lb1, "flow", "udp", f"{CLIENT}:1", f"{VIP}:81")
        assert f"service:    none on eth0\npackets:    {fate}" in told
    lb1.run(["sysctl", "-qw", f"{forwarding}=0"])
