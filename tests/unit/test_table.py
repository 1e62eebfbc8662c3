# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that people read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import reasons
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.table import table
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import width


def backend(address: str, packets: int, size: int, **more: Any) -> dict[str, Any]:
    return {
        "address": address,
        "weight": 1,
        "state": "enabled",
        "packets": packets,
        "bytes": size,
        **more,
    }


def service(name: str, *backends: dict[str, Any], port: int = 80) -> dict[str, Any]:
    return {
        "name": name,
        "address": "192.0.2.10",
        "port": port,
        "protocol": "tcp",
        "backends": list(backends),
    }


def balancer(*services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"eth0": {"mode": "native", "services": list(services), **more}}


def test_a_line_has_the_columns_of_the_original_demo() -> None:
    # 74 bytes a packet, as there; the rate in Mbits/s is 6.6 and is cut off.
    rates = {"packets_per_second": 11229.4, "bits_per_second": 11229.4 * 74 * 8}
    lines = table(balancer(service("web", backend("10.0.89.127", 74151, 74151 * 74, **rates))))
    assert lines == [
        "web on eth0 (native), 192.0.2.10 tcp 80",
        "10.0.89.127       74151 pkts (  11229 pps )    5487 Kbytes (    6 Mbits/s )",
        "total             74151 pkts (  11229 pps )    5487 Kbytes (    6 Mbits/s )",
    ]


def test_totals_add_up_before_they_are_cut_off() -> None:
    rates = {"packets_per_second": 0.5, "bits_per_second": 500_000.0}
    lines = table(
        balancer(service("web", *(backend(f"10.0.0.{n}", 1, 600, **rates) for n in (1, 2))))
    )
    assert lines[-1].split() == [
        "total",
        "2",
        "pkts",
        "(",
        "1",
        "pps",
        ")",
        "1",
        "Kbytes",
        "(",
        "1",
        "Mbits/s",
        ")",
    ]


def test_no_rates_no_columns_for_them() -> None:
    lines = table(balancer(service("web", backend("10.0.0.1", 10, 740_000))))
    assert lines[1] == "10.0.0.1              10 pkts         740 Kbytes"


def test_several_services_have_a_total_of_all() -> None:
    lines = table(
        balancer(
            service("api", backend("10.0.0.1", 1, 1000), port=0),
            service("web", backend("10.0.0.1", 2, 2000)),
        )
    )
    assert lines[0] == "api on eth0 (native), 192.0.2.10 tcp every port"
    assert lines[-1].split() == ["all", "of", "eth0", "3", "pkts", "3", "Kbytes"]


def test_remarks_and_drops_only_where_there_are_any() -> None:
    lines = table(
        balancer(
            service("web", backend("10.0.0.1", 0, 0, state="drained"), backend("10.0.0.2", 0, 0)),
            drops={"fragment": 3, "no_backend": 0, "mtu": 1},
        )
    )
    assert [line for line in lines if "drained" in line] == [lines[1]]
    assert lines[-1] == "4 pkts dropped on eth0 (fragment 3, mtu 1)"


def test_no_services_are_no_idle_host() -> None:
    assert table(balancer()) == ["no services on eth0 (native)"]


LONGEST = "2001:db8:1111:2222:3333:4444:5555:6666"
MOST = 2**64 - 1
DROPS = dict.fromkeys(reasons.DROPS, MOST)


@pytest.mark.parametrize("rates", [{}, {"packets_per_second": 1e9, "bits_per_second": 4e13}])
@pytest.mark.parametrize("counter", [0, 9_999_999, 10**7, 99_999_999, 10**10, 10**13, MOST])
@pytest.mark.parametrize("name", ["web", "n" * 63, "two words " * 6, "\U0001f310\u7db2" * 9])
def test_whatever_it_is_fits_a_terminal(name: str, counter: int, rates: dict[str, Any]) -> None:
    backends = [
        backend(LONGEST, counter, counter, **rates, state="disabled"),
        backend("2001:db8::21", counter, counter, **rates),
        backend("203.0.113.21", 1, 1000, **rates),
    ]
    one = {**service(name, *backends), "address": LONGEST}
    more = {"mode": "generic", "services": [one, one], "drops": DROPS}
    lines = table({"interface-of-15": more})
    assert max(width(line) for line in lines) <= 80
    for unit in ("pkts", "bytes"):
        ends = {line.rindex(unit) for line in lines if unit in line and "dropped" not in line}
        assert len(ends) == 1, "columns stay columns"


@pytest.mark.parametrize(
    ("packets", "size", "expected"),
    [
        (9_999_999, 9_999_999_999, ["9999999", "pkts", "9999999", "Kbytes"]),
        (10**7, 10**10, ["10000", "Kpkts", "10000", "Mbytes"]),
        (1_234_567_899, 10**13, ["1234", "Mpkts", "10000", "Gbytes"]),
        (MOST, MOST, ["18446", "Ppkts", "18446", "Pbytes"]),
    ],
)
def test_large_numbers_have_a_larger_unit(packets: int, size: int, expected: list[str]) -> None:
    rates = {"packets_per_second": 0, "bits_per_second": 0}
    words = table(balancer(service("web", backend("10.0.0.1", packets, size, **rates))))[1].split()
    assert [*words[1:3], *words[7:9]] == expected


def test_a_label_that_is_too_long_is_above_its_numbers() -> None:
    rates = {"packets_per_second": 1, "bits_per_second": 8e6}
    lines = table(balancer(service("web", backend(LONGEST, 1, 2000, state="drained", **rates))))
    assert lines[1:3] == [
        f"{LONGEST} drained",
        "                      1 pkts (      1 pps )       2 Kbytes (    8 Mbits/s )",
    ]


def test_a_service_without_backends() -> None:
    assert table(balancer(service("web")))[1].split() == ["total", "0", "pkts", "0", "Kbytes"]


def test_nothing_gives_nothing() -> None:
    assert table({}) == []
