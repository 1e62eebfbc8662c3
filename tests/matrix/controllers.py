# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers: a version of ansible-core, in a virtual environment of a version of Python, with the
collection installed as its archive. Below build/matrix, made by pip when missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.host import CHECKOUT
from tests.matrix import BUILD

USABLE = "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])"
VERSIONS = """
import json, platform
from importlib.metadata import version
print(json.dumps({"python": platform.python_version(), "jinja2": version("jinja2")}))
"""


class Controller:
    """Programs of Ansible, with nothing of this machine's settings for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._bin = directory / "bin"

    def versions(self) -> dict[str, str]:
        """Of Python and Jinja."""
        found: dict[str, str] = json.loads(_output(self._bin / "python", "-c", VERSIONS))
        return found

    def install(self, archive: Path) -> None:
        """The collection, as users do."""
        target = ["--collections-path", self.directory / "collections", "--force", "--offline"]
        arguments = ["collection", "install", *target, archive]
        done = self.run("ansible-galaxy", *map(str, arguments))
        if done.returncode:
            raise RuntimeError(done.stdout)

    def run(
        self, program: str, *arguments: str, checkout: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible, whatever its exit code: with the installed collection, or in
        the checkout and with its settings. Errors and warnings are in its output."""
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PYTHON"))
        }
        settings = {
            "HOME": str(self.directory / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
        }
        if not checkout:
            settings["ANSIBLE_COLLECTIONS_PATH"] = str(self.directory / "collections")
        return subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=CHECKOUT if checkout else self.directory,
            env={**inherited, **settings, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def make(core: str, series: str) -> Controller | None:
    """One with this version of ansible-core and a Python of this series, if this machine has it."""
    directory = BUILD / f"{core}-{series}"
    python = find(series)
    if not python:
        return None
    contents = directory / "contents"  # written last: it says that it is complete
    wanted = f"{directory}\n{_output(python, '--version')}ansible-core {core}\n"
    if not contents.exists() or contents.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        _output(python, "-m", "venv", directory)
        pip = [str(directory / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _output(*pip, "install", f"ansible-core=={core}")
        (directory / "home").mkdir()
        contents.write_text(wanted)
    return Controller(directory)


def build_archive() -> Path:
    """The collection as it ships, made of the checkout."""
    galaxy = CHECKOUT / ".venv/bin/ansible-galaxy"
    _output(galaxy, "collection", "build", "--force", "--output-path", BUILD, CHECKOUT)
    (archive,) = BUILD.glob("xdp-l4lb-*.tar.gz")
    return archive


def find(series: str) -> Path | None:
    """A Python of this series, with ensurepip, which Debian ships apart."""
    for python in _pythons(series):
        done = subprocess.run([python, "-c", USABLE, series], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    return None


def _pythons(series: str) -> Iterator[Path]:
    """Those of pyenv first: its commands on PATH start only the versions that are selected."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{series}.*/bin/python{series}"))
    for path in os.environ["PATH"].split(os.pathsep):
        for name in (f"python{series}", "python3"):
            if (Path(path) / name).exists():
                yield Path(path) / name


def _output(*command: str | Path) -> str:
    """What a command prints. Raises RuntimeError with it if the command fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout
