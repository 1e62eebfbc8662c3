# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Demos, as someone runs them who has just cloned the repository."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from lab import Lab
from lab.host import CHECKOUT


def environment(name: str) -> dict[str, str]:
    """A login's, without a virtual environment."""
    kept = {key: os.environ[key] for key in ("HOME", "TMPDIR") if key in os.environ}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**kept, "PATH": path, "L4LB_DEMO": name, "L4LB_DEMO_SECONDS": "1"}


def call(name: str, *command: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command for the demo of this name."""
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment(name),
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def inodes(lab: Lab) -> set[int]:
    """The network namespaces of its hosts."""
    return {host.network.stat().st_ino for host in lab.hosts.values()}


def assert_nothing_left(lab: Lab, networks: set[int]) -> None:
    listed = subprocess.run(["lsns", "-rno", "NS"], check=True, capture_output=True, text=True)
    assert not networks & {int(line) for line in listed.stdout.split()}
    assert not lab.directory.exists()
    assert str(lab.directory) not in Path("/proc/self/mountinfo").read_text()
    assert not (CHECKOUT / "build" / lab.name).exists()


def assert_shows(page: Path, start: str, shown: str, but: str = "…") -> None:
    """What a page quotes, in the block that starts so, is what the demo prints, but for numbers,
    for lines that begin with `but`, and for what is left out at …"""
    (quoted,) = re.findall(
        rf"^```text\n({start}.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    lines = iter(_shape(shown))
    for line in _shape(quoted):
        assert line.startswith(("…", *_shape(but))) or line in lines, line


def _shape(text: str) -> list[str]:
    """Lines without numbers and the space that these need."""
    return [re.sub(r"[\d. ]+", " ", line).strip() for line in text.splitlines()]


def suggested(shown: str) -> list[str]:
    """The commands to try next."""
    return re.findall(r"^    (\S.*)$", shown.partition("try next")[2], re.MULTILINE)
