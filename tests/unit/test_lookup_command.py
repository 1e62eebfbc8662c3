# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The l4lb command is the same file wherever and whenever it is built, and runs."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.xdp.l4lb.plugins.lookup import command

CHECKOUT = Path(__file__).resolve().parents[2]
BPF = CHECKOUT / "files" / "bpf"
VERSION = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The collection as it is installed, with other times and modes."""
    for part in ("plugins", "files"):
        shutil.copytree(CHECKOUT / part, tmp_path / part)
    for path in tmp_path.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    (tmp_path / "MANIFEST.json").write_text(f'{{"collection_info": {{"version": "{VERSION}"}}}}')
    return tmp_path


def test_it_is_the_same_everywhere(elsewhere: Path) -> None:
    assert command.build(elsewhere) == command.build(CHECKOUT)


def test_what_is_in_it() -> None:
    with zipfile.ZipFile(io.BytesIO(command.build())) as archive:
        names = archive.namelist()
    library = CHECKOUT / "plugins/module_utils/_l4lb"
    assert names == sorted(names)
    assert set(names) == {
        "__main__.py",
        *(f"l4lb/{path.relative_to(library)}" for path in library.rglob("*.py")),
        *(f"l4lb/bpf/{path.relative_to(BPF)}" for path in BPF.rglob("*.[ch]")),
        *(f"l4lb/page/{path.name}" for path in (CHECKOUT / "files/page").iterdir()),
    }


def test_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "l4lb"
    file.write_bytes(command.build())
    interpreter, *options = file.read_bytes().partition(b"\n")[0].decode().split()
    assert interpreter == "#!/usr/bin/python3"
    run = [sys.executable, *options, str(file), "--version"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == f"l4lb {VERSION}\n"


def test_the_sources_are_found_in_it(tmp_path: Path) -> None:
    file = tmp_path / "l4lb"
    file.write_bytes(command.build())
    code = "from l4lb.command.change import sources; print(sorted(sources()))"
    environment = {**os.environ, "PYTHONPATH": str(file)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    there = sorted(str(path.relative_to(BPF)) for path in BPF.rglob("*.[ch]"))
    assert done.stdout == f"{there}\n"


def test_the_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.constants, "DEFAULT_LOCAL_TMP", str(tmp_path), raising=False)
    (path,) = command.LookupModule().run([])
    assert Path(path).read_bytes() == command.build()
    assert [file.name for file in tmp_path.iterdir()] == ["l4lb"]
    digest = hashlib.sha256(command.build()).hexdigest()
    assert command.LookupModule().run([], digest=True) == [digest]
    with pytest.raises(AnsibleError, match="takes no terms"):
        command.LookupModule().run(["x"])
