# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leads to a compile: one text of many files, bcc; not the compile."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import build
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import compiler, requirements
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.headers import Headers
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import (
    join_sources,
    read_sources,
)

BPF = Path(__file__).resolve().parents[2] / "files" / "bpf"


# The files.


def test_files_in_folders_have_their_paths_for_names(tmp_path: Path) -> None:
    (tmp_path / "parse" / "deep").mkdir(parents=True)
    for name in ("z.c", "parse/b.h", "parse/deep/a.h", "parse/notes.txt", ".a.h.swp"):
        (tmp_path / name).write_text(f"of {name}\n")
    found = read_sources(tmp_path)
    assert list(found.items()) == [
        (name, f"of {name}\n") for name in ("parse/b.h", "parse/deep/a.h", "z.c")
    ]
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        for name, text in found.items():
            archive.writestr(f"bpf/{name}", text)
    assert read_sources(zipfile.Path(tmp_path / "archive", "bpf/")) == found
    assert read_sources(zipfile.Path(tmp_path / "archive", "others/")) == {}


# One text of many files.


def located(text: str) -> list[tuple[str, int, str]]:
    """Every line of a text with the file and number that a compiler would report for it."""
    name, number, found = "", 0, []
    for line in text.splitlines():
        if directive := re.fullmatch(r'#line (\d+) "([^"]+)"', line):
            number, name = int(directive[1]), directive[2]
        else:
            found.append((name, number, line))
            number += 1
    return found


SOURCES = {
    "main.c": (
        '#include <linux/bpf.h>\n#include "in/a.h"\n\n# include  "b.h" /* why */\nint main;\n'
    ),
    "in/a.h": '#pragma once\n#include "b.h"\nint a;\n',
    "b.h": '#pragma once\n#include "elsewhere.h"\n#include "in/a.h"\n\nint b;',
}


def test_lines_keep_their_files_and_numbers() -> None:
    assert located(join_sources(SOURCES, "main.c")) == [
        ("main.c", 1, "#include <linux/bpf.h>"),
        ("in/a.h", 1, ""),
        ("b.h", 1, ""),
        ("b.h", 2, '#include "elsewhere.h"'),
        ("b.h", 4, ""),
        ("b.h", 5, "int b;"),
        ("in/a.h", 3, "int a;"),
        ("main.c", 3, ""),
        ("main.c", 5, "int main;"),
    ]


def test_lines_of_the_data_plane_keep_their_files_and_numbers() -> None:
    sources = read_sources(BPF)
    joined = located(build.program_text(sources))
    used = {name for name, _number, _line in joined}
    assert used == sources.keys() - {"capture.c", "decap.c", "probe.c"}
    originals = {name: sources[name].splitlines() for name in used}
    for name, number, line in joined:
        assert line in (originals[name][number - 1], ""), f"{name}:{number}"
    left_out = {
        line
        for name in used
        for number, line in enumerate(originals[name], 1)
        if line and (name, number, line) not in joined
    }
    assert all(re.match(r'#include ".*"|#pragma once$', line) for line in left_out)
    assert not any(line.startswith('#include "') for _name, _number, line in joined)


def test_incomplete_sources() -> None:
    with pytest.raises(L4lbError, match=r"lack l4lb\.c; is the collection installed completely"):
        build.program_text({"base/maps.h": ""})


# Kernel headers.


def test_no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "bcc_version", lambda: "0.26.0")
    monkeypatch.setattr(requirements, "find_headers", lambda: None)
    with pytest.raises(HostError, match=f"install linux-headers-{re.escape(platform.release())}"):
        requirements.require_tools()


# bcc.


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only bcc that Python finds: an empty package."""
    folder = tmp_path / "bcc"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "bcc"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_the_version_of_bcc(package: Path) -> None:
    (package / "table.py").touch()
    assert requirements.bcc_version() == "unknown"
    (package / "version.py").write_text("# generated\n__version__ = '0.26.0+ds-1'\n")
    assert requirements.bcc_version() == "0.26.0+ds-1"
    assert "bcc" not in sys.modules


def test_another_bcc_does_not_count(package: Path) -> None:
    (package / "version.py").write_text("__version__ = '0.1.10'\n")
    assert requirements.bcc_version() is None
    with pytest.raises(HostError, match=r"install python3-bpfcc .*PyPI is something else"):
        requirements.require_tools()


def test_no_bcc(package: Path) -> None:
    (package / "__init__.py").unlink()
    package.rmdir()
    assert requirements.bcc_version() is None
    with pytest.raises(HostError, match=re.escape(f"bcc is not installed for {sys.executable}; ")):
        compiler.load("", [], "l4lb")


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_a_broken_bcc(package: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    (package / "table.py").touch()
    (package / "__init__.py").write_text(f"raise {error}('libbcc.so.0: cannot open')\n")
    monkeypatch.setattr(requirements, "find_headers", lambda: Headers("6.1", True, BPF, BPF))
    with pytest.raises(HostError, match=r"bcc does not load: libbcc\.so\.0: .*; reinstall"):
        compiler.load("", [], "l4lb")


def test_a_working_directory_that_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HostError, match="open the working directory: Too many open files"):
        compiler._working_directory(tmp_path).__enter__()
    monkeypatch.undo()
    with pytest.raises(HostError, match=r"enter .*: No such file"):
        compiler._working_directory(tmp_path / "gone").__enter__()
