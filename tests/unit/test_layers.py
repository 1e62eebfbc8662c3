# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library's folders are floors: which may import which, read from the code."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "plugins/module_utils/_l4lb"

FLOORS: dict[str, set[str]] = {
    "": set(),  # errors and the like, which everybody may have
    "schedulers": set(),
    "kernel": set(),
    "model": {"schedulers"},
    "network": {"kernel", "model"},
    "maps": {"model", "schedulers"},
    "routing": {"kernel", "maps", "model", "network"},
    "datapath": {"kernel", "maps", "model", "schedulers"},
    "announce": {"datapath", "kernel", "maps", "model", "network"},
    "balancer": {
        "announce",
        "datapath",
        "kernel",
        "maps",
        "model",
        "network",
        "routing",
        "schedulers",
    },
}
FLOORS["realserver"] = {"kernel", "model", "network"}
FLOORS["operations"] = {*FLOORS["balancer"], "balancer", "realserver"}
FLOORS["operations/trial"] = {*FLOORS["operations"], "operations"}
FLOORS["operations/capture"] = {*FLOORS["operations"], "operations"}
FLOORS["metrics"] = {*FLOORS["operations"], "operations"}
FLOORS["agent/probes"] = {*FLOORS["operations"], "operations"}
FLOORS["agent/web"] = {*FLOORS["metrics"], "metrics"}
FLOORS["agent/page"] = {*FLOORS["agent/web"], "agent/web"}
FLOORS["agent"] = {*FLOORS["agent/page"], "agent/page", "agent/probes"}
FLOORS["command/screen"] = {"operations"}
FLOORS["command"] = {*FLOORS["agent"], "agent", "command/screen"}
FLOORS["command"] |= {"operations/capture", "operations/trial"}
"""Folder -> those that its modules may import."""

FACES = {"command", "command/screen"}
"""They talk to people, and may end the process."""
OUTSIDE = {"bcc", "pyroute2"}
"""What else there may be besides the standard library, but not before it is needed."""
MOST_FILES, MOST_LINES, MOST_LINES_OF_A_CLASS, MOST_LINES_OF_A_FUNCTION = 12, 400, 250, 60


@dataclass(frozen=True)
class Import:
    """Of what: a folder of the library ("" for what lies beside them), or a package of others."""

    line: int
    own: bool
    name: str
    at_once: bool
    """When its own module is imported, not only when a function is called."""


