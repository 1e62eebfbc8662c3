# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kernel headers are found, among those of several kernels."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import headers
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.headers import Headers

CHECKOUT = Path(__file__).resolve().parents[2]
RUNNING = platform.release()
SPLIT = ["build/include/generated", "source/include/linux/kconfig.h"]
WHOLE = ["build/include/linux/kconfig.h"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What a kernel that carries its headers shows; it is not there."""
    return tmp_path / "kheaders.tar.xz"


def modules(root: Path, **kernels: list[str]) -> Path:
    """A /lib/modules; for each release the files and folders it has."""
    folder = root / "modules"
    for release, names in kernels.items():
        for name in names:
            path = folder / release / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix == ".h" else path.mkdir()
    return folder


def found(root: Path, archive: Path, kernels: dict[str, list[str]]) -> Headers | None:
    return headers.find_headers(modules(root, **kernels), archive)


def test_the_running_kernels_headers_are_best(tmp_path: Path, archive: Path) -> None:
    archive.touch()
    build = tmp_path / "modules" / RUNNING / "build"
    kernels = {RUNNING: WHOLE, "999.0.0-1": WHOLE}
    assert found(tmp_path, archive, kernels) == Headers(RUNNING, True, build, build)


def test_then_those_that_it_carries(tmp_path: Path, archive: Path) -> None:
    archive.touch()
    expected = Headers(RUNNING, True, archive, archive)
    assert found(tmp_path, archive, {"999.0.0-1": WHOLE}) == expected


@pytest.mark.parametrize("left", [["build/Makefile"], ["build/include"], ["source/include"]])
def test_leftovers_are_none(tmp_path: Path, archive: Path, left: list[str]) -> None:
    """bcc would go on to look in /tmp."""
    assert found(tmp_path, archive, {RUNNING: left}) is None
    archive.touch()
    assert headers.find_headers(tmp_path / "modules", archive) == Headers(
        RUNNING, True, archive, archive
    )


def test_else_the_newest_serve(tmp_path: Path, archive: Path) -> None:
    kernels = {
        "6.1.0-9-amd64": SPLIT,
        "6.1.0-10-amd64": SPLIT,
        "5.10.0-30-amd64": SPLIT,
        "6.12.0-1-amd64": ["kernel"],
        "6.12.0-2-amd64": ["build/scripts"],
    }
    newest = tmp_path / "modules/6.1.0-10-amd64"
    assert found(tmp_path, archive, kernels) == Headers(
        newest.name, False, newest / "source", newest / "build"
    )


def test_headers_that_are_not_split(tmp_path: Path, archive: Path) -> None:
    build = tmp_path / "modules/6.8.0-31-generic/build"
    expected = Headers("6.8.0-31-generic", False, build, build)
    assert found(tmp_path, archive, {"6.8.0-31-generic": WHOLE}) == expected


def test_no_headers(tmp_path: Path, archive: Path) -> None:
    assert headers.find_headers(tmp_path, archive) is None
    assert headers.find_headers(tmp_path / "nothing", archive) is None


def test_the_role_looks_with_the_same_code() -> None:
    sources = ["plugins/module_utils/_l4lb/kernel/headers.py", "roles/l4lb/files/look.py"]
    text = "\n".join((CHECKOUT / name).read_text() for name in sources)
    looked = subprocess.run(
        [sys.executable, "-I", "-"], input=text, capture_output=True, text=True, check=True
    )
    here = headers.find_headers()
    assert json.loads(looked.stdout)["headers"] == (here.release if here else None)
