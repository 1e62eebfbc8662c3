# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input, as the user sees it. The balancer of before goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.fleet.rig.clients import works
from tests.fleet.rig.play import ansible, l4lb
from tests.fleet.rig.services import service

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "address": (
        {"services": [service(address="192.0.2.300")]},
        "services[web].address: '192.0.2.300': not an IP address, as in 192.0.2.10",
    ),
    "port": (
        {"services": [service(port=70000)]},
        "services[web].port: 70000: give a whole number from 0 to 65535",
    ),
    "weight": (
        {"services": [service({"address": "10.0.0.1", "weight": 300})]},
        "services[web].backends[0].weight: 300: give a whole number from 0 to 255",
    ),
    "service twice": (
        {"services": [service(), service(name="www")]},
        "service web has this address, port and protocol already; merge them",
    ),
    "name twice": (
        {"services": [service(), service(port=81)]},
        "services: 'web': two services have this name; rename one",
    ),
    "backend twice": (
        {"services": [service(1, 1)]},
        "services[web].backends[1].address: '203.0.113.21': listed twice",
    ),
    "wrong family": (
        {"source_address6": "192.0.2.1"},
        "source_address6: '192.0.2.1': give an IPv6 address or prefix, as in 2001:db8::1",
    ),
    "typo": (
        {"services": [service(prot="tcp")]},
        "services[web].prot: 'tcp': no such option; use name, address, port, protocol,",
    ),
    "choice": ({"mode": "fast"}, "value of mode must be one of: auto, native, generic, got: fast"),
    "type": (
        {"services": [service(port="http")]},
        "services[web].port: 'http': give a whole number from 0 to 65535",
    ),
    "interface": (
        {"interface": "eth9"},
        "interface: 'eth9': no such interface; this host has lo, eth0, eth1",
    ),
    "no interface name": ({"interface": "eth0:1"}, "interface: 'eth0:1': not an interface name"),
    "no address to send from": (
        {"interface": "lo", "source_address": "here"},
        "source_address: 'here': not an IP address",
    ),
}


@pytest.mark.usefixtures("lb1")
def test_wrong_input(lab: Lab, tmp_path: Path) -> None:
    good: dict[str, Any] = {"services": [service(1, 2)]}
    tasks = [l4lb(**wrong) for wrong, _ in WRONG.values()]
    first, *results, last = ansible(lab, tmp_path, l4lb(**good), *tasks, l4lb(**good))
    assert first["changed"]
    for name, result in zip(WRONG, results):
        assert result["failed"], name
        assert WRONG[name][1] in result["msg"]
        assert "Traceback" not in str(result)
    assert not last["failed"] and not last["changed"]
    works(lab, 1, 2)
