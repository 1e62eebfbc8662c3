# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of the maps Python says what the C headers say, and what it packs is where C looks for it."""

from __future__ import annotations

import random
import re
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import (
    backend_record,
    egress_record,
    flow_table,
    layout,
    probe_record,
    service_table,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.backend_record import (
    BackendRecord,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.reasons import (
    ANSWERS,
    DROPS,
    FLOW_EVENTS,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.service_table import (
    ServiceEntry,
    ServiceHeader,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import ENCAPSULATIONS
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.capture.packet import (
    HEADER,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.candidate import (
    JHASH_SLOTS,
    MAGLEV_SLOTS,
)

BPF = Path(__file__).resolve().parents[2] / "files" / "bpf"
TEXT = "\n".join(path.read_text() for path in sorted(BPF.rglob("*.[ch]")))
CODE = re.sub(r"/\*.*?\*/|//[^\n]*", " ", TEXT, flags=re.DOTALL)

DEFINES = dict(re.findall(r"^#define[ \t]+(\w+)[ \t]+(\S[^\n]*?)[ \t]*$", CODE, re.MULTILINE))
ASSERTED = dict(re.findall(r"ASSERT_SIZE\(struct (\w+), ([^;]+)\);", CODE))
DEFINES["IPPROTO_ICMP"] = str(socket.IPPROTO_ICMP)  # of uapi/linux/in.h


def number(expression: str) -> int:
    """The value of a C expression of integers, +, *, <<, sizes and names of #defines."""
    python = re.sub(
        r"\bsizeof\(struct (\w+)\)", lambda found: f"({ASSERTED[found[1]]})", expression
    )
    python = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)U?L{0,2}\b", r"\1", python)
    python = re.sub(r"\b[A-Za-z_]\w*\b", lambda found: f"({number(DEFINES[found[0]])})", python)
    if not re.fullmatch(r"[0-9a-fA-Fx()+*<\s-]+", python):
        raise ValueError(f"more than this test understands: {expression}")
    return int(eval(python))  # noqa: S307 (nothing but numbers and operators)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_BITS", service_table.SERVICE_BITS),
        ("SERVICE_SLOTS", service_table.SERVICE_SLOTS),
        ("SERVICE_PROBES", service_table.SERVICE_PROBES),
        ("TABLE_SLOTS", layout.TABLE_SLOTS),
        ("TABLE_SLOTS", MAGLEV_SLOTS),
        ("JHASH_SLOTS", JHASH_SLOTS),
        ("SERVICE_ADDRESS_ONLY", service_table.SERVICE_ADDRESS_ONLY),
        ("SERVICE_JHASH", service_table.SERVICE_JHASH),
        ("SERVICE_BY_SOURCE", service_table.SERVICE_BY_SOURCE),
        ("SERVICE_FLOW_TABLE", service_table.SERVICE_FLOW_TABLE),
        ("BACKEND_HAS_NEXTHOP", backend_record.BACKEND_HAS_NEXTHOP),
        ("BACKEND_IPV6", backend_record.BACKEND_IPV6),
        ("BACKEND_KEEPS_FLOWS", backend_record.BACKEND_KEEPS_FLOWS),
        ("BACKEND_TAKES_FLOWS", backend_record.BACKEND_TAKES_FLOWS),
        ("BACKEND_IPIP", backend_record.BACKEND_ENCAPSULATIONS["ipip"]),
        ("BACKEND_GUE", backend_record.BACKEND_ENCAPSULATIONS["gue"]),
        ("BACKEND_GRE", backend_record.BACKEND_ENCAPSULATIONS["gre"]),
        ("BACKEND_L2", backend_record.BACKEND_ENCAPSULATIONS["l2"]),
        ("FLOW_BLOCK_SETS * FLOW_WAYS", flow_table.FLOW_BLOCK_FLOWS),
        ("FLOW_BLOCK_SETS", flow_table.FLOW_BLOCK_SETS),
        ("FLOW_TAKEN", flow_table.FLOW_TAKEN),
        ("FLOW_CONFIRMED", flow_table.FLOW_CONFIRMED),
        ("FLOW_SECONDS_TO_CONFIRM", flow_table.FLOW_SECONDS_TO_CONFIRM),
        ("GOLDEN_64", service_table.GOLDEN_64),
        ("OUTER_TTL", backend_record.OUTER_TTL),
        ("PROTOCOL_ANY", service_table.PROTOCOL_ANY),
        ("OWN_MACS", service_table.OWN_MACS),
        ("VLANS", service_table.VLANS),
        ("TABLE_DROPS_NO_SERVICE", service_table.TABLE_DROPS_NO_SERVICE),
    ],
)
def test_numbers_are_the_same_in_c(name: str, value: int) -> None:
    assert number(name) == value


@pytest.mark.parametrize("kind", ["SERVICE", "BACKEND"])
def test_flags_of_a_kind_do_not_overlap(kind: str) -> None:
    sizes = {"SERVICE_BITS", "SERVICE_SLOTS", "SERVICE_PROBES"}
    names = [name for name in DEFINES if name.startswith(f"{kind}_") and name not in sizes]
    flags = [number(DEFINES[name]) for name in names]
    assert len(flags) >= 4
    assert all(flag.bit_count() == 1 for flag in flags)
    assert len(set(flags)) == len(flags)
    assert max(flags) < 1 << 16


def test_ids_of_services_leave_room_for_the_state_of_a_flow() -> None:
    assert layout.SERVICE_IDS <= flow_table.FLOW_TAKEN == 1 << number("FLOW_STATE_SHIFT")


def test_every_encapsulation_has_a_flag() -> None:
    assert tuple(backend_record.BACKEND_ENCAPSULATIONS) == ENCAPSULATIONS


def constants(enum: str) -> list[str]:
    """The names of a C enum, in its order."""
    body = re.search(rf"enum {enum} \{{(.*?)\}}", CODE, re.DOTALL)
    assert body
    return [name.strip() for name in body[1].split(",") if name.strip()]


def test_reasons_to_drop_are_in_the_same_order_in_c() -> None:
    assert constants("drop") == [
        "DROP_NONE",
        *(f"DROP_{reason.upper()}" for reason in DROPS),
        "DROP_REASONS",
    ]


def test_answers_are_in_the_same_order_in_c() -> None:
    assert constants("answer") == [
        *(f"ANSWER_{kind.upper()}" for kind in ANSWERS),
        "ANSWERS",
    ]


def used(constant: str) -> bool:
    """Whether C names it anywhere but where it is declared."""
    return len(re.findall(rf"\b{constant}\b", CODE)) > 1


def test_each_reason_to_drop_is_used_and_says_what_to_do() -> None:
    for reason, meaning in DROPS.items():
        assert used(f"DROP_{reason.upper()}"), f"nothing drops: {reason}"
        assert re.fullmatch(r"\w.*\.( .*\.)+", meaning), reason


def test_each_other_counter_is_used() -> None:
    for kind in ANSWERS:
        assert used(f"ANSWER_{kind.upper()}"), f"nothing is answered: {kind}"
    for event in FLOW_EVENTS:
        assert f"events->{event} += " in CODE, f"never counted: {event}"


@pytest.mark.parametrize("meaning", [*ANSWERS.values(), *FLOW_EVENTS.values()])
def test_each_other_counter_has_a_meaning(meaning: str) -> None:
    assert re.fullmatch(r"[A-Z].*\.", meaning)


SIZES = {
    "service": service_table._SERVICE.size,
    "service_table": service_table.SERVICE_TABLE_SIZE,
    "lookup_table": layout.LOOKUP_TABLE_SIZE,
    "backend": backend_record.BACKEND_SIZE,
    "backend_records": backend_record.BACKEND_RECORDS_SIZE,
    "backend_cpu": backend_record.BACKEND_CPU_SIZE,
    "counter": backend_record.COUNTER.size,
    "flow": 16,
    "flow_set": 64,
    "flow_block": flow_table.FLOW_BLOCK_SIZE,
    "nexthop": 14,
    "egress_key": egress_record.EGRESS_KEY_SIZE,
    "egress": egress_record.EGRESS_SIZE,
    "bucket": layout.BUCKET_SIZE,
    "flow_events": 8 * len(FLOW_EVENTS),
    "probe": probe_record.PROBE_SIZE,
    "probe_count": probe_record.COUNT_SIZE,
    "fate_record": HEADER.size,
}


def test_every_asserted_struct_is_known_here() -> None:
    assert ASSERTED.keys() == SIZES.keys()


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_same_in_c(name: str) -> None:
    assert number(ASSERTED[name]) == SIZES[name]


INTEGERS = {"__u8": 1, "__u16": 2, "__be16": 2, "__u32": 4, "__be32": 4, "__u64": 8}


def body_of(struct_: str) -> list[tuple[str, str, str]]:
    """Type, name and length, if it is an array, of each member of a C struct."""
    body = re.search(rf"struct {struct_} \{{(.*?)\n\}};", CODE, re.DOTALL)
    assert body
    if struct_ == "address":  # the same bytes as words and as halves
        assert re.fullmatch(r"\s*union \{\s*__be32 word\[4\];\s*__u64 half\[2\];\s*\};", body[1])
        return [("__u64", "half", "2")]
    found = re.findall(r"^\s*(?:struct )?(\w+) (\w+)(?:\[([^]]+)\])?;\s*$", body[1], re.MULTILINE)
    assert len(found) == body[1].count(";")
    return found


def alignment(kind: str) -> int:
    """Of an integer, or of a struct: that of its member with the largest."""
    return INTEGERS.get(kind) or max(alignment(inner) for inner, _name, _length in body_of(kind))


def members(name: str) -> dict[str, tuple[int, int]]:
    """Member -> (offset, size) of a C struct of integers, structs and arrays of them."""
    found = {}
    offset = 0
    for kind, member, length in body_of(name):
        size = INTEGERS.get(kind) or sum(size for _offset, size in members(kind).values())
        count = {"": 1, "ETH_ALEN": 6}.get(length) or number(length)
        offset = -(-offset // alignment(kind)) * alignment(kind)
        found[member] = (offset, size * count)
        offset += size * count
    return found


@pytest.mark.parametrize("name", SIZES)
def test_no_struct_has_holes(name: str) -> None:
    """What the compiler would leave blank is a member, so that both sides know of it."""
    end = 0
    for offset, size in members(name).values():
        assert offset == end
        end += size
    assert end == SIZES[name]


def native(value: int, size: int) -> bytes:
    return value.to_bytes(size, sys.byteorder)


@pytest.mark.parametrize(
    ("address", "family"),
    [("1.2.3.4", 4), ("2001:db8:1:2:3:4:5:6", 6)],
)
def test_members_of_a_service_are_where_c_has_them(address: str, family: int) -> None:
    entry = ServiceEntry(
        ip_address(address),
        0x1234,
        17,
        id=0x5678,
        choice=0x1ABC,
        flags=0x21,
        udp_timeout=0x4321,
    )
    packed = entry.pack()
    expected = {
        "address": ip_address(address).packed.ljust(16, b"\0"),
        "port": b"\x12\x34",
        "protocol": b"\x11",
        "family": bytes([family]),
        "id": native(0x5678, 2),
        "choice": native(0x1ABC, 2),
        "flags": native(0x21, 2),
        "udp_timeout": native(0x4321, 2),
        "padding": bytes(4),
    }
    found = members("service")
    assert found.keys() == expected.keys()
    for name, (offset, size) in found.items():
        assert packed[offset : offset + size] == expected[name], name


def folded_sum(header: bytes) -> int:
    """Of 16-bit words as they are in memory."""
    total = sum(struct.unpack(f"={len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def record(**options: object) -> BackendRecord:
    defaults: dict[str, object] = {
        "address": IPv4Address("10.0.0.2"),
        "source": ip_network("10.0.0.1"),
        "encapsulation": "ipip",
        "service": 0x0ABC,
        "inner_version": 4,
        "mtu": 1500,
    }
    return BackendRecord(**{**defaults, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("mac", [None, "52:54:00:00:00:0b"])
def test_members_of_a_backend_are_where_c_has_them(mac: str | None) -> None:
    packed = record(
        encapsulation="gue",
        gue_port=0x1234,
        mac=mac,
        source_mac="02:00:00:00:00:01",
        mtu=0x2345,
    ).pack()
    header = bytes.fromhex("4500000000004000401100000a0000010a000002")
    nexthop = bytes.fromhex("52540000000b020000000001") + native(0x2345, 2)
    expected = {
        "destination": bytes([10, 0, 0, 2]) + bytes(12),
        "source": bytes([10, 0, 0, 1]) + bytes(12),
        "spread": bytes(4),
        "sum": native(folded_sum(header), 2),
        "flags": native(32 | 4 | 8 | (1 if mac else 0), 2),
        "service": native(0x0ABC, 2),
        "port": b"\x12\x34",
        "nexthop": nexthop if mac else bytes(12) + native(0x2345, 2),
        "protocol": b"\x11",
        "overhead": bytes([28]),
        "padding": bytes(4),
    }
    found = members("backend")
    assert found.keys() == expected.keys()
    for name, (offset, size) in found.items():
        assert packed[offset : offset + size] == expected[name], name
    assert {name: size for name, (_offset, size) in members("nexthop").items()} == {
        "destination": 6,
        "source": 6,
        "mtu": 2,
    }


@pytest.mark.parametrize(
    ("mac", "tags"),
    [
        ("", ()),
        ("52:54:00:00:00:0b", ()),
        ("", ((0x8100, 100),)),
        ("52:54:00:00:00:0b", ((0x88A8, 4094), (0x8100, 1))),
    ],
)
def test_members_of_an_egress_are_where_c_has_them(
    mac: str, tags: tuple[egress_record.Tag, ...]
) -> None:
    key, value = egress_record.pack_egress((7, mac), egress_record.Egress(9, tags))
    assert egress_record.unpack_egress(key, value) == ((7, mac), egress_record.Egress(9, tags))
    packed_tags = b"".join(struct.pack("!HH", *tag) for tag in tags)
    expected = {
        "egress_key": {
            "ifindex": native(7, 4),
            "mac": layout.pack_mac(mac) if mac else bytes(6),
            "padding": bytes(2),
        },
        "egress": {
            "target": native(9, 4),
            "tags_length": native(len(packed_tags), 4),
            "tags": packed_tags.ljust(8, b"\0"),
        },
    }
    for packed, struct_ in ((key, "egress_key"), (value, "egress")):
        found = members(struct_)
        assert found.keys() == expected[struct_].keys()
        for name, (offset, size) in found.items():
            assert packed[offset : offset + size] == expected[struct_][name], name


def test_a_next_hop_is_read_where_c_has_it() -> None:
    found = members("backend_cpu")
    one = bytearray(backend_record.BACKEND_CPU_SIZE)
    offset, size = found["ifindex"]
    one[offset : offset + size] = native(0x12345678, 4)
    offset = found["nexthop"][0] + members("nexthop")["mtu"][0]
    one[offset : offset + 2] = native(0x2345, 2)
    assert backend_record.next_hop(bytes(len(one))) == (0, 0)
    assert backend_record.next_hop(bytes(one)) == (0x12345678, 0x2345)
    assert found["sent"] == (0, backend_record.COUNTER.size)


def member(packed: bytes, name: str) -> bytes:
    """A member of a packed struct backend."""
    offset, size = members("backend")[name]
    return packed[offset : offset + size]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"encapsulation": "ipip"},
            {"flags": native(16 | 4 | 8, 2), "protocol": b"\x04", "overhead": b"\x14"},
        ),
        (
            {"encapsulation": "ipip", "inner_version": 6},
            {"flags": native(16 | 4 | 8, 2), "protocol": b"\x29", "overhead": b"\x14"},
        ),
        (
            {"encapsulation": "gre", "inner_version": 6},
            {"flags": native(64 | 4 | 8, 2), "protocol": b"\x2f", "overhead": b"\x18"},
        ),
        (
            {"encapsulation": "gue", "inner_version": 6, "gue_port": 6080},
            {
                "flags": native(32 | 4 | 8, 2),
                "protocol": b"\x11",
                "port": b"\x17\xc0",
                "overhead": b"\x1c",
            },
        ),
        ({"encapsulation": "l2"}, {"flags": native(128 | 4 | 8, 2), "overhead": b"\0"}),
        ({"encapsulation": "ipip", "gue_port": 6080}, {"port": bytes(2)}),
        ({"keeps_flows": False, "takes_flows": False}, {"flags": native(16, 2)}),
        ({"takes_flows": False}, {"flags": native(16 | 4, 2)}),
        (
            {"mac": "52:54:00:00:00:0b"},
            {
                "flags": native(16 | 4 | 8 | 1, 2),
                "nexthop": bytes.fromhex("52540000000b000000000000") + native(1500, 2),
            },
        ),
        (
            {"mac": "52:54:00:00:00:0b", "mtu": 65536},  # as the loopback interface has it
            {"nexthop": bytes.fromhex("52540000000b000000000000") + native(65535, 2)},
        ),
        (
            {"mac": "52:54:00:00:00:0b", "encapsulation": "l2"},
            {"nexthop": bytes.fromhex("52540000000b000000000000") + native(1500, 2)},
        ),
        ({"source": ip_network("10.0.0.16/28")}, {"spread": bytes([0, 0, 0, 15])}),
        ({"source": ip_network("10.0.0.0/8")}, {"spread": bytes([0, 255, 255, 255])}),
        (
            {
                "address": ip_address("2001:db8::2"),
                "source": ip_network("2001:db8:1::/112"),
                "inner_version": 6,
            },
            {
                "destination": ip_address("2001:db8::2").packed,
                "source": ip_address("2001:db8:1::").packed,
                "spread": bytes([0, 0, 255, 255]),
                "sum": bytes(2),
                "flags": native(16 | 4 | 8 | 2, 2),
                "protocol": b"\x29",
                "overhead": b"\x28",
            },
        ),
        (
            {
                "address": ip_address("2001:db8::2"),
                "source": ip_network("2001:db8::1"),
                "encapsulation": "gre",
                "mac": "52:54:00:00:00:0b",
            },
            {
                "flags": native(64 | 4 | 8 | 2 | 1, 2),
                "nexthop": bytes.fromhex("52540000000b000000000000") + native(1500, 2),
                "overhead": b"\x2c",
            },
        ),
        (
            {
                "address": ip_address("2001:db8::2"),
                "source": ip_network("2001:db8::1"),
                "encapsulation": "gue",
            },
            {"sum": bytes(2), "overhead": b"\x30", "nexthop": bytes(12) + native(1500, 2)},
        ),
        ({"mtu": 0}, {"nexthop": bytes(14)}),
        (
            {"address": ip_address("2001:db8::2"), "source": ip_network("2001:db8:1::/64")},
            {"spread": bytes([255] * 4), "protocol": b"\x04"},
        ),
        (
            {"address": ip_address("2001:db8::2"), "source": ip_network("2001:db8:1::1")},
            {"spread": bytes(4)},
        ),
    ],
)
def test_what_depends_on_how_packets_travel(
    options: dict[str, object], expected: dict[str, bytes]
) -> None:
    packed = record(**options).pack()
    assert {name: member(packed, name) for name in expected} == expected


@pytest.mark.parametrize("protocol", [4, 17, 41, 47])
def test_the_sum_is_that_of_the_header_before_it_varies(protocol: int) -> None:
    random_ = random.Random(protocol)
    encapsulation = {4: "ipip", 17: "gue", 41: "ipip", 47: "gre"}[protocol]
    version = 6 if protocol == 41 else 4
    pairs = [(random_.getrandbits(32), random_.getrandbits(32)) for _each in range(100)]
    for pair in [*pairs, (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFE, 0xFFFF0000), (0, 1)]:
        source, destination = map(IPv4Address, pair)
        packed = record(
            address=destination,
            source=ip_network(source),
            encapsulation=encapsulation,
            inner_version=version,
        ).pack()
        start = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0x4000, 64, protocol, 0)
        header = start + source.packed + destination.packed
        assert member(packed, "sum") == native(folded_sum(header), 2)


def test_what_the_flow_table_does_is_in_the_same_order_in_c() -> None:
    assert list(members("flow_events")) == list(FLOW_EVENTS)


def test_counters_come_first_in_what_a_cpu_keeps_about_a_backend() -> None:
    assert members("backend_cpu")["sent"] == (0, backend_record.COUNTER.size)
    assert members("counter") == {"packets": (0, 8), "bytes": (8, 8)}


def test_the_head_of_a_service_table() -> None:
    header = ServiceHeader(
        layout.VERSION,
        0x12345678,
        77,
        flags=service_table.TABLE_DROPS_NO_SERVICE,
        seed=0xDEADBEEF_01234567,
        echo_rate=10000,
        too_big_rate=20000,
        own_macs=("02:00:00:00:00:01", "02:00:00:00:00:02"),
        receivers={0: 7, 4095: 0x01020304, 4096 + 1: 8},
        health=78,
    )
    packed = service_table.pack_service_table(header, [])
    assert len(packed) == service_table.SERVICE_TABLE_SIZE
    assert service_table.unpack_layout(packed) == (layout.VERSION, 77, 78)
    assert service_table.unpack_receivers(packed) == (header.own_macs, header.receivers)
    receivers = bytearray(4 * (4096 + 64))
    for place, index in header.receivers.items():
        receivers[4 * place : 4 * place + 4] = native(index, 4)
    found = members("service_table")
    numbers = {
        "layout": layout.VERSION,
        "generation": 0x12345678,
        "manifest": 77,
        "flags": 1,
        "seed": 0xDEADBEEF_01234567,
        "echo_rate": 10000,
        "too_big_rate": 20000,
    }
    texts = {
        "own_macs": bytes.fromhex("0200000000010000 0200000000020000").ljust(512, b"\0"),
        "health": native(78, 4),
        "padding": bytes(28),
        "receivers": bytes(receivers),
        "slots": bytes(32 * service_table.SERVICE_SLOTS),
    }
    assert list(found) == [*numbers, *texts]
    for name, value in numbers.items():
        offset, size = found[name]
        assert int.from_bytes(packed[offset : offset + size], sys.byteorder) == value, name
    for name, text in texts.items():
        offset, size = found[name]
        assert packed[offset : offset + size] == text, name
    assert found["slots"][0] % 64 == 0


# The service table, searched as service.h does it, from its text.


class ServiceTable:
    """A packed service table in C's eyes."""

    def __init__(self, entries: Iterable[ServiceEntry]) -> None:
        packed = service_table.pack_service_table(ServiceHeader(layout.VERSION, 1, 1, 0), entries)
        self.bits, self.probes = number("SERVICE_BITS"), number("SERVICE_PROBES")
        start, size = members("service_table")["slots"]
        assert size == 32 * 2**self.bits
        assert len(packed) == start + size
        self.slots = [packed[offset : offset + 32] for offset in range(start, len(packed), 32)]

    def find(self, address: Address, port: int, protocol: int) -> int | None:
        """The id of a service; None if none is found."""
        # What the program loads from the packet, on this machine.
        if address.version == 4:
            (hash_,) = struct.unpack("=I", address.packed)
        else:
            half = struct.unpack("=2Q", address.packed)
            hash_ = (half[0] + half[1] * 3) % 2**64
        (endpoint,) = struct.unpack("=I", struct.pack("!HBB", port, protocol, address.version))
        product = (hash_ ^ endpoint) * 0x9E3779B97F4A7C15 % 2**64
        slot = product >> (64 - self.bits)
        for probe in range(self.probes):
            service = self.slots[(slot + probe) & (2**self.bits - 1)]
            if service[18] == 0:
                return None
            if (
                service[:16] == address.packed.ljust(16, b"\0")
                and service[16:18] == port.to_bytes(2, "big")
                and service[18] == protocol
                and service[19] == address.version
            ):
                return int.from_bytes(service[20:22], sys.byteorder)
        return None


Key = tuple[Address, int, int]


def entries_of(keys: Iterable[Key]) -> Iterator[ServiceEntry]:
    """Numbered from 1."""
    for id_, (address, port, protocol) in enumerate(dict.fromkeys(keys), 1):
        yield ServiceEntry(address, port, protocol, id=id_)


def with_marks(keys: list[Key]) -> list[Key]:
    """As image.service_entries does: each address and protocol once more, with port 0, and each
    address."""
    marks = {
        (address, 0, mark): None
        for address, _port, protocol in keys
        for mark in (protocol, service_table.PROTOCOL_ANY)
    }
    return [*keys, *marks]


BASE = IPv4Address("192.0.0.0")
BASE6 = IPv6Address("2001:db8::")
RANDOM = random.Random(4)
KEYS: dict[str, list[Key]] = {
    "one": [(BASE, 80, 6)],
    "consecutive addresses": [(BASE + index, 80, 6) for index in range(4096)],
    "every 256th address": [(BASE + 256 * index, 443, 6) for index in range(4096)],
    "ports of one address": [(BASE, 1 + index, 17) for index in range(4096)],
    "both protocols": [
        (BASE + index, 53, protocol) for index in range(2048) for protocol in (6, 17)
    ],
    "16 ports each": [(BASE + index, 8000 + port, 6) for index in range(256) for port in range(16)],
    "random": [
        (IPv4Address(RANDOM.getrandbits(32)), RANDOM.getrandbits(16), 6) for _each in range(4096)
    ],
    "one of IPv6": [(BASE6 + 1, 80, 6)],
    "consecutive addresses of IPv6": [(BASE6 + index, 80, 6) for index in range(4096)],
    "consecutive networks of IPv6": [(BASE6 + (index << 64) + 1, 80, 6) for index in range(4096)],
    "random of IPv6": [
        (IPv6Address(RANDOM.getrandbits(128)), RANDOM.getrandbits(16), 17) for _each in range(4096)
    ],
    "both families": [
        (address + index, 443, 6) for index in range(2048) for address in (BASE, BASE6)
    ],
    "an IPv4 address in one of IPv6": [
        (BASE, 80, 6),
        (IPv6Address(BASE.packed.ljust(16, b"\0")), 80, 6),
    ],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_every_service_is_found_and_nothing_else(keys: list[Key]) -> None:
    entries = list(entries_of(with_marks(keys)))
    table = ServiceTable(entries)
    known = set()
    for entry in entries:
        key = (entry.address, entry.port, entry.protocol)
        assert table.find(*key) == entry.id
        known.add(key)
    random_ = random.Random(5)
    for _turn in range(2000):
        address, port, protocol = random_.choice(keys)
        other_address = type(address)(int(address) ^ 1 << random_.randrange(address.max_prefixlen))
        for other in (
            (other_address, port, protocol),
            (address, port ^ 1 << random_.randrange(16), protocol),
            (address, port, protocol ^ 1 << random_.randrange(8)),
        ):
            assert (table.find(*other) is not None) == (other in known)


def colliding(slot: int, count: int) -> list[Key]:
    """Keys that all belong into one slot: what the hash multiplies by has an inverse."""
    inverse = pow(service_table.GOLDEN_64, -1, 2**64)
    bits = 64 - service_table.SERVICE_BITS
    (endpoint,) = struct.unpack("=I", struct.pack("!HBB", 0, 6, 6))
    words = [((slot << bits) + index) * inverse % 2**64 ^ endpoint for index in range(count)]
    return [(IPv6Address(struct.pack("=2Q", word, 0)), 0, 6) for word in words]


@pytest.mark.parametrize("slot", [7, service_table.SERVICE_SLOTS - 1], ids=["inside", "at the end"])
def test_a_crowded_slot(slot: int) -> None:
    keys = colliding(slot, service_table.SERVICE_PROBES + 1)
    entries = list(entries_of(keys[:-1]))
    assert {entry.slot for entry in entries} == {slot}
    table = ServiceTable(entries)
    for entry in entries:
        assert table.find(entry.address, entry.port, entry.protocol) == entry.id
    with pytest.raises(L4lbError, match="too crowded"):
        ServiceTable(entries_of(keys))


def test_flows_of_backends() -> None:
    """The fields of struct flow, wherever it is among others."""
    found = members("flow")
    assert [*found] == ["hash", "seen", "backend", "service"]
    tentative, confirmed = flow_table.FLOW_TAKEN, flow_table.FLOW_TAKEN | flow_table.FLOW_CONFIRMED
    flows = [
        (7 << 60, 9, 5, tentative | 1),
        (8, 10, 5, tentative | 2),
        (0, 0, 0, 0),
        (9, 2**32 - 1, 6, confirmed | 2),
        (1, 3, 5, confirmed | 1),
    ]
    blocks = bytearray()
    for flow in flows:
        packed = bytearray(16)
        for (offset, size), value in zip(found.values(), flow):
            packed[offset : offset + size] = value.to_bytes(size, sys.byteorder)
        blocks += packed
    owners = [(5, 1), (6, 2), (7, 1)]
    assert list(flow_table.flows_of(owners, bytes(blocks))) == [
        ((5, 1), 7 << 60, 9, False),
        ((6, 2), 9, 2**32 - 1, True),
        ((5, 1), 1, 3, True),
    ]
    assert list(flow_table.flows_of([(1, 5)], bytes(blocks))) == []
    words = memoryview(bytes(blocks)).cast("I")[3::4]
    assert [*map(flow_table.confirmed_owner, words)] == [None, None, None, (6, 2), (5, 1)]
