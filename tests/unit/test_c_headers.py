# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each C header includes what it uses and nothing else, so that editors and linters can read each
alone: from the text, and by clang where it is installed."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources

BPF = Path(__file__).resolve().parents[2] / "files" / "bpf"
SOURCES = {name: text for name, text in read_sources(BPF).items() if name != "decap.c"}
PROGRAMS = {"l4lb.c", "probe.c", "capture.c"}
HEADERS = sorted(SOURCES.keys() - PROGRAMS)
KERNEL = "base/kernel.h"
"""What every file includes."""
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
"""What a screen shows."""
FLOORS = ("base", "parse", "choose", "send", "answer", "receive")


def code_of(text: str) -> str:
    """Without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"[^"\n]*"', " ", text, flags=re.DOTALL)


def included(text: str) -> list[str]:
    """The headers of ours that a text includes itself."""
    return re.findall(r'^#include "([^"]+)"', text, re.MULTILINE)


def defined(text: str) -> set[str]:
    """What other files may take from a text: as a pattern that finds its uses in code."""
    code = code_of(text)
    enums = re.findall(r"^enum (\w+) \{(.*?)\}", code, re.MULTILINE | re.DOTALL)
    macros = re.findall(r"^#define (\w+)", code, re.MULTILINE)
    functions = re.findall(r"^static __always_inline [^;{]*?(\w+)\(", code, re.MULTILINE)
    structs = re.findall(r"^struct (\w+) \{", code, re.MULTILINE)
    maps = re.findall(r"^(?:TABLE|KEYED|TABLE_OF)\([^;]*?(\w+), [^,;]+\);", code, re.MULTILINE)
    constants = [name for _name, body in enums for name in re.findall(r"\w+", body)]
    return {
        *(rf"\b{name}\b" for name in (*macros, *constants)),
        *(rf"\b{name}\b" for name in re.findall(r"^typedef \w+ (\w+);", code, re.MULTILINE)),
        *(rf"(?<![.>]){name}\(" for name in functions),
        *(rf"\bstruct {name}\b" for name in structs),
        *(rf"\benum {name}\b" for name, _body in enums),
        *(rf"\b{name}\." for name in maps),
    }


def needed(name: str, sources: Mapping[str, str]) -> set[str]:
    """The headers whose definitions a file uses."""
    code = code_of(sources[name])
    return {KERNEL} - {name} | {
        other
        for other, text in sources.items()
        if other not in (name, KERNEL, *PROGRAMS)
        and any(re.search(pattern, code) for pattern in defined(text))
    }


@pytest.mark.parametrize("name", sorted(SOURCES.keys() - {KERNEL}))
def test_what_a_file_uses_is_included_there_and_nothing_else(name: str) -> None:
    assert sorted(included(SOURCES[name])) == sorted(needed(name, SOURCES))


FEATURES = sorted(set(re.findall(r"\bWITH_\w+", "".join(SOURCES.values()))))
VALUES = ("TICKS_PER_SECOND=250", "BACKENDS=64", "LOOKUP_TABLES=64", "FLOW_BLOCKS=64", "CPUS=2")
MACHINE = platform.machine()
SYSTEM = [f"-I/usr/include/{MACHINE}-linux-gnu", f"-D__{MACHINE}__"]
"""The C library asks for its own kind of machine, where the kernel's headers include it."""


def test_clang_reads_each_header_alone() -> None:
    clang = shutil.which("clang")
    if not clang:
        pytest.skip("cannot run here: clang is not installed")
    flags = [f"-D{define}" for define in (*FEATURES, *VALUES)]
    command = [clang, "-fsyntax-only", "-target", "bpf", "-I.", *SYSTEM, *flags, "-x", "c"]
    for name in HEADERS:
        alone = [*command, "-include", name, "/dev/null"]
        done = subprocess.run(alone, cwd=BPF, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), name


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_may_be_included_twice(name: str) -> None:
    assert SOURCES[name].count("\n#pragma once\n") == 1


@pytest.mark.parametrize("name", HEADERS)
def test_a_folder_uses_only_those_before_it(name: str) -> None:
    floor = FLOORS.index(name.partition("/")[0])
    above = [
        other for other in included(SOURCES[name]) if not other.startswith(FLOORS[: floor + 1])
    ]
    assert not above


def test_no_header_includes_itself() -> None:
    left = {name: set(included(text)) for name, text in SOURCES.items()}
    while left:
        ready = {name for name, wanted in left.items() if not wanted & left.keys()}
        assert ready, f"in a circle: {sorted(left)}"
        left = {name: wanted for name, wanted in left.items() if name not in ready}


def test_all_kinds_of_definitions_are_found() -> None:
    sources = {
        "a.h": "#define A 1\nenum b {\n\tB_1,\n};\ntypedef int c_t;\nstruct d {\n\tint e;\n};\n"
        'static __always_inline int f(int g)\n{\n}\nTABLE("array", struct d, h, A);\n',
        KERNEL: "",
        **{
            str(number): use
            for number, use in enumerate(
                ("A + 1", "B_1", "enum b x", "c_t x", "struct d *x", "f(1)", "h.lookup(&x)")
            )
        },
        "none": "/* A */ x->A_ + b + d + f + x.f() + h",
    }
    users = {name for name in sources if "a.h" in needed(name, sources)}
    assert users == {"0", "1", "2", "3", "4", "5", "6"}


@pytest.mark.parametrize("name", read_sources(BPF))
def test_files_and_functions_are_short(name: str) -> None:
    text = read_sources(BPF)[name]
    assert text.count("\n") <= MOST_LINES
    for body in re.findall(
        r"^(?:static|int)\b[^;{}]*\n\{\n.*?^\}$", text, re.MULTILINE | re.DOTALL
    ):
        assert body.count("\n") < MOST_LINES_OF_A_FUNCTION, body.partition("\n")[0]
