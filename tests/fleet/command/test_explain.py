# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way of a packet, as the program itself takes it."""

from __future__ import annotations

import json
from typing import Any

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.command import CLIENT, DEPLOYED, l4lb, service, who
from tests.fleet.rig.hosts import python
from tests.fleet.rig.readme import blocks
from tests.fleet.rig.services import VIP, WEB
from tests.fleet.there import looking

NOBODY = "203.0.113.99"


def explain(host: Host, port: int, *options: str) -> Any:
    """What it says in JSON."""
    ends = "tcp", f"{CLIENT}:{port}", f"{VIP}:80"
    return json.loads(l4lb(host, "explain", *ends, *options, "--json"))


def result(found: Any) -> Any:
    """What becomes of the packet, on every CPU."""
    (one,) = found["results"]
    assert len(one["cpus"]) == found["flow_table"]["cpus"]
    return one


def test_the_way_of_a_flow(lab: Lab, lb1: Host) -> None:
    """Before it is remembered and after, and that of an error about an answer to it."""
    port = 23001
    found = explain(lb1, port)
    assert found["service"] == "web" and found["flow_table"]["remembered"] == []
    assert found["slot"]["owner"] == found["slot"]["holder"] == result(found)["for"]
    one = result(found)
    assert one["fate"] == "sent" and one["mtu"] == {"bytes": 1500, "of": "interface"}
    (backend,) = found["backends"]
    assert backend["address"] == one["backend"]["address"] == one["for"]
    assert backend["route"] == "203.0.113.0/24 dev eth0"
    (gateway,) = backend["gateways"]
    assert gateway["mac"] == one["next_hop"]["mac"] and gateway["kept"]
    assert one["outer"]["source"] == lb1.address
    assert (one["outer"]["destination"], one["outer"]["overhead"]) == (one["for"], 20)
    assert WEB[who(lab, port)] == one["for"]
    error = ("--error", "too-big", "--from", "203.0.113.1")
    before = python(lb1, looking.left_by_packets)
    for found in (explain(lb1, port), explain(lb1, port, *error)):
        assert {each["backend"] for each in found["flow_table"]["remembered"]} == {one["for"]}
        assert result(found)["for"] == one["for"]
    assert python(lb1, looking.left_by_packets) == before, "it leaves no trace"


def test_the_examples_of_the_page(lb1: Host) -> None:
    example, _captures = blocks("sh", (CHECKOUT / "docs/looking.md").read_text())
    told = lb1.run(["sh", "-ec", example]).stdout
    assert told.count("\nresult:     sent to 203.0.113.2") == 2
    assert "\nresult:     answered by packet_too_big: " in told
    assert "\npacket:     ICMP error too-big from 203.0.113.1, about an answer of" in told
    *lines, last = told.splitlines()
    assert json.loads(last)["service"] is None
    assert max(map(len, lines)) <= 80


def test_a_drained_backend_keeps_what_it_has(lab: Lab, lb1: Host) -> None:
    """But not what opens a connection, and not where the flow is unknown."""
    port = 23101
    first = who(lab, port)
    drained = service("web1", "web2")
    for backend in drained["backends"]:
        backend["state"] = "drained" if backend["address"] == WEB[first] else "enabled"
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [drained]})
    other = WEB["web2" if first == "web1" else "web1"]
    found = explain(lb1, port)
    remembered = {one["cpu"] for one in found["flow_table"]["remembered"] if one["counts"]}
    by_backend = {one["for"]: {*one["cpus"]} for one in found["results"]}
    assert by_backend.pop(WEB[first]) == remembered
    assert by_backend.keys() <= {other}
    assert found["only"] == other
    opening = explain(lb1, port, "--flags", "syn")
    assert result(opening)["for"] == other
    error = explain(lb1, port, "--error", "unreachable")
    assert result(error)["for"] == WEB[first], "errors are looked up on all CPUs"


def test_what_does_not_get_there(lb1: Host) -> None:
    """Too long, to a server that is not there, and to no service; and what just fits."""
    narrow = service()
    narrow["backends"] = [{"address": WEB["web1"], "mtu": 1400}]
    lost = service(name="lost", protocol="udp")
    lost["backends"] = [{"address": NOBODY}]
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [narrow, lost]})
    for size, fate, mtu in ((1380, "sent", None), (1381, "answered", 1380)):
        one = result(explain(lb1, 23201, "--size", str(size)))
        assert (one["fate"], one.get("told_mtu"), one["for"]) == (fate, mtu, WEB["web1"])
    told = l4lb(lb1, "explain", "udp", f"{CLIENT}:23301", f"{VIP}:80")
    assert f"\nresult:     dropped as no_neighbour, for {NOBODY}. The next hop does not" in told
    assert "\nnext hop:   not found: the backend itself on eth0, " in told
    assert f"\nscheduler:  all new flows go to {NOBODY}\n" in told
    told = l4lb(lb1, "explain", "tcp", f"{CLIENT}:1", f"{VIP}:81")
    assert f"\nservice:    none; {VIP} has lost (udp 80), web (tcp 80)\n" in told
    assert told.endswith("\nresult:     passes to the host, untouched and not counted\n")
