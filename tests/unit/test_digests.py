# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests: the same for the same configuration, whatever the host, and others for others."""

from __future__ import annotations

from array import array
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.lookup import command
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import digests
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import numbering
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.edits import change_backend
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict

ADDRESSES = [f"10.0.0.{n}" for n in range(1, 9)]
SEED = 2**60 + 1
DEAD = Verdict(answered=False, reason="refused", since=1)


def options(*backends: dict[str, Any], interface: str = "eth0", **more: Any) -> dict[str, Any]:
    """Of a balancer with one service; all the addresses if no backends are given."""
    of_config = {name: more.pop(name) for name in [*more] if name not in ("check", "scheduler")}
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp", **more}
    service["backends"] = list(backends) or [{"address": one} for one in ADDRESSES]
    return {"interface": interface, "services": [service], **of_config}


class Balancer:
    """The maps of one, in memory."""

    def __init__(self, given: dict[str, Any], before: Balancer | None = None) -> None:
        was: Manifest | None = before.manifest if before else None
        drawn: dict[int, bytes] = before.tables if before else {}
        placed = numbering.place(parse_config(given), {"sources": "a" * 64}, was, 1 << 16)
        manifest, tables = numbering.with_tables(placed, was, (), bool(was))
        self.manifest: Manifest = manifest
        self.tables: dict[int, bytes] = {**drawn, **tables}

    def digests(self) -> dict[str, str]:
        """All there are, in one."""
        maps: Any = SimpleNamespace(lookup_tables=SimpleNamespace(lookup=self.tables.get))
        (service,) = self.manifest.config.services
        made = digests.Digests(maps, self.manifest)
        return {"balancer": made.configuration, **made.of_service(service)}

    def judged(self, address: str, verdict: Verdict) -> Balancer:
        """The same with a verdict, though not yet in its lookup table."""
        self.manifest = self.manifest.judged({"web": {ip_address(address): verdict}})
        return self


def others(one: Balancer, other: Balancer) -> set[str]:
    """Which of the digests differ."""
    was, now = one.digests(), other.digests()
    assert was.keys() == now.keys()
    return {name for name in was if was[name] != now[name]}


@pytest.mark.parametrize("scheduler", ["maglev", "jhash"])
def test_a_host_s_own_is_not_in_them(scheduler: str) -> None:
    macs = {"gateway_mac": "02:00:00:00:00:01", "own_macs": ["02:00:00:00:00:02"]}
    sources = {"source_address": "10.1.0.1", "source_address6": "2001:db8::1"}
    one = Balancer(options(scheduler=scheduler))
    assert others(one, Balancer(options(scheduler=scheduler, interface="bond7", **macs))) == set()
    assert others(one, Balancer(options(scheduler=scheduler, **sources))) == set()


def test_the_order_of_entries_does_not_matter() -> None:
    listed = [{"address": one} for one in reversed(ADDRESSES)]
    assert others(Balancer(options()), Balancer(options(*listed))) == set()


def test_it_does_where_it_decides_who_gets_what() -> None:
    listed = [{"address": one} for one in reversed(ADDRESSES)]
    one, other = (Balancer(options(*each, scheduler="jhash")) for each in ((), listed))
    assert others(one, other) == {"balancer", "configuration", "lookup_table"}


def test_nor_do_numbers_that_are_left_from_before() -> None:
    """Backends that came one by one have other numbers, and other tables in the kernel."""
    first = Balancer(options(*({"address": one} for one in ADDRESSES[4:])))
    grown = Balancer(options(), first)
    fresh = Balancer(options())
    assert grown.manifest.numbers != fresh.manifest.numbers
    assert others(fresh, grown) == set()


@pytest.mark.parametrize(
    ("given", "differ"),
    [
        (options({"address": "10.0.0.1"}), {"balancer", "configuration", "lookup_table", "states"}),
        (options(echo_rate=1), {"balancer"}),
        (options(mode="generic"), {"balancer"}),
        (options(hash_seed=SEED), {"balancer", "lookup_table"}),
        (options(check={"type": "tcp"}), {"balancer", "configuration"}),
        (
            options(*({"address": one, "weight": n} for n, one in enumerate(ADDRESSES, 1))),
            {"balancer", "configuration", "lookup_table"},
        ),
    ],
    ids=["backends", "a rate", "mode", "seed", "check", "weight"],
)
def test_what_differs_shows(given: dict[str, Any], differ: set[str]) -> None:
    assert others(Balancer(options()), Balancer(given)) == differ


def test_orders_are_no_configuration() -> None:
    one, other = Balancer(options()), Balancer(options())
    weighed, drained = (
        change_backend(other.manifest.config, ip_address("10.0.0.3"), **order)
        for order in ({"weight": 5}, {"state": "drained"})
    )
    for config in (weighed, drained):
        other = Balancer(config.dump(), other)
        assert others(one, other) == {"lookup_table", "states"}


def test_health_is_a_state() -> None:
    one, other = (Balancer(options(check={"type": "tcp"})) for _each in range(2))
    assert others(one, other.judged("10.0.0.3", DEAD)) == {"states"}
    assert others(other, one.judged("10.0.0.4", DEAD)) == {"states"}


def test_what_somebody_wrote_into_the_table_shows() -> None:
    one, other = Balancer(options()), Balancer(options())
    ((index, content),) = other.tables.items()
    for word in (1, 60000):
        changed = array("H", content)
        changed[7] = word if changed[7] != word else 2
        other.tables[index] = changed.tobytes()
        assert others(one, other) == {"lookup_table"}


@pytest.mark.parametrize("count", [0, 1])
def test_a_service_without_a_table_has_the_digest_of_one(count: int) -> None:
    backends = [{"address": one, "weight": int(not n)} for n, one in enumerate(ADDRESSES)][:2]
    given = options(*backends[:count])
    given["services"][0]["backends"] = backends[:count]
    assert Balancer(given).digests() == Balancer(given).digests()


def test_the_secret_seed_cannot_be_read() -> None:
    given = parse_config(options(hash_seed=SEED))
    assert str(SEED) not in str(digests.settings(given))
    assert "interface" not in digests.settings(given)


def test_versions(tmp_path: Path) -> None:
    manifest = Manifest(parse_config(options()), {"sources": "ab" * 32, "bcc": "0.26.0"})
    file = tmp_path / "l4lb"
    assert digests.versions(manifest, file)["collection"] is None
    file.write_bytes(b"no archive")
    assert digests.versions(manifest, file)["collection"] is None
    file.write_bytes(command.build())
    found = digests.versions(manifest, file)
    assert found["collection"] == command.version(command.COLLECTION)
    assert found["program"] == "ab" * 8
    assert found["bcc"] == "0.26.0"
    assert digests.versions(Manifest(parse_config(options())), file)["program"] is None
