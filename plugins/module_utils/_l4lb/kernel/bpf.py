# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF programs of the running kernel, and what they have in common with maps, by way of libbpf.

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import HostError, KernelError
from .paths import told

MAP_LOOKUP_PERCPU_ELEM = 195
"""A helper of Linux 5.19: looks up what another CPU has."""
_PROGRAM_XDP, _PROGRAM_TRACING = 6, 26
FENTRY, FEXIT = 24, 25
"""Of enum bpf_attach_type: programs that trace others."""
_FUNCTION = 12
"""Of the kinds of types (BTF_KIND_FUNC)."""
_POSSIBLE = Path("/sys/devices/system/cpu/possible")
TICKS = struct.pack("=2Bhi2Bhi", 0x85, 0, 0, 118, 0x95, 0, 0, 0)
"""call bpf_jiffies64; exit"""
_XDP_MD = struct.Struct("=6I")  # data, its end, metadata, ingress interface and queue, egress


@functools.cache
def libbpf() -> Any:
    """The C library. Raises HostError if it is missing."""
    try:
        return ctypes.CDLL("libbpf.so.1")
    except OSError as e:
        raise HostError(
            f"libbpf 1.x is missing ({e}); install libbpf1 (libbpf on Fedora and RHEL), which "
            "Debian has from 12 on, Ubuntu from 24.04, and RHEL from 9.2"
        ) from e


def check(result: int, what: str) -> int:
    """libbpf 1.x answers a negative errno on failure."""
    if result < 0:
        raise KernelError(f"{what}: {errno.errorcode.get(-result)}: {os.strerror(-result)}")
    return result


@functools.cache
def possible_cpus() -> int:
    """How many values a per-CPU map holds per element. Raises KernelError."""
    return check(libbpf().libbpf_num_possible_cpus(), "count the CPUs")


@functools.cache
def cpu_numbers() -> tuple[int, ...]:
    """Whose values they are, in the same order; there may be gaps. Raises HostError."""
    with told(f"read {_POSSIBLE}"):
        return tuple(parse_cpus(_POSSIBLE.read_text(encoding="ascii")))


def parse_cpus(text: str) -> Iterator[int]:
    """The numbers in a list of the kernel's, as 0-3,8-11."""
    for part in text.strip().split(","):
        first, _dash, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def first_gap() -> int | None:
    """The least number that is no CPU's, while a larger one is. Raises HostError."""
    return next((at for at, number in enumerate(cpu_numbers()) if at != number), None)


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
        ("ifindex", ctypes.c_uint32),
        ("gpl_compatible", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("nr_jited_ksyms", ctypes.c_uint32),
        ("nr_jited_func_lens", ctypes.c_uint32),
        ("jited_ksyms", ctypes.c_uint64),
        ("jited_func_lens", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
    ]


class LoadOptions(ctypes.Structure):
    """The head of struct bpf_prog_load_opts of libbpf."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
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


class Object:
    """Owns a file descriptor of a BPF object; closes it when collected."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def pin(self, path: str) -> None:
        """Pin under `path` of a bpf file system."""
        check(libbpf().bpf_obj_pin(self.fd, path.encode()), f"pin {path}")

    @staticmethod
    def open_pinned(path: str) -> int | None:
        """What is pinned at `path`; None if nothing is."""
        fd = libbpf().bpf_obj_get(path.encode())
        if fd in (-errno.ENOENT, -errno.ENOTDIR):
            return None
        return check(fd, f"open the pin {path}")


def read_info(fd: int, info: ctypes.Structure) -> None:
    """Have the kernel fill in struct bpf_map_info, or bpf_prog_info, as far as it is there."""
    size = ctypes.c_uint32(ctypes.sizeof(info))
    check(
        libbpf().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)),
        "BPF_OBJ_GET_INFO_BY_FD",
    )


