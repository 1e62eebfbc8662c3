# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers stay with what they number, whatever follows whatever; the manifest tells it all."""

from __future__ import annotations

import dataclasses
import random
import re
import sys
from array import array
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import build
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import (
    backend_record,
    flow_table,
    image,
    layout,
    numbering,
    service_table,
    sizes,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import (
    LookupTable,
    Manifest,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Address,
    Config,
    Service,
    remembers,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import (
    Ingress,
    Receivers,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import MAX_SERVICES
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import standing

BPF = Path(__file__).resolve().parents[2] / "files" / "bpf"
INGRESS = Ingress(
    IPv4Address("10.9.9.9"), "02:00:00:00:00:01", IPv6Address("2001:db8::99"), mtu=1492
)
Key = tuple[Address, int, str]


def config(*services: dict[str, Any], **options: Any) -> Config:
    return parse_config({"interface": "eth0", "services": services, **options})


def service(count: int = 2, first: str = "10.0.0.1", **options: Any) -> dict[str, Any]:
    backends = [{"address": str(ip_address(first) + index)} for index in range(count)]
    defaults = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    return {**defaults, "backends": backends, **options}


def follow(desired: Config, before: Manifest | None, capacity: int) -> Manifest:
    """The manifest after `before`, with lookup tables as of `with_tables`, but
    for what is in them."""
    after = numbering.place(desired, {}, before, capacity)
    spare = numbering.spare_tables(
        table.index for table in (before.tables if before else {}).values()
    )
    tables = {
        one.name: LookupTable(
            next(spare),
            image.table_digest(one, desired.hash_seed, after.numbers[one.name]),
            0,
        )
        for one in desired.services
        if one.name not in after.tables and not standing(one).is_settled
    }
    return replace(after, tables={**after.tables, **tables})


def flat(manifest: Manifest | None) -> dict[tuple[Key, Address], int]:
    """Backend of a service -> its number."""
    if manifest is None:
        return {}
    keys = {one.name: one.key for one in manifest.config.services}
    return {
        (keys[name], address): number
        for name, numbers in manifest.numbers.items()
        for address, number in numbers.items()
    }


def by_key(manifest: Manifest | None, what: str) -> dict[Key, Any]:
    """service_ids, past or tables, by what the data plane knows services by."""
    if manifest is None:
        return {}
    return {one.key: getattr(manifest, what)[one.name] for one in manifest.config.services}


def changed(random_: random.Random, services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The next state: things come, go and are renamed."""
    services = [{**one, "backends": [dict(b) for b in one["backends"]]} for one in services]
    for _turn in range(random_.randrange(1, 5)):
        what = random_.randrange(9)
        chosen = random_.choice(services) if services else None
        if what == 0 or chosen is None:
            port = random_.randrange(1, 9)
            if all(one["port"] != port for one in services):
                new = service(random_.randrange(5), name=f"n{random_.random()}", port=port)
                services.append(
                    {
                        **new,
                        "address": random_.choice(["192.0.2.10", "2001:db8::10"]),
                        "scheduler": random_.choice(["maglev", "jhash"]),
                    }
                )
        elif what == 1:
            services.remove(chosen)
        elif what == 2:
            chosen["name"] = f"renamed{random_.random()}"
        elif what == 3:
            other = random_.choice(services)
            chosen["name"], other["name"] = other["name"], chosen["name"]
        elif what == 4 and chosen["backends"]:
            chosen["backends"].remove(random_.choice(chosen["backends"]))
        elif what == 5 and chosen["backends"]:
            random_.choice(chosen["backends"])["weight"] = random_.randrange(3)
        elif what == 6:
            random_.shuffle(chosen["backends"])
        else:
            address = f"{random_.choice(['10.0.0.', 'fd00::'])}{random_.randrange(1, 30)}"
            if all(one["address"] != address for one in chosen["backends"]):
                chosen["backends"].append({"address": address})
    return services


def history(seed: int, steps: int, capacity: int) -> Iterator[tuple[Manifest | None, Manifest]]:
    random_ = random.Random(seed)
    services: list[dict[str, Any]] = []
    before: Manifest | None = None
    for _turn in range(steps):
        services = changed(random_, services)
        after = follow(config(*services), before, capacity)
        yield before, after
        before = after


@pytest.mark.parametrize("seed", range(20))
def test_numbers_stay_with_what_they_number(seed: int) -> None:
    for before, after in history(seed, 60, capacity=300):
        old, new = flat(before), flat(after)
        assert {key: new[key] for key in old.keys() & new.keys()} == {
            key: old[key] for key in old.keys() & new.keys()
        }
        old_past, new_past = by_key(before, "past"), by_key(after, "past")
        assert all(new_past[key] == old_past[key] for key in old_past.keys() & new_past.keys())
        assert after.all_numbers == {*new.values(), *new_past.values()}
        assert len(after.all_numbers) == len(new) + len(new_past)
        assert all(0 < number < 300 for number in after.all_numbers)
        fresh = {new[key] for key in new.keys() - old.keys()}
        fresh |= {new_past[key] for key in new_past.keys() - old_past.keys()}
        assert not fresh & {*old.values(), *old_past.values()}

        old_ids, new_ids = by_key(before, "service_ids"), by_key(after, "service_ids")
        assert all(new_ids[key] == old_ids[key] for key in old_ids.keys() & new_ids.keys())
        assert len(set(new_ids.values())) == len(new_ids)
        fresh = {new_ids[key] for key in new_ids.keys() - old_ids.keys()}
        assert not fresh & set(old_ids.values())

        assert after.generation == (before.generation if before else 0) + 1
        names = set(after.service_ids)
        assert names == set(after.numbers) == set(after.past)
        with_table = {one.name for one in after.config.services if not standing(one).is_settled}
        assert with_table == set(after.tables)


@pytest.mark.parametrize("seed", range(8))
def test_a_lookup_table_is_kept_exactly_while_it_is_right(seed: int) -> None:
    contents: dict[int, bytes] = {}  # what is in the kernel, by index
    for before, after in history(seed, 12, capacity=300):
        in_use = {table.index for table in (before.tables if before else {}).values()}
        for one in after.config.services:
            if one.name not in after.tables:
                continue
            table = after.tables[one.name]
            right = image.lookup_table(one, 0, after.numbers[one.name])
            if table.index in in_use:
                assert contents[table.index] == right
            contents[table.index] = right
        assert len({table.index for table in after.tables.values()}) == len(after.tables)


@pytest.mark.parametrize("seed", range(20))
def test_a_manifest_comes_back_from_the_kernel(seed: int) -> None:
    for _before, after in history(seed, 20, capacity=300):
        mtus: dict[Address, int] = {ip_address("10.0.0.1"): 1400, ip_address("fd00::1"): 1280}
        manifest = dataclasses.replace(
            after, build={"flags": ["-DX"], "bcc": None}, route_mtus=mtus
        )
        assert Manifest.load(manifest.dump()) == manifest
        assert Manifest.load(manifest.dump() + bytes(9)) == manifest


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0\0",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"7",
        follow(config(service()), None, 9).dump().replace(b"10.0.0.1", b"10.0.0."),
        follow(config(service()), None, 9).dump().replace(b'"port"', b'"porter"'),
        follow(config(service()), None, 9).dump().replace(b'"tables":{', b'"tables":{"a":[1],'),
        follow(config(service()), None, 9).dump().replace(b'"numbers":{"web"', b'"numbers":{"w"'),
    ],
)
def test_what_is_no_manifest(text: bytes) -> None:
    with pytest.raises(L4lbError, match="manifest of the maps is not readable"):
        Manifest.load(text)


# Numbers run out.


def test_all_numbers_can_be_used_and_no_more() -> None:
    full = follow(config(service(8)), None, 10)
    assert full.all_numbers == set(range(1, 10))
    assert len(flat(full)) == 8
    assert flat(follow(config(service(8)), full, 10)) == flat(full)
    with pytest.raises(L4lbError, match="all 9 backend numbers are in use"):
        numbering.place(config(service(9)), {}, full, 10)


def test_a_number_in_use_is_not_given_away_before_the_switch() -> None:
    full = follow(config(service(8)), None, 10)
    with pytest.raises(L4lbError, match="all 9 backend numbers are in use"):
        numbering.place(config(service(1, first="10.1.0.1")), {}, full, 10)


def test_a_number_that_was_given_up_is_reused_last() -> None:
    manifest = follow(config(service(3)), None, 11)
    freed = flat(manifest)[next(iter(flat(manifest)))]
    taken: list[int] = []
    for step in range(8):
        manifest = follow(config(service(1, first=f"10.1.0.{step}")), manifest, 11)
        taken += flat(manifest).values()
    assert len(set(taken)) == 8
    assert taken[6] == freed, "after the six that were never used"


@pytest.mark.parametrize(
    ("before", "after", "capacity"),
    [
        (None, 0, 1024),
        (None, 1022, 1024),
        (None, 1023, 4096),
        (None, 4094, 4096),
        (None, 4095, 16384),
        (None, 16382, 16384),
        (None, 16383, 65536),
        (None, 65534, 65536),
        (600, 600, 1024),
        (1024, 1, 4096),
    ],
)
def test_capacity(before: int | None, after: int, capacity: int) -> None:
    """For number 0, that of each service's former backends, and each backend's."""
    old = None if before is None else follow(config(service(before)), None, 65536)
    assert sizes.room_for(old, config(service(after))).backends == capacity


def test_capacity_is_for_all_services() -> None:
    services = [service(0, name=f"s{n}", port=n) for n in range(1, 1025)]
    assert sizes.room_for(None, config(*services[1:])).backends == 1024
    assert sizes.room_for(None, config(*services)).backends == 4096
    before = follow(config(*services[:512]), None, 1024)
    assert sizes.room_for(before, config(*services[512:])).backends == 4096


def test_capacity_is_for_both_the_old_and_the_new() -> None:
    old = follow(config(service(600)), None, 65536)
    assert sizes.room_for(old, config(service(600, first="10.1.0.0"))).backends == 4096
    assert sizes.room_for(old, config(service(600, first="10.1.0.0", port=81))).backends == 4096
    assert sizes.room_for(old, config(service(600, name="other"))).backends == 1024


def test_every_service_can_be_replaced_at_once() -> None:
    first = config(*(service(2, name=f"s{n}", port=n) for n in range(1, 4097)))
    second = config(*(service(2, name=f"s{n}", port=n) for n in range(5001, 9097)))
    before = follow(first, None, 65536)
    room = sizes.room_for(before, second)
    after = follow(second, before, room.backends)
    ids = [*before.service_ids.values(), *after.service_ids.values()]
    tables = [table.index for one in (before, after) for table in one.tables.values()]
    assert len(set(ids)) == len(set(tables)) == 8192
    assert max(ids) < layout.SERVICE_IDS
    assert max(tables) < room.tables


@pytest.mark.parametrize("count", [1, 9, 16, 17, 1000])
def test_a_change_of_backends_needs_no_other_room(count: int) -> None:
    first, second = (
        config(*(service(2, name=f"s{n}", port=n, first=start) for n in range(1, count + 1)))
        for start in ("10.0.0.0", "10.1.0.0")
    )
    before = follow(first, None, 65536)
    assert sizes.room_for(before, second).tables <= sizes.room_for(None, first).tables


# Lookup tables.

TWO: dict[Address, int] = {IPv4Address("10.0.0.1"): 5, IPv4Address("10.0.0.2"): 6}


def only(desired: Config) -> Service:
    return desired.services[0]


def digest(seed: int = 0, numbers: dict[Address, int] | None = None, **options: Any) -> str:
    return image.table_digest(only(config(service(**options))), seed, numbers or TWO)


def backends(*options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"address": f"10.0.0.{index}", **one} for index, one in enumerate(options, 1)]


def test_what_a_lookup_table_does_not_depend_on() -> None:
    assert digest(name="other", address="192.0.2.11", port=81, protocol="udp") == digest()
    assert digest(address="2001:db8::10", affinity="source", encapsulation="l2") == digest()
    assert digest(flow_table=False) == digest()
    assert digest(backends=backends({"mac": "52:54:00:00:00:0b"}, {})) == digest()
    assert digest(backends=backends({}, {})[::-1]) == digest()
    drained, disabled, none = (
        digest(backends=backends(one, {}))
        for one in ({"state": "drained"}, {"state": "disabled"}, {"weight": 0})
    )
    assert drained == disabled == none


def test_what_a_lookup_table_depends_on() -> None:
    digests = [
        digest(),
        digest(seed=1),
        digest(scheduler="jhash"),
        digest(scheduler="jhash", backends=backends({}, {})[::-1]),
        digest(numbers={IPv4Address("10.0.0.1"): 6, IPv4Address("10.0.0.2"): 5}),
        digest(backends=backends({"weight": 2}, {})),
        digest(backends=backends({"weight": 0}, {})),
        digest(count=1),
        digest(
            first="fd00::1",
            numbers={IPv6Address("fd00::1"): 5, IPv6Address("fd00::2"): 6},
        ),
    ]
    assert len(set(digests)) == len(digests)


def slots(**options: Any) -> array[int]:
    content = image.lookup_table(only(config(service(**options))), 0, TWO)
    assert len(content) == layout.LOOKUP_TABLE_SIZE
    return array("H", content)


def test_a_maglev_table_holds_numbers_of_backends() -> None:
    table = slots()
    assert set(table[: layout.TABLE_SLOTS]) == {5, 6}
    assert not any(table[layout.TABLE_SLOTS :])
    assert abs(table.count(5) - table.count(6)) == 1


def test_a_jhash_table_holds_numbers_of_backends() -> None:
    table = slots(scheduler="jhash")
    assert table[:512] == array("H", [5, 6] * 256)
    assert not any(table[512:])


@pytest.mark.parametrize("scheduler", ["maglev", "jhash"])
def test_without_a_usable_backend_a_table_is_empty(scheduler: str) -> None:
    for listed in ([], backends({"weight": 0}), backends({"state": "drained"})):
        assert not any(slots(scheduler=scheduler, backends=listed))


# What else is written.


def entries(
    *services: dict[str, Any], **options: Any
) -> dict[tuple[str, int, int], service_table.ServiceEntry]:
    manifest = follow(config(*services, **options), None, 1024)
    found = list(image.service_entries(manifest))
    result = {(str(entry.address), entry.port, entry.protocol): entry for entry in found}
    assert len(result) == len(found), "a key that is there twice"
    return result


def test_each_address_with_ports_has_marks() -> None:
    found = entries(
        service(flow_table=False),
        service(name="tls", port=443, scheduler="jhash"),
        service(name="udp", protocol="udp"),
        service(name="any", address="192.0.2.11", port=0),
        service(name="some", address="192.0.2.11", port=80),
        service(name="six", address="2001:db8::10", affinity="source", flow_table=False),
        hash_seed=3,
        udp_timeout=7,
    )
    flows = service_table.SERVICE_FLOW_TABLE
    mark = service_table.SERVICE_ADDRESS_ONLY
    assert {key: entry.flags for key, entry in found.items()} == {
        ("192.0.2.10", 80, 6): 0,
        ("192.0.2.10", 443, 6): service_table.SERVICE_JHASH | flows,
        ("192.0.2.10", 80, 17): flows,
        ("192.0.2.11", 0, 6): flows,
        ("192.0.2.11", 80, 6): flows,
        ("2001:db8::10", 80, 6): service_table.SERVICE_BY_SOURCE,
        ("192.0.2.10", 0, 6): mark,
        ("192.0.2.10", 0, 17): mark,
        ("192.0.2.10", 0, service_table.PROTOCOL_ANY): mark,
        ("192.0.2.11", 0, service_table.PROTOCOL_ANY): mark,
        ("2001:db8::10", 0, 6): mark,
        ("2001:db8::10", 0, service_table.PROTOCOL_ANY): mark,
    }
    assert {entry.udp_timeout for entry in found.values() if entry.flags != mark} == {7}


def test_marks_have_the_backends_of_a_service() -> None:
    """The first by name that has any."""
    found = entries(
        service(0, name="a", port=1),
        service(1, name="b", port=2),
        service(2, name="c", port=3),
        service(0, name="d", port=1, protocol="udp"),
        service(2, name="e", address="192.0.2.11"),
        service(0, name="f", address="192.0.2.12"),
    )
    settled = service_table.SERVICE_SETTLED | service_table.SERVICE_ADDRESS_ONLY
    one, two = found["192.0.2.10", 2, 6], found["192.0.2.11", 80, 6]
    assert one.choice
    expected = {
        ("192.0.2.10", 6): (one.choice, settled),
        ("192.0.2.10", service_table.PROTOCOL_ANY): (one.choice, settled),
        ("192.0.2.10", 17): (0, settled),
        ("192.0.2.11", service_table.PROTOCOL_ANY): (
            two.choice,
            service_table.SERVICE_ADDRESS_ONLY,
        ),
        ("192.0.2.12", service_table.PROTOCOL_ANY): (0, settled),
    }
    marks = {(address, protocol): found[address, 0, protocol] for address, protocol in expected}
    assert {key: (mark.choice, mark.flags) for key, mark in marks.items()} == expected


def test_marks_use_the_records_that_the_service_does() -> None:
    manifest = replace(follow(config(service(1)), None, 1024), second=frozenset(["web"]))
    for entry in image.service_entries(manifest):
        assert entry.flags & service_table.SERVICE_SECOND


@pytest.mark.parametrize("scheduler", ["maglev", "jhash"])
def test_a_service_of_one_backend_needs_no_table(scheduler: str) -> None:
    usable = {"address": "10.0.0.1"}
    others = [
        {"address": "10.0.0.2", "state": "drained"},
        {"address": "10.0.0.3", "weight": 0},
    ]
    for backends, number in (([], 0), (others, 0), ([*others, usable], None)):
        desired = config(service(scheduler=scheduler, backends=backends))
        manifest = follow(desired, None, 1024)
        assert standing(only(desired)).is_settled and not manifest.tables
        entry = next(iter(image.service_entries(manifest)))
        assert entry.flags & service_table.SERVICE_SETTLED
        numbers = manifest.numbers["web"]
        assert entry.choice == (numbers[IPv4Address("10.0.0.1")] if number is None else number)


@pytest.mark.parametrize(
    ("before", "after", "tables"),
    [(0, 8, 16), (8, 8, 16), (8, 9, 32), (0, 1000, 1024), (1000, 1000, 2048)],
)
def test_room_for_lookup_tables(before: int, after: int, tables: int) -> None:
    """All of them may have to be made anew at once."""
    pools = [service(2, name=f"s{n}", port=n) for n in range(1, 1001)]
    old = follow(config(*pools[:before]), None, 65536)
    single = service(1, name="single", port=5000)
    assert sizes.room_for(old, config(*pools[:after], single)).tables == tables


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bits", [32, 128], ids=["IPv4", "IPv6"])
def test_as_many_services_as_the_model_allows_fit_whatever_their_addresses(
    seed: int, bits: int
) -> None:
    random_ = random.Random(seed)
    addresses = {
        (IPv4Address if bits == 32 else IPv6Address)(
            random_.getrandbits(bits - 8) | 0x20 << bits - 8
        )
        for _each in range(MAX_SERVICES)
    }
    desired = config(
        *(
            service(0, name=f"s{n}", address=str(address), port=random_.randrange(1, 65536))
            for n, address in enumerate(addresses)
        )
    )
    found = image.service_entries(follow(desired, None, 16384))
    service_table.pack_service_table(service_table.ServiceHeader(layout.VERSION, 1, 1, 0), found)


def test_numbers_of_a_service_are_those_of_the_manifest() -> None:
    desired = config(service(), service(name="b", port=81), service(name="c", address="::c"))
    manifest = follow(desired, None, 1024)
    for entry in image.service_entries(manifest):
        if not entry.flags & service_table.SERVICE_ADDRESS_ONLY:
            (one,) = (
                one
                for one in desired.services
                if (one.address, one.port) == (entry.address, entry.port)
            )
            assert entry.id == manifest.service_ids[one.name]
            assert entry.choice == manifest.tables[one.name].index


@pytest.mark.parametrize(
    ("size", "listed", "remembered"),
    [(65536, True, True), (65536, False, False), (0, True, False), (0, False, False)],
)
def test_which_services_remember_flows(size: int, listed: bool, remembered: bool) -> None:
    desired = config(service(flow_table=listed), flow_table_size=size)
    assert remembers(only(desired), desired) == remembered
    entry = entries(service(flow_table=listed), flow_table_size=size)["192.0.2.10", 80, 6]
    assert bool(entry.flags & service_table.SERVICE_FLOW_TABLE) == remembered
    assert ("-DWITH_FLOW_TABLE" in build.features(desired)) == remembered


@pytest.mark.parametrize(
    ("size", "rounded"),
    [
        (0, 1024),  # the least that a map holds; it is not compiled then
        (1, 1024),
        (1024, 1024),
        (1025, 2048),
        (5000, 8192),
        (65536, 65536),
        (65537, 131072),
        (2**24, 2**24),
    ],
)
def test_the_size_of_the_flow_table(size: int, rounded: int) -> None:
    blocks = sizes.flow_blocks(config(flow_table_size=size))
    assert blocks * flow_table.FLOW_BLOCK_FLOWS == rounded


@pytest.mark.parametrize(
    ("gateway", "mac", "expected"),
    [
        (None, None, None),
        (None, "52:54:00:00:00:0b", "52:54:00:00:00:0b"),
        ("52:54:00:00:00:fe", None, "52:54:00:00:00:fe"),
        ("52:54:00:00:00:fe", "52:54:00:00:00:0b", "52:54:00:00:00:0b"),
    ],
)
@pytest.mark.parametrize("source", [None, "10.8.8.8", "10.8.8.0/28"])
def test_backend_records(
    gateway: str | None, mac: str | None, expected: str | None, source: str | None
) -> None:
    desired = config(
        service(backends=backends({"mac": mac})), gateway_mac=gateway, source_address=source
    )
    manifest = follow(desired, None, 1024)
    record = backend_record.BackendRecord(
        address=IPv4Address("10.0.0.1"),
        source=ip_network(source or "10.9.9.9"),
        encapsulation="ipip",
        service=0,
        inner_version=4,
        gue_port=6080,
        mac=expected,
        source_mac=INGRESS.mac,
        mtu=1492 if expected else 0,
    )
    number = manifest.numbers["web"][IPv4Address("10.0.0.1")]
    assert image.backend_records(manifest, INGRESS) == {number: record.pack()}


@pytest.mark.parametrize(
    ("vip", "address", "own"),
    [
        ("192.0.2.10", "10.0.0.1", "10.9.9.9"),
        ("192.0.2.10", "fd00::1", "2001:db8::99"),
        ("2001:db8::10", "fd00::1", "2001:db8::99"),
        ("2001:db8::10", "10.0.0.1", "10.9.9.9"),
    ],
)
@pytest.mark.parametrize("state", ["enabled", "drained", "disabled"])
@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "gre", "l2"])
def test_backend_records_of_both_families(
    vip: str, address: str, own: str, state: str, encapsulation: str
) -> None:
    desired = config(
        service(name="other", port=1),
        service(
            address=vip,
            encapsulation=encapsulation,
            backends=[{"address": address, "state": state}],
        ),
        gue_port=666,
    )
    manifest = follow(desired, None, 1024)
    record = backend_record.BackendRecord(
        address=ip_address(address),
        source=ip_network(own),
        encapsulation=encapsulation,
        service=manifest.service_ids["web"],
        inner_version=ip_address(vip).version,
        keeps_flows=state != "disabled",
        takes_flows=state == "enabled",
        gue_port=666,
    )
    number = manifest.numbers["web"][ip_address(address)]
    assert image.backend_records(manifest, INGRESS)[number] == record.pack()


def test_a_backend_of_weight_0_takes_no_new_flows() -> None:
    desired = config(service(backends=[{"address": "10.0.0.1", "weight": 0}]))
    manifest = follow(desired, None, 1024)
    number = manifest.numbers["web"][ip_address("10.0.0.1")]
    record = image.backend_records(manifest, INGRESS)[number]
    flags = int.from_bytes(record[38:40], sys.byteorder)
    assert flags & backend_record.BACKEND_KEEPS_FLOWS
    assert not flags & backend_record.BACKEND_TAKES_FLOWS


@pytest.mark.parametrize(
    ("mac", "option", "route", "expected"),
    [
        (None, None, 0, 0),
        (None, None, 1400, 1400),
        (None, 1300, 0, 1300),
        (None, 1300, 1400, 1300),
        (None, 1450, 1400, 1400),
        (None, 9000, 0, 9000),
        ("52:54:00:00:00:0b", None, 0, 1492),
        ("52:54:00:00:00:0b", None, 1400, 1492),
        ("52:54:00:00:00:0b", 1300, 0, 1300),
        ("52:54:00:00:00:0b", 9000, 0, 1492),
    ],
)
def test_the_longest_packet_on_the_way_to_a_backend(
    mac: str | None, option: int | None, route: int, expected: int
) -> None:
    """With a given MAC address the route does not matter; else the interface is followed."""
    desired = config(service(backends=backends({"mac": mac, "mtu": option})))
    manifest = follow(desired, None, 1024)
    address = IPv4Address("10.0.0.1")
    if route:
        manifest = replace(manifest, route_mtus={address: route})
    record = image.backend_records(manifest, INGRESS)[manifest.numbers["web"][address]]
    assert backend_record.mtu_of(record) == expected


# The outer source.

NO_ADDRESSES = Ingress(None, "02:00:00:00:00:01")


def outer_source(address: str, source: Ingress, **options: Any) -> str:
    given = {key: options.pop(key) for key in ("encapsulation",) if key in options}
    desired = config(service(backends=[{"address": address}], **given), **options)
    one = only(desired)
    return str(image.outer_source(one.backends[0], one, desired, source))


@pytest.mark.parametrize(
    ("address", "options", "expected"),
    [
        ("10.0.0.1", {}, "10.9.9.9/32"),
        ("fd00::1", {}, "2001:db8::99/128"),
        ("10.0.0.1", {"source_address": "10.8.8.8"}, "10.8.8.8/32"),
        ("10.0.0.1", {"source_address": "10.8.8.0/28"}, "10.8.8.0/28"),
        ("10.0.0.1", {"source_address6": "2001:db8::/112"}, "10.9.9.9/32"),
        ("fd00::1", {"source_address": "10.8.8.8"}, "2001:db8::99/128"),
        ("fd00::1", {"source_address6": "2001:db8:1::/112"}, "2001:db8:1::/112"),
    ],
)
def test_the_outer_source(address: str, options: dict[str, Any], expected: str) -> None:
    assert outer_source(address, INGRESS, **options) == expected


@pytest.mark.parametrize("encapsulation", ["ipip", "gue", "gre"])
@pytest.mark.parametrize(
    ("address", "option", "family", "source"),
    [
        ("10.0.0.1", "source_address", "IPv4", NO_ADDRESSES),
        ("fd00::1", "source_address6", "IPv6", NO_ADDRESSES),
        ("10.0.0.1", "source_address", "IPv4", dataclasses.replace(INGRESS, address=None)),
        ("fd00::1", "source_address6", "IPv6", dataclasses.replace(INGRESS, address6=None)),
    ],
)
def test_a_tunnel_needs_a_source_of_its_family(
    address: str, option: str, family: str, source: Ingress, encapsulation: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        outer_source(address, source, encapsulation=encapsulation)
    assert str(caught.value) == (
        f"{option}: None: eth0 has no {family} address, other than those of services, for tunnels "
        f"to {address}; give it one, or set this option"
    )
    value = {"source_address": "10.8.8.8", "source_address6": "2001:db8::1"}[option]
    assert outer_source(address, source, encapsulation=encapsulation, **{option: value})


@pytest.mark.parametrize(("address", "none"), [("10.0.0.1", "0.0.0.0/32"), ("fd00::1", "::/128")])
def test_without_a_tunnel_no_source_is_needed(address: str, none: str) -> None:
    assert outer_source(address, NO_ADDRESSES, encapsulation="l2") == none


# What is compiled.


@pytest.mark.parametrize(
    ("services", "options", "flags"),
    [
        ([], {}, "IPIP IPV4 MAGLEV"),
        ([service(flow_table=False)], {}, "IPIP IPV4 MAGLEV"),
        ([service()], {}, "FLOW_TABLE IPIP IPV4 MAGLEV"),
        ([service()], {"flow_table_size": 0}, "IPIP IPV4 MAGLEV"),
        (
            [service(scheduler="jhash", port=0, flow_table=False)],
            {},
            "ANY_PORT IPIP IPV4 JHASH",
        ),
        (
            [service(), service(name="b", port=81, scheduler="jhash", flow_table=False)],
            {},
            "FLOW_TABLE IPIP IPV4 JHASH MAGLEV",
        ),
        ([service(address="2001:db8::10")], {}, "FLOW_TABLE IPIP IPV6 MAGLEV"),
        (
            [service(address="2001:db8::10"), service(name="four")],
            {},
            "FLOW_TABLE IPIP IPV4 IPV6 MAGLEV",
        ),
        ([service(affinity="source")], {}, "BY_SOURCE FLOW_TABLE IPIP IPV4 MAGLEV"),
        ([service(encapsulation="gue")], {}, "FLOW_TABLE GUE IPV4 MAGLEV"),
        ([service(encapsulation="gre")], {}, "FLOW_TABLE GRE IPV4 MAGLEV"),
        ([service(encapsulation="l2")], {}, "FLOW_TABLE IPV4 L2 MAGLEV"),
        (
            [
                service(encapsulation=encapsulation, name=encapsulation, port=port)
                for port, encapsulation in enumerate(("ipip", "gue", "gre", "l2"))
            ],
            {},
            "ANY_PORT FLOW_TABLE GRE GUE IPIP IPV4 L2 MAGLEV",
        ),
        (
            [service()],
            {"source_address": "10.8.8.8", "source_address6": "2001:db8::1"},
            "FLOW_TABLE IPIP IPV4 MAGLEV",
        ),
        ([service()], {"source_address": "10.8.8.0/31"}, "FLOW_TABLE IPIP IPV4 MAGLEV SPREAD"),
        (
            [service()],
            {"source_address6": "2001:db8::/127"},
            "FLOW_TABLE IPIP IPV4 MAGLEV SPREAD",
        ),
    ],
)
def test_only_what_is_used_is_compiled(
    services: list[dict[str, Any]], options: dict[str, Any], flags: str
) -> None:
    expected = [f"-DWITH_{name}" for name in flags.split()]
    assert build.features(config(*services, **options)) == expected


def test_every_feature_is_known_to_c_and_the_other_way_round() -> None:
    everything = config(
        *(
            service(
                name=f"{n}",
                port=n,
                encapsulation=encapsulation,
                address="2001:db8::10" if n % 2 else "192.0.2.10",
                scheduler="jhash" if n % 2 else "maglev",
                affinity="source" if n % 2 else "flow",
            )
            for n, encapsulation in enumerate(("ipip", "gue", "gre", "l2"))
        ),
        source_address="10.8.8.0/28",
    )
    text = "".join(path.read_text() for path in BPF.rglob("*.[ch]"))
    tested = set(re.findall(r"^#(?:if|ifdef|ifndef|elif)\b.*", text, re.MULTILINE))
    known = set(re.findall(r"\bWITH_\w+", "\n".join(tested)))
    # IP in IP is what is left if nothing else is asked for
    assert {flag.removeprefix("-D") for flag in build.features(everything)} == known | {"WITH_IPIP"}


# Which frames are the balancer's.

MAC, BRIDGE, VRRP, GIVEN = (f"02:00:00:00:00:{last}" for last in ("99", "02", "55", "01"))


def with_receivers(receivers: Receivers) -> Ingress:
    return Ingress(IPv4Address("10.9.9.9"), MAC, receivers=receivers)


@pytest.mark.parametrize(
    ("macs", "given", "expected"),
    [
        pytest.param((), [], [], id="the interface's alone"),
        pytest.param((BRIDGE,), [], [BRIDGE], id="a bridge's"),
        pytest.param((), [GIVEN], [GIVEN], id="one that is given"),
        pytest.param((VRRP, BRIDGE), [GIVEN], [GIVEN, BRIDGE, VRRP], id="in order"),
        pytest.param((MAC, BRIDGE), [MAC, BRIDGE], [BRIDGE], id="each once"),
    ],
)
def test_own_macs(macs: tuple[str, ...], given: list[str], expected: list[str]) -> None:
    source = with_receivers(Receivers(macs))
    assert image.own_macs(config(own_macs=given), source) == (MAC, *expected)


def test_more_own_macs_than_fit() -> None:
    macs = [f"06:00:00:00:00:{number:02x}" for number in range(64)]
    assert len(image.own_macs(config(), with_receivers(Receivers(tuple(macs[1:]))))) == 64
    with pytest.raises(ConfigError, match=r"^own_macs: '65 addresses': at most 64 fit") as caught:
        image.own_macs(config(), with_receivers(Receivers(tuple(macs))))
    assert "bridge or bond that it is a port of" in str(caught.value)


def test_receivers_come_back_from_a_service_table() -> None:
    then = with_receivers(Receivers((BRIDGE, VRRP), {0: 3, 100: 4, 4094: 5}, {VRRP: 6}))
    own_macs = image.own_macs(config(), then)
    numbers = image.receivers(own_macs, then)
    assert numbers == {0: 3, 100: 4, 4094: 5, 4096 + 2: 6}
    header = service_table.ServiceHeader(layout.VERSION, 1, 1, own_macs=own_macs, receivers=numbers)
    now = Ingress(IPv4Address("10.9.9.8"), BRIDGE, mtu=1400)
    assert image.ingress_of(header.pack(), now) == dataclasses.replace(
        then, address=now.address, mtu=1400
    )
    assert image.ingress_of(service_table.ServiceHeader(layout.VERSION, 1, 1).pack(), now).mac == (
        "00:00:00:00:00:00"
    )


def test_more_backends_than_can_be_numbered() -> None:
    most = config(service(65534, first="10.0.0.0"))
    assert sizes.room_for(None, most).backends == 65536
    same = numbering.place(most, {}, None, 65536)
    assert sizes.room_for(same, most).backends == 65536
    other = config(service(65534, first="10.0.0.1"))
    with pytest.raises(ConfigError, match="remove some first"):
        sizes.room_for(same, other)
