# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""layout.py and the C headers say the same, and what Python packs is where C looks for it."""

from __future__ import annotations

import random
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils import layout, schedulers
from ansible_collections.xdp.l4lb.plugins.module_utils.errors import L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils.layout import ServiceEntry, ServiceHeader

BPF = Path(__file__).resolve().parents[2] / "files" / "bpf"
TEXT = "\n".join(path.read_text() for path in sorted(BPF.glob("*.[ch]")))
CODE = re.sub(r"/\*.*?\*/|//[^\n]*", " ", TEXT, flags=re.DOTALL)

DEFINES = dict(re.findall(r"^#define[ \t]+(\w+)[ \t]+(\S[^\n]*?)[ \t]*$", CODE, re.MULTILINE))


def number(expression: str) -> int:
    """The value of a C expression of integers, +, *, << and names of #defines."""
    python = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)U?L{0,2}\b", r"\1", expression)
    python = re.sub(r"\b[A-Za-z_]\w*\b", lambda found: f"({number(DEFINES[found[0]])})", python)
    if not re.fullmatch(r"[0-9a-fA-Fx()+*<\s-]+", python):
        raise ValueError(f"more than this test understands: {expression}")
    return int(eval(python))  # noqa: S307 (nothing but numbers and operators)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_BITS", layout.SERVICE_BITS),
        ("SERVICE_SLOTS", layout.SERVICE_SLOTS),
        ("SERVICE_PROBES", layout.SERVICE_PROBES),
        ("SERVICE_IDS", layout.SERVICE_IDS),
        ("LOOKUP_TABLES", layout.LOOKUP_TABLES),
        ("TABLE_SLOTS", layout.TABLE_SLOTS),
        ("TABLE_SLOTS", schedulers.MAGLEV_SLOTS),
        ("JHASH_SLOTS", schedulers.JHASH_SLOTS),
        ("SERVICE_ADDRESS_ONLY", layout.SERVICE_ADDRESS_ONLY),
        ("SERVICE_JHASH", layout.SERVICE_JHASH),
        ("BACKEND_HAS_MAC", layout.BACKEND_HAS_MAC),
        ("GOLDEN_32", layout.GOLDEN_32),
        ("OUTER_TTL", layout.OUTER_TTL),
    ],
)
def test_numbers_are_the_same_in_c(name: str, value: int) -> None:
    assert number(DEFINES[name]) == value


def test_flags_of_a_kind_do_not_overlap() -> None:
    for kind in ("SERVICE_ADDRESS_ONLY|SERVICE_JHASH", "BACKEND_HAS_MAC"):
        flags = [getattr(layout, name) for name in kind.split("|")]
        assert all(flag.bit_count() == 1 for flag in flags)
        assert len(set(flags)) == len(flags)


def test_reasons_to_drop_are_in_the_same_order_in_c() -> None:
    body = re.search(r"enum drop \{(.*?)\}", CODE, re.DOTALL)
    assert body
    names = [name.strip() for name in body[1].split(",") if name.strip()]
    assert names == [
        "DROP_NONE",
        *(f"DROP_{reason.upper()}" for reason in layout.DROPS),
        "DROP_REASONS",
    ]


def test_each_reason_to_drop_is_used_and_says_what_to_do() -> None:
    for reason, meaning in layout.DROPS.items():
        assert len(re.findall(rf"\bDROP_{reason.upper()}\b", CODE)) > 1, f"nothing drops: {reason}"
        assert re.fullmatch(r"\w.*\.( .*\.)+", meaning), reason


SIZES = {
    "service": layout._SERVICE.size,
    "service_table": layout.SERVICE_TABLE_SIZE,
    "lookup_table": layout.LOOKUP_TABLE_SIZE,
    "backend": layout.BACKEND_SIZE,
    "backend_cpu": layout.BACKEND_CPU_SIZE,
    "counter": layout.COUNTER.size,
}
ASSERTED = dict(re.findall(r"ASSERT_SIZE\(struct (\w+), ([^;]+)\);", CODE))


