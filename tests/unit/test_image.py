# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers stay with what they number, whatever follows whatever; the manifest tells it all."""

from __future__ import annotations

import dataclasses
import random
from array import array
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils import image, layout
from ansible_collections.xdp.l4lb.plugins.module_utils.errors import L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils.image import Manifest, Source, Table
from ansible_collections.xdp.l4lb.plugins.module_utils.model import Config, Service

SOURCE = Source(IPv4Address("10.9.9.9"), "02:00:00:00:00:01")
Key = tuple[IPv4Address, int, str]


def config(*services: dict[str, Any], **options: Any) -> Config:
    return Config.parse({"interface": "eth0", "services": services, **options})


def service(count: int = 2, first: str = "10.0.0.1", **options: Any) -> dict[str, Any]:
    start = int(IPv4Address(first))
    backends = [{"address": str(IPv4Address(start + index))} for index in range(count)]
    defaults = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    return {**defaults, "backends": backends, **options}


def follow(desired: Config, before: Manifest | None, capacity: int) -> Manifest:
    """The manifest after `before`, with the lookup tables that are missing, as DataPath.stage."""
    after = image.place(desired, {}, before, capacity)
    spare = image.spare_tables(table.index for table in (before.tables if before else {}).values())
    for one in desired.services:
        if one.name not in after.tables:
            digest = image.table_digest(one, desired.hash_seed, after.numbers[one.name])
            after.tables[one.name] = Table(next(spare), digest, 0)
    return after


def flat(manifest: Manifest | None) -> dict[tuple[Key, IPv4Address], int]:
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
    """service_ids or tables, by what the data plane knows services by."""
    if manifest is None:
        return {}
    return {one.key: getattr(manifest, what)[one.name] for one in manifest.config.services}


