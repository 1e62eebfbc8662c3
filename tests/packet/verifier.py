# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds of the data plane apart from the kernel that compiled them, for any kernel's verifier."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf, compiler
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import (
    ARRAY_OF_MAPS,
    Map,
    Shape,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import (
    join_sources,
    read_sources,
)

SOURCES = Path(__file__).parents[2] / "files" / "bpf"

INNERS = {"all_flows": "flows"}
"""Maps of maps that hold one which packets use directly, too."""

LOAD_MAP = 0x18  # BPF_LD | BPF_DW | BPF_IMM, which takes two instructions
IS_MAP = 1  # its source register if it loads the address of a map (BPF_PSEUDO_MAP_FD)
INSTRUCTION = 8  # bytes
XDP = 6
LOG_STEPS, LOG_STATISTICS = 1, 4
LOG_SIZES = {LOG_STATISTICS: 1 << 12, LOG_STEPS: 1 << 26}
"""Bytes. Kernels before 6.4 keep no more than the beginning."""


class CreateOptions(ctypes.Structure):
    """The head of struct bpf_map_create_opts (libbpf 1.x)."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    ]


class LoadOptions(bpf.LoadOptions):
    """More of it (libbpf 1.x)."""

    _fields_ = [  # noqa: RUF012 (it is a structure by way of another one)
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


class RefusedError(Exception):
    """A kernel does not take a program; with the verifier's last words."""


@dataclass(frozen=True)
class Build:
    """A program and the shapes of its maps.

    references: index of an instruction that takes a map's address -> the map's name.
    inners: name of a map of maps -> the shape of what is in it.
    """

    code: bytes
    references: dict[int, str]
    maps: dict[str, Shape]
    inners: dict[str, Shape]

    @classmethod
    def compile(cls, function: str, flags: list[str]) -> Build:
        """The program that is called as its file of files/bpf, with -D... flags.

        Raises CompileError.
        """
        text = join_sources(read_sources(SOURCES), f"{function}.c")
        _program, module = compiler.load_by_bcc(text, flags, function)
        from bcc import lib

        code: bytes = module.dump_func(function.encode())
        references, maps, inners = {}, {}, {}
        for at in range(0, len(code), INSTRUCTION):
            if code[at] != LOAD_MAP or code[at + 1] >> 4 != IS_MAP:
                continue
            (fd,) = struct.unpack_from("=i", code, at + 4)
            map_ = Map(os.dup(fd))
            references[at // INSTRUCTION] = map_.name
            maps[map_.name] = map_.shape
            if map_.shape.type == ARRAY_OF_MAPS:
                inner_name = INNERS.get(map_.name, f"{map_.name}_inner")
                inner = lib.bpf_table_fd(module.module, inner_name.encode())
                inners[map_.name] = Map(os.dup(inner)).shape
        compiler.close(module)
        return cls(code, references, maps, inners)

    def verify(self) -> dict[str, int]:
        """Have the running kernel verify it: how much work that was. Raises RefusedError."""
        maps = {name: _create(shape, self.inners.get(name)) for name, shape in self.maps.items()}
        code = bytearray(self.code)
        for index, name in self.references.items():
            struct.pack_into("=i", code, index * INSTRUCTION + 4, maps[name].fd)
        fd, log = _load(code, LOG_STATISTICS)
        if fd < 0:
            _fd, log = _load(code, LOG_STEPS)
            raise RefusedError(log)
        os.close(fd)
        found = re.search(r"processed (\d+) insns .*total_states (\d+) peak_states (\d+)", log)
        assert found, f"no statistics in the log: {log}"
        names = ("instructions", "total states", "peak states")
        return {"length": len(code) // INSTRUCTION, **dict(zip(names, map(int, found.groups())))}


def _create(shape: Shape, inner: Shape | None) -> Map:
    options = CreateOptions(sz=ctypes.sizeof(CreateOptions), map_flags=shape.flags)
    prototype = _create(inner, None) if inner else None
    if prototype:
        options.inner_map_fd = prototype.fd
    fd = ctypes.CDLL("libbpf.so.1").bpf_map_create(
        shape.type, None, shape.key_size, shape.value_size, shape.max_entries, ctypes.byref(options)
    )
    if fd < 0:
        raise RefusedError(f"no map {shape}: {os.strerror(-fd)}")
    return Map(fd)


def _load(code: bytearray, level: int) -> tuple[int, str]:
    """A file descriptor, negative if the kernel refuses, and the end of the verifier's log."""
    log = ctypes.create_string_buffer(LOG_SIZES[level])
    options = LoadOptions(
        sz=ctypes.sizeof(LoadOptions),
        log_level=level,
        log_size=len(log),
        log_buf=ctypes.addressof(log),
    )
    count = ctypes.c_size_t(len(code) // INSTRUCTION)
    fd = ctypes.CDLL("libbpf.so.1").bpf_prog_load(
        XDP, None, b"GPL", bytes(code), count, ctypes.byref(options)
    )
    return fd, log.value.decode(errors="replace")[-2000:]
