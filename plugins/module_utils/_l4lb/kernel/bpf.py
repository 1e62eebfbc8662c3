# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF maps and programs of the running kernel, by way of libbpf.

bcc compiles and loads; everything after that needs only libbpf, on which libbcc depends, and so
costs no import of bcc. Function and structure names are libbpf's (see bpf.h of libbpf 1.x and
Documentation/bpf in the kernel).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HostError, KernelError

HASH = 1
ARRAY = 2
PERCPU_ARRAY = 6
ARRAY_OF_MAPS = 12
MAP_LOOKUP_PERCPU_ELEM = 195
"""A helper of Linux 5.19: looks up what another CPU has."""
_PROGRAM_XDP = 6
_TICKS = struct.pack("=2Bhi2Bhi", 0x85, 0, 0, 118, 0x95, 0, 0, 0)
"""call bpf_jiffies64; exit"""
_XDP_MD = struct.Struct("=6I")  # data, its end, metadata, ingress interface and queue, egress


@functools.cache
def _libbpf() -> Any:
    try:
        return ctypes.CDLL("libbpf.so.1")
    except OSError as e:
        raise HostError(
            f"libbpf 1.x is missing ({e}); install libbpf1 (libbpf on Fedora and RHEL), which "
            "Debian has from 12 on, Ubuntu from 24.04, and RHEL from 9.2"
        ) from e


def _check(result: int, what: str) -> int:
    """libbpf 1.x answers a negative errno on failure."""
    if result < 0:
        raise KernelError(f"{what}: {errno.errorcode.get(-result)}: {os.strerror(-result)}")
    return result


@functools.cache
def possible_cpus() -> int:
    """How many values a per-CPU map holds per element."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(text.strip().replace("-", ",").split(",")[-1]) + 1


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


class _ProgramInfo(ctypes.Structure):
    """The head of struct bpf_prog_info."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    ]


class TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_char_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_char_p),
        ("ctx_out", ctypes.c_char_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class _Object:
    """Owns a file descriptor of a BPF object; closes it when collected."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def pin(self, path: str) -> None:
        """Pin under `path` of a bpf file system."""
        _check(_libbpf().bpf_obj_pin(self.fd, path.encode()), f"pin {path}")

    @staticmethod
    def _open_pin(path: str) -> int | None:
        fd = _libbpf().bpf_obj_get(path.encode())
        if fd in (-errno.ENOENT, -errno.ENOTDIR):
            return None
        return _check(fd, f"open the pin {path}")

    def _read_info(self, info: ctypes.Structure) -> None:
        size = ctypes.c_uint32(ctypes.sizeof(info))
        _check(
            _libbpf().bpf_obj_get_info_by_fd(self.fd, ctypes.byref(info), ctypes.byref(size)),
            "BPF_OBJ_GET_INFO_BY_FD",
        )


@dataclass(frozen=True)
class Shape:
    """What must agree for a program to use an existing map."""

    type: int
    value_size: int
    max_entries: int
    key_size: int = 4
    flags: int = 0


class Map(_Object):
    """A BPF map. Keys are 32-bit numbers, those of a hash table bytes."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = _MapInfo()
        self._read_info(info)
        self.id: int = info.id
        self.name: str = info.name.decode()
        self.shape = Shape(
            info.type, info.value_size, info.max_entries, info.key_size, info.map_flags
        )

    @classmethod
    def open_pin(cls, path: str) -> Map | None:
        """The map pinned at `path`; None if nothing is there."""
        fd = cls._open_pin(path)
        return None if fd is None else cls(fd)

    @classmethod
    def by_id(cls, number: int) -> Map | None:
        """The map with this id; None if there is none (any more)."""
        fd = _libbpf().bpf_map_get_fd_by_id(ctypes.c_uint32(number))
        return None if fd == -errno.ENOENT else cls(_check(fd, f"open map {number}"))

    @classmethod
    def create_array(cls, name: str, value: bytes) -> Map:
        """A new array map whose single element is `value`."""
        fd = _libbpf().bpf_map_create(ARRAY, name.encode(), 4, len(value), 1, None)
        new = cls(_check(fd, f"create map {name}"))
        new.update(0, value)
        return new

    @property
    def _stride(self) -> int:
        """Bytes of one element as user space sees it."""
        if self.shape.type == PERCPU_ARRAY:
            return (self.shape.value_size + 7) // 8 * 8 * possible_cpus()
        return self.shape.value_size

    def lookup(self, key: int | bytes) -> bytes | None:
        """The element at `key`, of all CPUs one after the other if per CPU; None if absent."""
        value = ctypes.create_string_buffer(self._stride)
        result = _libbpf().bpf_map_lookup_elem(self.fd, _key(key), value)
        if result == -errno.ENOENT:
            return None
        _check(result, f"look up {self.name}[{key!r}]")
        return value.raw

    def update(self, key: int | bytes, value: bytes) -> None:
        """Write the element at `key`; `value` has the length that `lookup` returns."""
        if len(value) != self._stride:
            raise ValueError(f"{self.name}: {len(value)} bytes for an element of {self._stride}")
        result = _libbpf().bpf_map_update_elem(self.fd, _key(key), value, ctypes.c_uint64(0))
        _check(result, f"update {self.name}[{key!r}]")

    def delete(self, key: int | bytes) -> None:
        """Remove the element at `key` (maps of maps, hash tables); absent already is fine."""
        result = _libbpf().bpf_map_delete_elem(self.fd, _key(key))
        if result != -errno.ENOENT:
            _check(result, f"delete {self.name}[{key!r}]")

    def items(self) -> dict[bytes, bytes]:
        """All that is in a hash table, which nobody else changes meanwhile."""
        found: dict[bytes, bytes] = {}
        key, following = None, ctypes.create_string_buffer(self.shape.key_size)
        while True:
            result = _libbpf().bpf_map_get_next_key(self.fd, key, following)
            if result == -errno.ENOENT:
                return found
            _check(result, f"read {self.name}")
            key = following.raw
            found[key] = self.lookup(key) or b""

    def lookup_all(self, count: int | None = None) -> bytes:
        """All elements of an array, or the first `count`, one after the other."""
        size = self.shape.max_entries if count is None else count
        keys = (ctypes.c_uint32 * size)()
        values = ctypes.create_string_buffer(self._stride * size)
        found = ctypes.c_uint32(size)
        position = ctypes.c_uint64(0)
        result = _libbpf().bpf_map_lookup_batch(
            self.fd, None, ctypes.byref(position), keys, values, ctypes.byref(found), None
        )
        if result != -errno.ENOENT:  # the kernel's way to say that this was all
            _check(result, f"read {self.name}")
        return values.raw

    def update_many(self, items: Iterable[tuple[int, bytes]]) -> None:
        """Write many elements of an array with one system call."""
        pairs = list(items)
        if not pairs:
            return
        keys = (ctypes.c_uint32 * len(pairs))(*(key for key, _value in pairs))
        values = b"".join(value for _key_, value in pairs)
        if len(values) != self._stride * len(pairs):
            raise ValueError(f"{self.name}: elements are of {self._stride} bytes")
        count = ctypes.c_uint32(len(pairs))
        result = _libbpf().bpf_map_update_batch(self.fd, keys, values, ctypes.byref(count), None)
        _check(result, f"update {self.name}")

    def inner(self, key: int) -> Map | None:
        """The map at `key` of a map of maps; None if there is none."""
        value = self.lookup(key)
        return None if value is None else Map.by_id(int.from_bytes(value, sys.byteorder))

    def set_inner(self, key: int, inner: Map) -> None:
        """Make `inner` the map at `key` of a map of maps: one atomic exchange."""
        self.update(key, inner.fd.to_bytes(4, sys.byteorder))


class Program(_Object):
    """A loaded BPF program."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = _ProgramInfo()
        self._read_info(info)
        self.id: int = info.id
        self.name: str = info.name.decode()
        self.instructions: int = info.xlated_prog_len // 8
        ids = (ctypes.c_uint32 * info.nr_map_ids)()
        info = _ProgramInfo(nr_map_ids=len(ids), map_ids=ctypes.addressof(ids))
        self._read_info(info)
        self.map_ids: tuple[int, ...] = tuple(ids)

    @classmethod
    def load(cls, name: str, code: bytes) -> Program:
        """An XDP program of these instructions."""
        fd = _libbpf().bpf_prog_load(
            _PROGRAM_XDP, name.encode(), b"GPL", code, len(code) // 8, None
        )
        return cls(_check(fd, f"load the program {name}"))

    @classmethod
    def open_pin(cls, path: str) -> Program | None:
        """The program pinned at `path`; None if nothing is there."""
        fd = cls._open_pin(path)
        return None if fd is None else cls(fd)

    @classmethod
    def by_id(cls, number: int) -> Program | None:
        """The program with this id; None if there is none (any more)."""
        fd = _libbpf().bpf_prog_get_fd_by_id(ctypes.c_uint32(number))
        return None if fd == -errno.ENOENT else cls(_check(fd, f"open program {number}"))

    def maps(self) -> dict[str, Map]:
        """The maps that the program uses, by name."""
        found = (Map.by_id(number) for number in self.map_ids)
        return {map_.name: map_ for map_ in found if map_ is not None}

    def test_run(self, frame: bytes, repeat: int = 1, index: int = 0) -> tuple[int, bytes]:
        """Run the program on a frame (BPF_PROG_TEST_RUN): its verdict and what it left.

        repeat: how often, each time on what the time before left.
        index: of the interface that it comes in by; 0: the loopback interface.
        """
        context = _XDP_MD.pack(0, len(frame), 0, index, 0, 0)
        out = ctypes.create_string_buffer(len(frame) + 256)
        options = TestRunOptions(
            sz=ctypes.sizeof(TestRunOptions),
            data_in=frame,
            data_size_in=len(frame),
            data_size_out=len(out),
            ctx_in=context if index else None,
            ctx_size_in=len(context) if index else 0,
            repeat=repeat,
        )
        options.data_out = ctypes.cast(out, ctypes.c_char_p)
        _check(
            _libbpf().bpf_prog_test_run_opts(self.fd, ctypes.byref(options)), "BPF_PROG_TEST_RUN"
        )
        return options.retval, out.raw[: options.data_size_out]


def require() -> None:
    """Raises HostError if libbpf is missing."""
    _libbpf()


def is_there() -> bool:
    """Whether libbpf is."""
    try:
        require()
    except HostError:
        return False
    return True


@functools.cache
def takes_xdp_programs() -> bool:
    """Whether the kernel does."""
    found: int = _libbpf().libbpf_probe_bpf_prog_type(_PROGRAM_XDP, None)
    return found == 1


@functools.cache
def has_helper(number: int) -> bool:
    """Whether the kernel lets XDP programs call this helper function (enum bpf_func_id)."""
    if not is_there():  # that is told when it is needed
        return False
    found: int = _libbpf().libbpf_probe_bpf_helper(_PROGRAM_XDP, number, None)
    return found == 1


def _key(key: int | bytes) -> Any:
    return key if isinstance(key, bytes) else ctypes.byref(ctypes.c_uint32(key))
