# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repairs of what others did to the live state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, plan, saved, traces
from tests.fleet.rig.clients import works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import service, wanted
from tests.fleet.there import damage, library
from tests.fleet.there.library import Config, parse_config

DAMAGE: dict[str, str | Callable[..., None]] = {
    "the program is detached": "ip link set eth0 xdp off",
    "all pins are gone": "rm -r /sys/fs/bpf/l4lb",
    "a pin is gone": "rm /sys/fs/bpf/l4lb/eth0/drops",
    "the pin of the program is gone": "rm /sys/fs/bpf/l4lb/eth0/program",
    "no forwarding on loopback": "sysctl -qw net.ipv4.conf.lo.forwarding=0",
    "neighbours are gone": "for n in 21 22; do ip neigh del 203.0.113.$n dev eth0; done",
    "a neighbour has a wrong address": (
        "ip neigh replace 203.0.113.21 lladdr 02:00:00:00:00:99 dev eth0 nud reachable"
    ),
    "a lookup table": damage.a_lookup_table,
    "a backend record": damage.a_backend_record,
    "the service table": damage.the_service_table,
    "the head of the service table": damage.the_head_of_the_service_table,
    "no service table": damage.no_service_table,
    "the saved state is gone": "rm -r /etc/l4lb",
    "the saved state is another": "sed -i s/22/23/ /etc/l4lb/eth0.json",
    "the saved state is no JSON": "truncate -s 40 /etc/l4lb/eth0.json",
    "a file of a killed run": "touch /etc/l4lb/eth0.json.new",
    "the manifest": damage.the_manifest,
}
"""Commands, and what is done to maps."""


def suffer(host: Host, what: str | Callable[..., None]) -> None:
    """Do damage to a host."""
    if isinstance(what, str):
        host.run(["sh", "-ec", what])
    else:
        python(host, what)


@pytest.mark.parametrize("what", DAMAGE.values(), ids=DAMAGE)
def test_repair(lab: Lab, lb1: Host, what: str | Callable[..., None]) -> None:
    config = wanted(service(1, 2))
    apply(lb1, config)
    suffer(lb1, what)
    predicted = plan(lb1, config)
    outcome = apply(lb1, config)
    assert outcome["steps"] == predicted["steps"] != []
    assert outcome["mode"] == "native"
    works(lab, 1, 2)
    assert apply(lb1, config)["steps"] == []
    assert saved(lb1) == {"eth0.json": parse_config(config).dump()}


def test_a_damaged_service_is_renamed(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    suffer(lb1, damage.a_lookup_table)
    renamed = wanted(service(1, 2, name="www"))
    apply(lb1, renamed)
    works(lab, 1, 2)
    assert apply(lb1, renamed)["steps"] == []


def test_damage_does_not_prevent_removal(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    suffer(lb1, damage.the_manifest)
    assert "error" not in apply(lb1, None)
    assert traces(lb1) == []


def test_what_was_balanced_is_remembered(lb1: Host) -> None:
    """Also where the kernel does not say, as after a reboot."""
    nothing = Config("eth0").dump()
    assert python(lb1, library.remembered) == nothing
    config = wanted(service(1, 2))
    apply(lb1, config)
    live = python(lb1, library.remembered)
    assert live["source_address"] == lb1.address
    own = {"source_address": None, "source_address6": None}
    assert {**live, **own} == parse_config(config).dump()
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    assert python(lb1, library.remembered) == parse_config(config).dump()
    lb1.run(["truncate", "-s", "40", "/etc/l4lb/eth0.json"])
    assert python(lb1, library.remembered) == nothing