class Program(Object):
    """A loaded BPF program."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = _ProgramInfo()
        read_info(fd, info)
        self.id: int = info.id
        self.name: str = os.fsdecode(info.name)
        self.instructions: int = info.xlated_prog_len // 8
        self.btf_id: int = info.btf_id
        """Of the description of its types and functions; 0: there is none."""
        ids = (ctypes.c_uint32 * info.nr_map_ids)()
        info = _ProgramInfo(nr_map_ids=len(ids), map_ids=ctypes.addressof(ids))
        read_info(fd, info)
        self.map_ids: tuple[int, ...] = tuple(ids)

    @classmethod
    def load(cls, name: str, code: bytes) -> Program:
        """An XDP program of these instructions."""
        fd = libbpf().bpf_prog_load(_PROGRAM_XDP, name.encode(), b"GPL", code, len(code) // 8, None)
        return cls(check(fd, f"load the program {name}"))

    @classmethod
    def load_tracing(cls, name: str, code: bytes, kind: int, target: Program) -> Program:
        """One that is called when `target` begins (FENTRY) or ends (FEXIT), once it is attached.

        Raises KernelError, also where the kernel takes no such programs.
        """
        options = LoadOptions(
            sz=ctypes.sizeof(LoadOptions),
            expected_attach_type=kind,
            attach_btf_id=_function_number(target),
            attach_prog_fd=target.fd,
        )
        fd = libbpf().bpf_prog_load(
            _PROGRAM_TRACING,
            name.encode(),
            b"GPL",
            code,
            len(code) // 8,
            ctypes.byref(options),
        )
        return cls(check(fd, f"load the program {name}"))

    def trace(self) -> Object:
        """Attach such a program, for as long as what is returned is open."""
        fd = libbpf().bpf_raw_tracepoint_open(None, self.fd)
        return Object(check(fd, f"attach {self.name}"))

    @classmethod
    def open_pin(cls, path: str) -> Program | None:
        """The program pinned at `path`; None if nothing is there."""
        fd = cls.open_pinned(path)
        return None if fd is None else cls(fd)

    @classmethod
    def by_id(cls, number: int) -> Program | None:
        """The program with this id; None if there is none (any more)."""
        fd = libbpf().bpf_prog_get_fd_by_id(ctypes.c_uint32(number))
        return None if fd == -errno.ENOENT else cls(check(fd, f"open program {number}"))

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
        check(libbpf().bpf_prog_test_run_opts(self.fd, ctypes.byref(options)), "BPF_PROG_TEST_RUN")
        return options.retval, out.raw[: options.data_size_out]


def _function_number(program: Program) -> int:
    """Of the main function among the types that describe a program. Raises KernelError."""
    what = f"read what describes the program {program.name}"
    library = libbpf()
    library.btf__load_from_kernel_by_id.restype = ctypes.c_void_p
    if not program.btf_id:
        raise KernelError(f"{what}: nothing does")
    types = library.btf__load_from_kernel_by_id(ctypes.c_uint32(program.btf_id))
    if not types:
        raise KernelError(what)
    try:
        name = program.name.encode()
        return check(library.btf__find_by_name_kind(ctypes.c_void_p(types), name, _FUNCTION), what)
    finally:
        library.btf__free(ctypes.c_void_p(types))


class _LinkInfo(ctypes.Structure):
    """The head of struct bpf_link_info, for programs on an interface."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
    ]


class AttachedLink(Object):
    """What keeps a program attached to an interface, as long as it is open."""

    @classmethod
    def create(cls, program: Program, interface: int, kind: int) -> AttachedLink:
        """Attach a program. Raises KernelError, also where the kernel knows no such kind.

        kind: of enum bpf_attach_type.
        """
        fd = libbpf().bpf_link_create(program.fd, interface, kind, None)
        return cls(check(fd, f"attach {program.name} to interface {interface}"))

    @property
    def holds(self) -> bool:
        """Whether nobody has detached it, and the interface is still there."""
        info = _LinkInfo()
        read_info(self.fd, info)
        return bool(info.ifindex)

    def close(self) -> None:
        """Detach."""
        self.__del__()


def require() -> None:
    """Raises HostError if libbpf is missing."""
    libbpf()


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
    found: int = libbpf().libbpf_probe_bpf_prog_type(_PROGRAM_XDP, None)
    return found == 1


@functools.cache
def has_helper(number: int) -> bool:
    """Whether the kernel lets XDP programs call this helper function (enum bpf_func_id)."""
    if not is_there():  # that is told when it is needed
        return False
    found: int = libbpf().libbpf_probe_bpf_helper(_PROGRAM_XDP, number, None)
    return found == 1