def changed(random_: random.Random, services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The next state: things come, go and are renamed."""
    services = [{**one, "backends": [dict(b) for b in one["backends"]]} for one in services]
    for _ in range(random_.randrange(1, 5)):
        what = random_.randrange(9)
        chosen = random_.choice(services) if services else None
        if what == 0 or chosen is None:
            port = random_.randrange(1, 9)
            if all(one["port"] != port for one in services):
                new = service(random_.randrange(5), name=f"n{random_.random()}", port=port)
                services.append({**new, "scheduler": random_.choice(["maglev", "jhash"])})
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
            address = f"10.0.0.{random_.randrange(1, 30)}"
            if all(one["address"] != address for one in chosen["backends"]):
                chosen["backends"].append({"address": address})
    return services


def history(seed: int, steps: int, capacity: int) -> Iterator[tuple[Manifest | None, Manifest]]:
    random_ = random.Random(seed)
    services: list[dict[str, Any]] = []
    before: Manifest | None = None
    for _ in range(steps):
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
        assert len(set(new.values())) == len(new)
        assert all(0 < number < 300 for number in new.values())
        assert not {new[key] for key in new.keys() - old.keys()} & set(old.values())

        old_ids, new_ids = by_key(before, "service_ids"), by_key(after, "service_ids")
        assert all(new_ids[key] == old_ids[key] for key in old_ids.keys() & new_ids.keys())
        assert len(set(new_ids.values())) == len(new_ids)
        fresh = {new_ids[key] for key in new_ids.keys() - old_ids.keys()}
        assert not fresh & set(old_ids.values())

        assert after.generation == (before.generation if before else 0) + 1
        assert set(after.service_ids) == set(after.numbers) == set(after.tables)


@pytest.mark.parametrize("seed", range(8))
def test_a_lookup_table_is_kept_exactly_while_it_is_right(seed: int) -> None:
    contents: dict[int, bytes] = {}  # what is in the kernel, by index
    for before, after in history(seed, 12, capacity=300):
        in_use = {table.index for table in (before.tables if before else {}).values()}
        for one in after.config.services:
            table = after.tables[one.name]
            right = image.lookup_table(one, 0, after.numbers[one.name])
            if table.index in in_use:
                assert contents[table.index] == right
            contents[table.index] = right
        assert len({table.index for table in after.tables.values()}) == len(after.tables)


@pytest.mark.parametrize("seed", range(20))
def test_a_manifest_comes_back_from_the_kernel(seed: int) -> None:
    for _before, after in history(seed, 20, capacity=300):
        manifest = dataclasses.replace(after, build={"flags": ["-DX"], "bcc": None})
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
    full = follow(config(service(9)), None, 10)
    assert sorted(flat(full).values()) == list(range(1, 10))
    assert flat(follow(config(service(9)), full, 10)) == flat(full)
    with pytest.raises(L4lbError, match="all 9 backend numbers are in use"):
        image.place(config(service(10)), {}, full, 10)


def test_a_number_in_use_is_not_given_away_before_the_switch() -> None:
    full = follow(config(service(9)), None, 10)
    with pytest.raises(L4lbError, match="all 9 backend numbers are in use"):
        image.place(config(service(1, first="10.1.0.1")), {}, full, 10)


def test_a_number_that_was_given_up_is_reused_last() -> None:
    manifest = follow(config(service(3)), None, 10)
    freed = flat(manifest)[next(iter(flat(manifest)))]
    taken = []
    for step in range(8):
        manifest = follow(config(service(1, first=f"10.1.0.{step}")), manifest, 10)
        taken += flat(manifest).values()
    assert len(set(taken)) == 8
    assert taken[6] == freed, "after the six that were never used"


@pytest.mark.parametrize(
    ("before", "after", "capacity"),
    [
        (None, 0, 1024),
        (None, 1023, 1024),
        (None, 1024, 4096),
        (None, 4095, 4096),
        (None, 4096, 16384),
        (None, 16383, 16384),
        (None, 16384, 65536),
        (None, 65535, 65536),
        (600, 600, 1024),
        (1024, 1, 4096),
    ],
)
def test_capacity(before: int | None, after: int, capacity: int) -> None:
    old = None if before is None else follow(config(service(before)), None, 65536)
    assert image.capacity_for(old, config(service(after))) == capacity


def test_capacity_is_for_both_the_old_and_the_new() -> None:
    old = follow(config(service(600)), None, 65536)
    assert image.capacity_for(old, config(service(600, first="10.1.0.0"))) == 4096
    assert image.capacity_for(old, config(service(600, first="10.1.0.0", port=81))) == 4096
    assert image.capacity_for(old, config(service(600, name="other"))) == 1024


def test_every_service_can_be_replaced_at_once() -> None:
    first = config(*(service(0, name=f"s{n}", port=n) for n in range(1, 4097)))
    second = config(*(service(0, name=f"s{n}", port=n) for n in range(5001, 9097)))
    before = follow(first, None, 1024)
    after = follow(second, before, 1024)
    ids = [*before.service_ids.values(), *after.service_ids.values()]
    tables = [table.index for one in (before, after) for table in one.tables.values()]
    assert len(set(ids)) == len(set(tables)) == 8192
    assert max(ids) < layout.SERVICE_IDS
    assert max(tables) < layout.LOOKUP_TABLES


# Lookup tables.

TWO = {IPv4Address("10.0.0.1"): 5, IPv4Address("10.0.0.2"): 6}


def only(desired: Config) -> Service:
    return desired.services[0]


def digest(seed: int = 0, numbers: dict[IPv4Address, int] | None = None, **options: Any) -> str:
    return image.table_digest(only(config(service(**options))), seed, numbers or TWO)


def backends(*options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"address": f"10.0.0.{index}", **one} for index, one in enumerate(options, 1)]


def test_what_a_lookup_table_does_not_depend_on() -> None:
    assert digest(name="other", address="192.0.2.11", port=81, protocol="udp") == digest()
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
) -> dict[tuple[str, int, int], tuple[int, int]]:
    manifest = follow(config(*services, **options), None, 1024)
    found = list(image.service_entries(manifest))
    result = {
        (str(entry.address), entry.port, entry.protocol): (entry.flags, entry.seed)
        for entry in found
    }
    assert len(result) == len(found), "a key that is there twice"
    return result


def test_each_address_with_ports_has_a_mark() -> None:
    assert entries(
        service(),
        service(name="tls", port=443, scheduler="jhash"),
        service(name="udp", protocol="udp"),
        service(name="any", address="192.0.2.11", port=0),
        service(name="some", address="192.0.2.11", port=80),
        hash_seed=3,
    ) == {
        ("192.0.2.10", 80, 6): (0, 3),
        ("192.0.2.10", 443, 6): (layout.SERVICE_JHASH, 3),
        ("192.0.2.10", 80, 17): (0, 3),
        ("192.0.2.11", 0, 6): (0, 3),
        ("192.0.2.11", 80, 6): (0, 3),
        ("192.0.2.10", 0, 6): (layout.SERVICE_ADDRESS_ONLY, 0),
        ("192.0.2.10", 0, 17): (layout.SERVICE_ADDRESS_ONLY, 0),
    }


@pytest.mark.parametrize(
    ("gateway", "mac", "expected"),
    [
        (None, None, None),
        (None, "52:54:00:00:00:0b", "52:54:00:00:00:0b"),
        ("52:54:00:00:00:fe", None, "52:54:00:00:00:fe"),
        ("52:54:00:00:00:fe", "52:54:00:00:00:0b", "52:54:00:00:00:0b"),
    ],
)
@pytest.mark.parametrize("source", [None, "10.8.8.8"])
def test_backend_records(
    gateway: str | None, mac: str | None, expected: str | None, source: str | None
) -> None:
    desired = config(
        service(backends=backends({"mac": mac})), gateway_mac=gateway, source_address=source
    )
    manifest = follow(desired, None, 1024)
    record = layout.pack_backend(
        IPv4Address("10.0.0.1"),
        IPv4Address(source or "10.9.9.9"),
        expected,
        SOURCE.mac,
    )
    assert image.backend_records(manifest, SOURCE) == {1: record}


@pytest.mark.parametrize(
    ("services", "flags"),
    [
        ([], []),
        ([service()], ["-DWITH_MAGLEV"]),
        ([service(scheduler="jhash", port=0)], ["-DWITH_ANY_PORT", "-DWITH_JHASH"]),
        (
            [service(), service(name="b", port=81, scheduler="jhash")],
            ["-DWITH_JHASH", "-DWITH_MAGLEV"],
        ),
    ],
)
def test_only_what_is_used_is_compiled(services: list[dict[str, Any]], flags: list[str]) -> None:
    assert image.features(config(*services)) == flags
