# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of machines before any boots: their file, and the archive that they see."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import LabError
from lab.machines import Plan, machine, read

ARCHIVE = Path(machine.__file__).with_name("archive.py")
HELPER = Path("/usr/lib/apt/apt-helper")


def test_a_file_of_machines(tmp_path: Path) -> None:
    file = tmp_path / "machines.yml"
    file.write_text("lb1: {system: debian-12, cards: [router/servers], queues: 4}\n")
    assert read(file) == {"lb1": Plan("debian-12", ("router/servers",), queues=4)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lb1: {system: debian-11, cards: []}", "there is no system 'debian-11'"),
        ("l/b: {system: debian-12, cards: []}", "machine name 'l/b'"),
        ("lb1: {system: debian-12}", "'cards'"),
        ("lb1: {system: debian-12, cards: [], cores: 4}", "cores"),
        ("- lb1", "machines.yml"),
    ],
)
def test_a_wrong_file_of_machines(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "machines.yml"
    file.write_text(text)
    with pytest.raises(LabError, match=re.escape(problem)):
        read(file)


@pytest.mark.skipif(not HELPER.exists(), reason="cannot run here: there is no apt")
def test_the_archive_fetches_what_lasts_once(tmp_path: Path) -> None:
    there, kept = tmp_path / "there", tmp_path / "kept"
    for path in (there / "pool/main", there / "dists", kept):
        path.mkdir(parents=True)
    (there / "pool/main/a_1.deb").write_text("a package\n")
    (there / "dists/Release").write_text("a list\n")
    paths = ["/pool/main/a_1.deb", "/dists/Release", "/pool/main/b_1.deb", "/dists/../../kept"]
    asked = "".join(f"GET {path} HTTP/1.1\r\n\r\n" for path in paths)
    command = [sys.executable, str(ARCHIVE), f"file:{there}", str(kept)]
    answer = subprocess.run(
        command, input=asked, capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert re.findall(r"^HTTP/1.1 (\d+)", answer, re.MULTILINE) == ["200", "200", "404", "404"]
    assert "a package" in answer and "a list" in answer
    assert [path.name for path in kept.rglob("*") if path.is_file()] == ["a_1.deb"]
