# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What packets meet between the steps of a change: the old state whole, then the new one whole."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import (
    build,
    counters,
    staging,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.program import DataPath
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import backend_record
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Ingress
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config

from tests.maps import differences, write
from tests.packet.harness import (
    EVERY_OPTION,
    EVERYTHING,
    GATEWAY_MAC,
    SOURCES,
    VIP,
    Namespace,
    backends,
    service,
)
from tests.packet.packets import ACK, BALANCER_MAC, frame, tcp

SOURCE = Ingress(IPv4Address("192.0.2.2"), BALANCER_MAC)
OTHER_MAC = "52:54:00:00:00:fd"


def config(*services: dict[str, Any], **options: Any) -> Config:
    options = {"interface": "lo", "gateway_mac": GATEWAY_MAC, **options}
    return parse_config({**options, "services": services})


@pytest.fixture(scope="module")
def datapath() -> DataPath:
    sources = read_sources(SOURCES)
    return build.load(sources, config(*EVERYTHING, **EVERY_OPTION))


def run(datapath: DataPath, ports: list[int]) -> list[tuple[int, bytes]]:
    """What becomes of packets of 20 flows to each of these ports, in the midst of the flows."""
    return [
        datapath.run(frame(tcp(source_port=source, port=port, flags=ACK), destination=VIP))
        for port in ports
        for source in range(2000, 2020)
    ]


BEFORE = service("web", flow_table=True, backends=backends(3))
OTHER = service("other", port=80, backends=backends(2))
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "encapsulation": ({**BEFORE, "encapsulation": "gue"}, {}),
    "next hop": (BEFORE, {"gateway_mac": OTHER_MAC}),
    "next hop of one": (
        {**BEFORE, "backends": [{"address": "10.0.0.1", "mac": OTHER_MAC}, *backends(3)[1:]]},
        {},
    ),
    "source": (BEFORE, {"source_address": "192.0.2.99"}),
    "name": ({**BEFORE, "name": "www", "encapsulation": "gre"}, {}),
    "fewer backends": ({**BEFORE, "encapsulation": "gre", "backends": backends(1)}, {}),
}


@pytest.mark.parametrize(("after", "options"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_all_at_once(
    datapath: DataPath, namespace: Namespace, after: dict[str, Any], options: dict[str, Any]
) -> None:

    def seen() -> list[tuple[int, bytes]]:
        return namespace.call(run, datapath, [443, 80])

    old, new = config(BEFORE, OTHER), config(after, OTHER, **options)
    write(datapath, config(), SOURCE)  # whatever a test before has left
    write(datapath, new, SOURCE)
    kept = seen()
    write(datapath, config(), SOURCE)
    write(datapath, old, SOURCE)
    whole = seen()
    for there, here, expected in ((old, new, kept), (new, old, None), (old, new, kept)):
        manifest = datapath.read()
        assert manifest and differences(datapath, manifest, SOURCE) == []
        assert manifest.config == there
        staged = staging.stage(datapath, here, SOURCE, before=manifest)
        assert seen() == whole
        staging.switch(datapath, staged)
        whole = seen()
        if expected and len(after["backends"]) == 3:
            assert whole == expected
        staging.finish(datapath, staged)
        if len(after["backends"]) == 3:
            assert seen() == whole
        else:  # flows of backends that have gone are for others
            whole = seen()


def test_what_an_interrupted_change_has_left_is_gone_with_the_next(
    datapath: DataPath, namespace: Namespace
) -> None:
    """Its backends, but not what they have counted."""
    write(datapath, config(), SOURCE)
    three, one = (
        config({**BEFORE, "backends": backends(count)}, {**OTHER, "backends": []})
        for count in (3, 1)
    )
    write(datapath, three, SOURCE)
    namespace.call(run, datapath, [443])
    manifest = datapath.read()
    assert manifest
    staged = staging.stage(datapath, one, SOURCE, before=manifest)
    staging.switch(datapath, staged)
    # Here it was killed; until the next run, flows of the other two go on.
    manifest = datapath.read()
    assert manifest and differences(datapath, manifest, SOURCE) == ["backends"]

    # The id of a service that goes is the next one's.
    another = config({**BEFORE, "backends": backends(1)}, {**OTHER, "port": 81})
    write(datapath, another, SOURCE)
    manifest = datapath.read()
    assert manifest and differences(datapath, manifest, SOURCE) == []
    counts = counters.statistics(datapath, manifest).services
    assert (counts["web"].packets, counts["other"].packets) == (20, 0)
    content = datapath.backends.read()
    size = backend_record.BACKEND_RECORDS_SIZE
    used = {at // size for at in range(0, len(content), size) if any(content[at : at + size])}
    assert used == {number for each in manifest.numbers.values() for number in each.values()}
