# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""MAC addresses of the interface that change, and devices on it that come and go."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.command import CLIENT, DEPLOYED, l4lb
from tests.fleet.rig.services import VIP


@pytest.fixture
def another_mac(lab: Lab, lb1: Host) -> Iterator[Callable[[], tuple[str, str]]]:
    """Gives the interface another MAC address; returns the old one and the new one. In the end it
    has the old one."""
    path = "/sys/class/net/eth0/address"
    old, new = lb1.run(["cat", path]).stdout.strip(), "02:00:00:00:00:77"

    def change() -> tuple[str, str]:
        lb1.ip([f"link set eth0 address {new}"])
        return old, new

    yield change
    lb1.ip([f"link set eth0 address {old}"])
    lab.host("router").run(["ip", "neighbour", "flush", "dev", "servers"])


def test_another_mac_address(lb1: Host, another_mac: Callable[[], tuple[str, str]]) -> None:
    given = {**DEPLOYED, "gateway_mac": "02:00:00:00:00:99"}
    l4lb(lb1, "apply", "-", given=given)
    old, new = another_mac()
    change = f"own MAC addresses: {old} -> {new}"
    asked = ("flow", "tcp", f"{CLIENT}:1", f"{VIP}:80")

    assert f"\neth0: {change}; apply the configuration again\n" in l4lb(lb1, "status", code=3)
    assert json.loads(l4lb(lb1, "status", "--json", code=3))["eth0"]["outdated"] == [change]
    because = "the interface had another MAC address at the last run; apply the configuration again"
    told = l4lb(lb1, *asked)
    assert told.endswith(f"\npackets:    pass to the host\nbecause:    {because}\n")

    assert l4lb(lb1, "apply", "--check", "-", code=3, given=given) == f"eth0: {change}\n"
    assert l4lb(lb1, "apply", "-", given=given) == f"eth0: {change}\n"
    assert l4lb(lb1, "apply", "-", given=given) == "eth0: nothing to change\n"
    assert "apply the configuration again" not in l4lb(lb1, "status")
    assert "packets:    to 203.0.113.2" in l4lb(lb1, *asked)


def test_devices_on_the_interface(lb1: Host) -> None:
    """A bridge or a macvlan that comes is known from the next run on."""
    mac = "00:00:5e:00:01:33"
    lb1.ip([f"link add vrrp.51 link eth0 address {mac} type macvlan"])
    try:
        told = l4lb(lb1, "apply", "-", given=DEPLOYED)
        assert re.fullmatch(rf"eth0: own MAC addresses: (\S+) -> \1, {mac}\n", told)
        assert l4lb(lb1, "apply", "-", given=DEPLOYED) == "eth0: nothing to change\n"
        lb1.ip(["link delete vrrp.51"])
        lb1.ip([f"link add vrrp.51 index 4711 link eth0 address {mac} type macvlan"])
        devices = "other devices receive what comes in by eth0"
        assert l4lb(lb1, "apply", "-", given=DEPLOYED) == f"eth0: {devices}\n"
    finally:
        lb1.ip(["link delete vrrp.51"])


def test_more_own_mac_addresses_than_fit(lb1: Host) -> None:
    def macvlan(number: int) -> str:
        return f"link add many{number} link eth0 address 02:00:00:00:01:{number:02x} type macvlan"

    lb1.ip([macvlan(number) for number in range(64)])
    try:
        told = l4lb(lb1, "apply", "-", code=1, given={**DEPLOYED, "services": []})
        assert told.startswith(
            "own_macs: '65 addresses': at most 64 fit, with those of eth0 itself"
        )
    finally:
        lb1.ip([f"link delete many{number}" for number in range(64)])