def test_every_asserted_struct_is_known_here() -> None:
    assert ASSERTED.keys() == SIZES.keys()


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_same_in_c(name: str) -> None:
    assert number(ASSERTED[name]) == SIZES[name]


def members(name: str) -> dict[str, tuple[int, int]]:
    """Member -> (offset, size) of a C struct of integers and arrays of them."""
    sizes = {"__u8": 1, "__u16": 2, "__be16": 2, "__u32": 4, "__be32": 4, "__u64": 8}
    sizes["service"] = 32
    body = re.search(rf"struct {name} \{{(.*?)\n\}};", CODE, re.DOTALL)
    assert body
    found = {}
    offset = 0
    for kind, member, length in re.findall(r"(\w+) (\w+)(?:\[(\w+)\])?;", body[1]):
        count = {"": 1, "ETH_ALEN": 6}.get(length) or number(length)
        offset = -(-offset // sizes[kind]) * sizes[kind]
        found[member] = (offset, sizes[kind] * count)
        offset += sizes[kind] * count
    return found


def test_members_of_a_service_are_where_c_has_them() -> None:
    entry = ServiceEntry(
        IPv4Address("1.2.3.4"), 0x1234, 17, id=0x5678, table=0x1ABC, seed=0xDEADBEEF, flags=2
    )
    packed = entry.pack()
    expected = {
        "address": bytes([1, 2, 3, 4]) + bytes(12),
        "port": b"\x12\x34",
        "protocol": b"\x11",
        "family": b"\x04",
        "id": (0x5678).to_bytes(2, sys.byteorder),
        "table": (0x1ABC).to_bytes(2, sys.byteorder),
        "seed": (0xDEADBEEF).to_bytes(4, sys.byteorder),
        "flags": (2).to_bytes(4, sys.byteorder),
    }
    found = members("service")
    assert found.keys() == expected.keys()
    for name, (offset, size) in found.items():
        assert packed[offset : offset + size] == expected[name], name


@pytest.mark.parametrize("mac", [None, "52:54:00:00:00:0b"])
def test_members_of_a_backend_are_where_c_has_them(mac: str | None) -> None:
    packed = layout.pack_backend(
        IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1"), mac, "02:00:00:00:00:01"
    )
    header = bytes.fromhex("4500000000004000400400000a0000010a000002")
    expected = {
        "destination": bytes([10, 0, 0, 2]) + bytes(12),
        "source": bytes([10, 0, 0, 1]) + bytes(12),
        "sum": sum(struct.unpack("=10H", header)).to_bytes(4, sys.byteorder),
        "flags": (1 if mac else 0).to_bytes(4, sys.byteorder),
        "destination_mac": bytes.fromhex("52540000000b") if mac else bytes(6),
        "source_mac": bytes.fromhex("020000000001") if mac else bytes(6),
        "padding": bytes(12),
    }
    found = members("backend")
    assert found.keys() == expected.keys()
    for name, (offset, size) in found.items():
        assert packed[offset : offset + size] == expected[name], name


def test_the_head_of_a_service_table() -> None:
    header = ServiceHeader(layout.VERSION, 0x12345678, 77)
    packed = layout.pack_service_table(header, [])
    assert len(packed) == layout.SERVICE_TABLE_SIZE
    assert ServiceHeader.unpack(packed) == header
    assert not any(packed[12:])
    found = members("service_table")
    for name, value in (("layout", layout.VERSION), ("generation", 0x12345678), ("manifest", 77)):
        offset, size = found[name]
        assert int.from_bytes(packed[offset : offset + size], sys.byteorder) == value


# The service table, searched as service.h does it, from its text.


class ServiceTable:
    """A packed service table in C's eyes."""

    def __init__(self, entries: Iterable[ServiceEntry]) -> None:
        packed = layout.pack_service_table(ServiceHeader(layout.VERSION, 1, 1), entries)
        self.slots = [packed[offset : offset + 32] for offset in range(16, 16 + 32 * 2**14, 32)]
        assert len(packed) == 16 + 32 * 2**14

    def find(self, address: IPv4Address, port: int, protocol: int) -> int | None:
        """The id of a service; None if none is found."""
        # What the program loads from the packet, on this machine.
        (address_word,) = struct.unpack("=I", address.packed)
        (port_word,) = struct.unpack("=H", port.to_bytes(2, "big"))
        product = (address_word ^ (port_word | protocol << 16)) * 0x9E3779B1 % 2**32
        slot = product >> (32 - 14)
        for probe in range(64):
            service = self.slots[(slot + probe) & (2**14 - 1)]
            if service[18] == 0:
                return None
            if (
                service[:4] == address.packed
                and service[16:18] == port.to_bytes(2, "big")
                and service[18] == protocol
            ):
                return int.from_bytes(service[20:22], sys.byteorder)
        return None


def entries_of(keys: Iterable[tuple[int, int, int]]) -> Iterator[ServiceEntry]:
    """Numbered from 1."""
    for id_, (address, port, protocol) in enumerate(dict.fromkeys(keys), 1):
        yield ServiceEntry(IPv4Address(address), port, protocol, id=id_)


def with_marks(keys: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """As image.service_entries does: each address and protocol once more, with port 0."""
    return [*keys, *{(address, 0, protocol): None for address, _port, protocol in keys}]


BASE = int(IPv4Address("192.0.0.0"))
RANDOM = random.Random(4)
KEYS = {
    "one": [(BASE, 80, 6)],
    "consecutive addresses": [(BASE + index, 80, 6) for index in range(4096)],
    "every 256th address": [(BASE + 256 * index, 443, 6) for index in range(4096)],
    "ports of one address": [(BASE, 1 + index, 17) for index in range(4096)],
    "both protocols": [
        (BASE + index, 53, protocol) for index in range(2048) for protocol in (6, 17)
    ],
    "16 ports each": [(BASE + index, 8000 + port, 6) for index in range(256) for port in range(16)],
    "random": [(RANDOM.getrandbits(32), RANDOM.getrandbits(16), 6) for _ in range(4096)],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_every_service_is_found_and_nothing_else(keys: list[tuple[int, int, int]]) -> None:
    entries = list(entries_of(with_marks(keys)))
    table = ServiceTable(entries)
    known = set()
    for entry in entries:
        key = (entry.address, entry.port, entry.protocol)
        assert table.find(*key) == entry.id
        known.add(key)
    random_ = random.Random(5)
    for _ in range(2000):
        address, port, protocol = random_.choice(keys)
        for other in (
            (IPv4Address(address ^ 1 << random_.randrange(32)), port, protocol),
            (IPv4Address(address), port ^ 1 << random_.randrange(16), protocol),
            (IPv4Address(address), port, protocol ^ 1 << random_.randrange(8)),
        ):
            assert (table.find(*other) is not None) == (other in known)


def colliding(slot: int, count: int) -> list[tuple[int, int, int]]:
    """Keys that all belong into one slot: what the hash multiplies by has an inverse."""
    inverse = pow(layout.GOLDEN_32, -1, 2**32)
    bits = 32 - layout.SERVICE_BITS
    words = [((slot << bits) + index) * inverse % 2**32 ^ 6 << 16 for index in range(count)]
    return [(int.from_bytes(struct.pack("=I", word), "big"), 0, 6) for word in words]


@pytest.mark.parametrize("slot", [7, layout.SERVICE_SLOTS - 1], ids=["inside", "at the end"])
def test_a_crowded_slot(slot: int) -> None:
    keys = colliding(slot, layout.SERVICE_PROBES + 1)
    entries = list(entries_of(keys[:-1]))
    assert {entry.slot for entry in entries} == {slot}
    table = ServiceTable(entries)
    for entry in entries:
        assert table.find(entry.address, entry.port, entry.protocol) == entry.id
    with pytest.raises(L4lbError, match="too crowded"):
        ServiceTable(entries_of(keys))
