# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers unpack with their kernel's tunnels, set up as README.md says in its section Backends."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import Lab, LabError
from tests.fleet.test_dataplane import SHIMS, VIPS, Options, ask, library, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Host

CHECKOUT = Path(__file__).resolve().parents[2]
TOPOLOGY = CHECKOUT / "lab/tunnels.yml"
README = (CHECKOUT / "README.md").read_text()

SERVERS = ("web1", "web2")
WAYS = {8001 + n: way for n, way in enumerate(itertools.product((4, 6), (4, 6), SHIMS))}
"""Port -> families of service and backends, encapsulation."""


def first_block() -> str:
    """What is run on every backend."""
    found = re.search(r"^```sh\n# on every backend\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def tunnels() -> tuple[list[str], list[str]]:
    """What the table says beyond that: commands, and the devices that these make."""
    commands, devices = [], []
    for encapsulation in SHIMS:
        found = re.search(rf"^\| `{encapsulation}` \|(.*)\|(.*)\|.*\|$", README, re.MULTILINE)
        assert found, f"README.md has no row on {encapsulation}"
        for code in re.findall("`(.*?)`", found[1] + found[2]):
            if code.startswith(("ip ", "modprobe ")):
                commands.append(code)
                devices += re.findall(r"^ip link add (\S+)", code)
            elif re.fullmatch(r"\w+0", code):
                devices.append(code)
    return commands, devices


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"t{os.getpid()}")
    lab.up(TOPOLOGY)
    try:
        prepare(lab)
        yield lab
    finally:
        lab.down()


def prepare(lab: Lab) -> None:
    try:
        lab.host("client").run(["ip", "link", "add", "type", "ipip", "remote", "192.0.2.1"])
    except LabError:
        pytest.skip("cannot run here: the kernel has no ipip")
    for name in SERVERS:
        set_up(lab.host(name))
    chosen: Options = {name: {} for name in SERVERS}
    services = [service(*way, port, backends=chosen) for port, way in WAYS.items()]
    library(lab.host("lb1"), {"interface": "eth0", "services": services})


def set_up(server: Host) -> None:
    commands, devices = tunnels()
    assert len(devices) == 5
    script = [first_block(), f"ip address replace {VIPS[6]}/128 dev lo", *commands]
    for device in devices:
        script += [f"ip link set {device} up", f"sysctl -w net.ipv4.conf.{device}.rp_filter=0"]
    server.run(["sh", "-exc", "\n".join(script)])


@pytest.mark.parametrize("port", WAYS, ids=["{} in {} by {}".format(*way) for way in WAYS.values()])
def test_http(lab: Lab, port: int) -> None:
    assert set(ask(lab.host("client"), WAYS[port][0], port, count=20)) == set(SERVERS)


def test_nothing_was_dropped(lab: Lab) -> None:
    drops = library(lab.host("lb1"), None)["drops"]
    assert {reason: count for reason, count in drops.items() if count} == {}
