# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF maps of the running kernel: a type for each kind, which knows how elements lie in memory."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import KernelError
from .bpf import Object, Program, check, cpu_numbers, libbpf, possible_cpus, read_info

HASH = 1
ARRAY = 2
PROG_ARRAY = 3
PERCPU_ARRAY = 6
LPM_TRIE = 11
ARRAY_OF_MAPS = 12


class _MapInfo(ctypes.Structure):
    """The head of struct bpf_map_info; the kernel fills as much as it is given room for."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    ]


@dataclass(frozen=True)
class Shape:
    """What must agree for a program to use an existing map."""

    type: int
    value_size: int
    max_entries: int
    key_size: int = 4
    flags: int = 0


class Map(Object):
    """A map of any kind. Opened by `opened`, `by_id` or `open_pin`, it is of the type for its kind,
    if there is one."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = _MapInfo()
        read_info(fd, info)
        self.id: int = info.id
        self.name: str = os.fsdecode(info.name)
        self.shape = Shape(
            info.type, info.value_size, info.max_entries, info.key_size, info.map_flags
        )

    @staticmethod
    def opened(fd: int) -> Map:
        """The map that is open as `fd`."""
        info = _MapInfo()
        read_info(fd, info)
        return _TYPES.get(info.type, Map)(fd)

    @classmethod
    def open_pin(cls, path: str) -> Map | None:
        """The map pinned at `path`; None if nothing is there."""
        fd = cls.open_pinned(path)
        return None if fd is None else cls.opened(fd)

    @classmethod
    def by_id(cls, number: int) -> Map | None:
        """The map with this id; None if there is none (any more)."""
        fd = libbpf().bpf_map_get_fd_by_id(ctypes.c_uint32(number))
        return None if fd == -errno.ENOENT else cls.opened(check(fd, f"open map {number}"))

    @property
    def element_size(self) -> int:
        """Bytes of one element as user space sees it."""
        return self.shape.value_size

    def _lookup(self, key: Any, told: object) -> bytes | None:
        value = ctypes.create_string_buffer(self.element_size)
        result = libbpf().bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        check(result, f"look up {self.name}[{told!r}]")
        return value.raw

    def _update(self, key: Any, value: bytes, told: object) -> None:
        if len(value) != self.element_size:
            raise ValueError(
                f"{self.name}: {len(value)} bytes for an element of {self.element_size}"
            )
        result = libbpf().bpf_map_update_elem(self.fd, key, value, ctypes.c_uint64(0))
        check(result, f"update {self.name}[{told!r}]")


class Array(Map):
    """An array: each index below max_entries has an element."""

    @classmethod
    def create(cls, name: str, value: bytes) -> Array:
        """A new one, whose single element is `value`."""
        fd = libbpf().bpf_map_create(ARRAY, name.encode(), 4, len(value), 1, None)
        new = cls(check(fd, f"create map {name}"))
        new.update(0, value)
        return new

    def lookup(self, index: int) -> bytes | None:
        """The element at `index`; None if that is beyond the end."""
        return self._lookup(_key(index), index)

    def update(self, index: int, value: bytes) -> None:
        """Write the element at `index`."""
        self._update(_key(index), value, index)

    def read(self, count: int | None = None) -> bytes:
        """All elements, or the first `count`, one after the other; `split` parts them."""
        size = self.shape.max_entries if count is None else count
        keys = (ctypes.c_uint32 * size)()
        values = ctypes.create_string_buffer(self.element_size * size)
        found = ctypes.c_uint32(size)
        position = ctypes.c_uint64(0)
        result = libbpf().bpf_map_lookup_batch(
            self.fd, None, ctypes.byref(position), keys, values, ctypes.byref(found), None
        )
        if result != -errno.ENOENT:  # the kernel's way to say that this was all
            check(result, f"read {self.name}")
        return values.raw

    def parts(self, count: int) -> Iterator[bytes]:
        """What `read` returns, so many elements at a time."""
        keys = (ctypes.c_uint32 * count)()
        values = ctypes.create_string_buffer(self.element_size * count)
        position, at = ctypes.c_uint64(0), None
        while True:
            found = ctypes.c_uint32(count)
            result = libbpf().bpf_map_lookup_batch(
                self.fd, at, ctypes.byref(position), keys, values, ctypes.byref(found), None
            )
            if result != -errno.ENOENT:
                check(result, f"read {self.name}")
            yield values.raw[: found.value * self.element_size]
            if result == -errno.ENOENT:
                return
            at = ctypes.byref(position)

    def element(self, content: bytes, index: int) -> bytes:
        """One of the elements in what `read` returns."""
        size = self.element_size
        return content[index * size : (index + 1) * size]

    def split(self, content: bytes) -> Iterator[bytes]:
        """The elements in what `read` returns."""
        size = self.element_size
        return (content[at : at + size] for at in range(0, len(content), size))

    def filled(self, elements: Mapping[int, bytes]) -> bytearray:
        """What `read` returns if there are these elements, and nothing but zeros in others."""
        size = self.element_size
        content = bytearray(size * self.shape.max_entries)
        for index, element in elements.items():
            content[index * size : (index + 1) * size] = element
        return content

    def differing(self, one: bytes, other: bytes | bytearray) -> Iterator[int]:
        """The indices of what differs in two contents, as of `read`, which are few."""
        pending = [range(self.shape.max_entries)]
        while pending:
            part = pending.pop()
            at = slice(part.start * self.element_size, part.stop * self.element_size)
            if one[at] == other[at]:
                continue
            if len(part) == 1:
                yield part.start
            else:
                middle = len(part) // 2
                pending += part[middle:], part[:middle]

    def update_many(self, items: Iterable[tuple[int, bytes]]) -> None:
        """Write many elements with one system call."""
        pairs = list(items)
        if not pairs:
            return
        keys = (ctypes.c_uint32 * len(pairs))(*(key for key, _value in pairs))
        values = b"".join(value for _key_, value in pairs)
        if len(values) != self.element_size * len(pairs):
            raise ValueError(f"{self.name}: elements are of {self.element_size} bytes")
        count = ctypes.c_uint32(len(pairs))
        result = libbpf().bpf_map_update_batch(self.fd, keys, values, ctypes.byref(count), None)
        check(result, f"update {self.name}")


