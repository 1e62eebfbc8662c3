# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""As many backends as the documentation allows: their records, and a manifest that names them."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv6Address

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import (
    build,
    counters,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Ingress
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import MAX_BACKENDS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

from tests.maps import differences, write
from tests.packet.harness import GATEWAY_MAC, SOURCES, VIP, Namespace, service
from tests.packet.packets import BALANCER_MAC, frame, tcp

FIRST = IPv6Address("2001:db8:1234:5678:9abc:def0:1234:0")
"""Of long addresses, so that the manifest is as long as can be."""


def test_the_most_backends(namespace: Namespace) -> None:
    listed = [
        {"address": str(FIRST + number), "weight": 255, "state": "enabled", "mac": GATEWAY_MAC}
        for number in range(MAX_BACKENDS - 1)
    ]
    one = service("web", port=80, scheduler="maglev", backends=listed)
    config = parse_config({"interface": "lo", "source_address6": "2001:db8::1", "services": [one]})
    source = Ingress(IPv4Address("192.0.2.2"), BALANCER_MAC)
    texts = read_sources(SOURCES)
    data_path = build.load(texts, config)
    namespace.call(write, data_path, config, source)
    manifest = data_path.read()
    assert manifest and manifest.config == config
    assert data_path.manifest_map
    assert data_path.manifest_map.shape.value_size > 4 << 20
    assert differences(data_path, manifest, source) == []
    reached = set()
    for port in range(2000, 2050):
        code, after = namespace.call(
            data_path.run, frame(tcp(source_port=port, port=80), destination=VIP)
        )
        assert code == 3  # XDP_TX
        reached.add(IPv6Address(after[38:54]))
    assert all(FIRST <= address < FIRST + MAX_BACKENDS for address in reached)
    assert len(reached) > 40
    parts = [*counters.totals(data_path)]
    packets, bytes_ = ([*itertools.chain(*each)] for each in zip(*parts))
    assert len(parts) > 1
    counted = counters.statistics(data_path, manifest).backends
    assert counted == {
        ("web", address): counters.Count(packets[number], bytes_[number])
        for address, number in manifest.numbers["web"].items()
    }
    assert sum(packets) == 50
