# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of folders in CONTRIBUTING.md is the tree of folders."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
WHOLE = ("files/bpf", "plugins", "lab", "tests")
"""Folders of which each one is listed."""
NOT_OURS = {"__pycache__", "output"}
"""Python's, and what ansible-test leaves in tests/."""
WITHOUT_A_LINE = {"plugins/module_utils", "lab/demo.d", "lab/demo.d/group_vars"}
WITHOUT_A_LINE |= {"lab/fleet/demo.d", "lab/fleet/demo.d/group_vars"}


def listed() -> set[str]:
    """The folders of the tree, with those above them."""
    tree = (CHECKOUT / "CONTRIBUTING.md").read_text().split("```")[1]
    found, above = set(), ""
    for line in filter(None, tree.splitlines()):
        name = line.split()[0].rstrip("/")
        if line.startswith(" "):
            found.add(f"{above}/{name}")
        else:
            above = name
            found.add(name)
    return found


def folders(top: str) -> set[str]:
    """All below this one that have files of their own."""
    names = set()
    for path in (CHECKOUT / top).rglob("*"):
        if path.is_file() and not NOT_OURS.intersection(path.relative_to(CHECKOUT).parts):
            names.add(str(path.parent.relative_to(CHECKOUT)))
    return names - {"tests", "plugins"}


def test_what_is_listed_is_there() -> None:
    assert [name for name in sorted(listed()) if not (CHECKOUT / name).is_dir()] == []


def test_what_is_there_is_listed() -> None:
    there = set().union(*map(folders, WHOLE))
    assert there - listed() - WITHOUT_A_LINE == set()