class PerCpuArray(Array):
    """An array with an element for each possible CPU: as bytes, those of all CPUs one after the
    other."""

    @property
    def _stride(self) -> int:
        """From one CPU's to the next one's."""
        return (self.shape.value_size + 7) // 8 * 8

    @property
    def element_size(self) -> int:
        """Bytes of one element of all CPUs."""
        return self._stride * possible_cpus()

    @property
    def empty(self) -> bytes:
        """An element of nothing but zeros."""
        return bytes(self.element_size)

    def per_cpu(self, element: bytes) -> list[bytes]:
        """What each CPU has of an element."""
        size = self.shape.value_size
        return [element[at : at + size] for at in range(0, len(element), self._stride)]

    def by_cpu(self, element: bytes) -> dict[int, bytes]:
        """The same by the number of the CPU."""
        return dict(zip(cpu_numbers(), self.per_cpu(element)))

    def joined(self, values: Iterable[bytes]) -> bytes:
        """The inverse of `per_cpu`."""
        return b"".join(value.ljust(self._stride, b"\0") for value in values)


class Sums:
    """Index -> the first `fields` 64-bit counters of each element, summed over the CPUs."""

    def __init__(self, array: PerCpuArray, fields: int) -> None:
        self._values = array.read()
        self._element = array.element_size
        self._offsets = range(0, self._element, self._element // possible_cpus())
        self._counters = struct.Struct(f"={fields}Q")

    def __call__(self, index: int) -> tuple[int, ...]:
        first = index * self._element
        each = (self._counters.unpack_from(self._values, first + at) for at in self._offsets)
        return tuple(map(sum, zip(*each)))


class HashTable(Map):
    """A hash table, or a trie of prefixes."""

    def lookup(self, key: bytes) -> bytes | None:
        """The value of `key`; None if there is none."""
        return self._lookup(key, key)

    def update(self, key: bytes, value: bytes) -> None:
        """Add or change what `key` has."""
        self._update(key, value, key)

    def delete(self, key: bytes) -> None:
        """Remove what `key` has; absent already is fine."""
        result = libbpf().bpf_map_delete_elem(self.fd, key)
        if result != -errno.ENOENT:
            check(result, f"delete {self.name}[{key!r}]")

    def items(self) -> dict[bytes, bytes]:
        """All that is in it, while nobody else changes it."""
        found: dict[bytes, bytes] = {}
        key, following = None, ctypes.create_string_buffer(self.shape.key_size)
        while True:
            result = libbpf().bpf_map_get_next_key(self.fd, key, following)
            if result == -errno.ENOENT:
                return found
            check(result, f"read {self.name}")
            key = following.raw
            found[key] = self.lookup(key) or b""


class ArrayOfMaps(Map):
    """An array of arrays."""

    def inner(self, index: int) -> Array | None:
        """The one at `index`; None if there is none."""
        value = self._lookup(_key(index), index)
        if value is None:
            return None
        return array_by_id(int.from_bytes(value, sys.byteorder))

    def set_inner(self, index: int, inner: Array) -> None:
        """Have `inner` at `index`: one atomic exchange."""
        self._update(_key(index), inner.fd.to_bytes(4, sys.byteorder), index)


_Sample = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class RingReader:
    """Reads what programs put into a ring buffer."""

    def __init__(self, ring: Map) -> None:
        """Raises KernelError."""
        self._taken: list[bytes] = []
        self._callback = _Sample(self._take)  # as long as it may be called
        self._ring = ring
        library = libbpf()
        library.ring_buffer__new.restype = ctypes.c_void_p
        self._reader = library.ring_buffer__new(ring.fd, self._callback, None, None)
        if not self._reader:
            raise KernelError(f"read the ring buffer {ring.name}")

    def take(self) -> list[bytes]:
        """All that has come since the last time; does not wait."""
        result = libbpf().ring_buffer__consume(ctypes.c_void_p(self._reader))
        check(result, f"read the ring buffer {self._ring.name}")
        taken, self._taken = self._taken, []
        return taken

    def _take(self, _context: int, data: int, size: int) -> int:
        self._taken.append(ctypes.string_at(data, size))
        return 0

    def close(self) -> None:
        """Read no more."""
        if self._reader:
            libbpf().ring_buffer__free(ctypes.c_void_p(self._reader))
            self._reader = None


_TYPES: dict[int, type[Map]] = {
    HASH: HashTable,
    LPM_TRIE: HashTable,
    ARRAY: Array,
    PROG_ARRAY: Array,
    PERCPU_ARRAY: PerCpuArray,
    ARRAY_OF_MAPS: ArrayOfMaps,
}


def array_by_id(number: int) -> Array | None:
    """The array with this id; None if there is none, or that is something else by now."""
    found = Map.by_id(number)
    return found if isinstance(found, Array) else None


def maps_of(program: Program) -> dict[str, Map]:
    """The maps that a program uses, by name."""
    found = (Map.by_id(number) for number in program.map_ids)
    return {map_.name: map_ for map_ in found if map_ is not None}


def _key(index: int) -> Any:
    return ctypes.byref(ctypes.c_uint32(index))