def imports(tree: ast.Module, folders: tuple[str, ...]) -> Iterator[Import]:
    """All imports of a module that lies in these folders of the library."""
    deferred = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        at_once = id(node) not in deferred
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, False, alias.name.partition(".")[0], at_once)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield Import(node.lineno, False, (node.module or "").partition(".")[0], at_once)
        elif isinstance(node, ast.ImportFrom):
            kept = folders[: len(folders) - node.level + 1]
            path = (*kept, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield Import(node.lineno, True, floor_of((*path, alias.name)), at_once)


def floor_of(path: tuple[str, ...]) -> str:
    """The folder that a name of the library is in; "" beside them."""
    floors = ("/".join(path[:length]) for length in range(len(path), 0, -1))
    return next((floor for floor in floors if floor in FLOORS), "")


def problems(text: str, folder: str) -> list[str]:
    """What a module in this folder does and must not do, with the line."""
    tree = ast.parse(text)
    found = []
    for one in imports(tree, tuple(folder.split("/")) if folder else ()):
        if one.own and one.name not in {folder, "", *FLOORS[folder]}:
            found.append(f"{one.line}: {folder or 'the ground'} imports {one.name}")
        if not one.own and one.name in OUTSIDE and one.at_once:
            found.append(f"{one.line}: imports {one.name} before it is needed")
        if not one.own and one.name not in {*OUTSIDE, *sys.stdlib_module_names}:
            found.append(f"{one.line}: imports {one.name}, which hosts need not have")
    if folder not in FACES:
        found += [f"{line}: {what} below the faces" for line, what in _manners(tree)]
    return found


def _manners(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where it prints or ends the process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("print", "exit", "quit"):
                yield node.lineno, f"{node.func.id}()"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in ("sys.exit", "os._exit", "sys.stdout"):
                yield node.lineno, name
        elif isinstance(node, ast.Name) and node.id == "SystemExit":
            yield node.lineno, node.id


MODULES = sorted(LIBRARY.rglob("*.py"))


def folder_of(path: Path) -> str:
    return "/".join(path.relative_to(LIBRARY).parts[:-1])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_arrows_go_down(path: Path) -> None:
    assert problems(path.read_text(), folder_of(path)) == []


def test_every_folder_has_a_floor() -> None:
    assert {folder_of(path) for path in MODULES} == set(FLOORS)


def test_there_is_no_circle() -> None:
    def below(folder: str, above: tuple[str, ...]) -> None:
        assert folder not in above
        for other in FLOORS[folder]:
            below(other, (*above, folder))

    for folder in FLOORS:
        below(folder, ())


@pytest.mark.parametrize(
    ("folder", "text", "told"),
    [
        ("maps", "from ..network import link", "1: maps imports network"),
        ("kernel", "from ..model.config import Config", "1: kernel imports model"),
        ("", "from .kernel import bpf", "1: the ground imports kernel"),
        ("model", "def f():\n    from .. import balancer", "2: model imports balancer"),
        ("network", "from .. import errors, datapath", "1: network imports datapath"),
        ("agent/probes", "from .. import loop", "1: agent/probes imports agent"),
        ("operations", "from ..agent.probes import dns", "1: operations imports agent/probes"),
        ("kernel", "import bcc", "1: imports bcc before it is needed"),
        ("network", "from pyroute2.netlink import nla", "1: imports pyroute2 before it is needed"),
        ("operations", "import yaml", "1: imports yaml, which hosts need not have"),
        ("balancer", "print(1)", "1: print() below the faces"),
        ("balancer", "import sys\nsys.exit(1)", "2: sys.exit below the faces"),
        ("model", "raise SystemExit", "1: SystemExit below the faces"),
    ],
)
def test_a_wrong_arrow_is_seen(folder: str, text: str, told: str) -> None:
    assert problems(text, folder) == [told]


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("balancer", "from ..network import link\nfrom ..errors import L4lbError\nimport json"),
        ("agent/probes", "from . import dns\nfrom ...model.check import Check"),
        ("agent", "from .probes.answer import Answer\nfrom . import probes"),
        ("kernel", "def f():\n    import bcc"),
        ("command", "import sys\nprint(1)\nsys.exit(2)"),
        ("maps", "from . import layout\nfrom .. import printable"),
    ],
)
def test_a_right_arrow_is_not(folder: str, text: str) -> None:
    assert problems(text, folder) == []


# What one can read at once; C functions are test_c_headers.py's.

CHECKOUT = LIBRARY.parents[2]
READ = [*MODULES, *sorted((CHECKOUT / "lab").rglob("*.py"))]


def test_folders_are_small() -> None:
    tops = (LIBRARY, CHECKOUT / "lab", CHECKOUT / "files/bpf")
    paths = [path for top in tops for path in top.rglob("*") if "__pycache__" not in path.parts]
    sizes = Counter(path.parent for path in paths if path.is_file() and path.stem != "__init__")
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_FILES} == {}


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_files_classes_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            most = MOST_LINES_OF_A_CLASS
            if isinstance(node, ast.FunctionDef):
                most = MOST_LINES_OF_A_FUNCTION
            assert (node.end_lineno or 0) - node.lineno < most, node.name


def test_nothing_is_called_underscore() -> None:
    """pylint as ansible-test runs it on the checkout (make gates) reserves that for gettext."""
    folders = ("lab", "molecule", "plugins", "roles", "tests")
    for path in [path for folder in folders for path in (CHECKOUT / folder).rglob("*.py")]:
        if "output" in path.relative_to(CHECKOUT).parts:
            continue  # ansible-test's own
        text = path.read_text()
        if re.search(r"\b_\b", text):
            names = [
                node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Name, ast.arg))
            ]
            called = [node.id if isinstance(node, ast.Name) else node.arg for node in names]
            assert "_" not in called, path
