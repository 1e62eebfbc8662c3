# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup plugin: builds the l4lb command."""

from __future__ import annotations

DOCUMENTATION = """
name: command
author:
  - The xdp.l4lb authors (!UNKNOWN)
short_description: Build the l4lb command
version_added: 0.1.0
description:
  - Builds the l4lb command out of the collection, on the controller, a single file that Python runs (a zipapp).
  - It has the library, the C sources and the status page in it. From the same collection it is the same file, byte for byte, wherever
    and whenever it is built.
options:
  _terms:
    description: None are taken.
  digest:
    description: Return the SHA-256 of the file instead of its path.
    type: bool
    default: false
"""

EXAMPLES = """
- name: Install the command
  ansible.builtin.copy:
    src: "{{ lookup('xdp.l4lb.command') }}"
    dest: /usr/local/sbin/l4lb
    mode: "0755"
"""

RETURN = """
_raw:
  description: Path of the file. It is gone when the run ends.
  type: list
  elements: str
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.lookup import LookupBase
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources

COLLECTION = Path(__file__).resolve().parents[2]
# Of the distribution, to which its bcc belongs; isolated from variables and files of whoever calls it.
SHEBANG = b"#!/usr/bin/python3 -I\n"
MAIN = """\
try:
    from l4lb.command.main import main
except KeyboardInterrupt:
    raise SystemExit(130) from None

raise SystemExit(main({version!r}))
"""


def build(collection: Path = COLLECTION) -> bytes:
    """The command, from the files of a collection."""
    file = io.BytesIO()
    file.write(SHEBANG)
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = version(collection).encode()
        for name, content in sorted(members(collection)):
            # Nothing of the time, the machine or the version of zlib may be in it.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return file.getvalue()


def members(collection: Path) -> Iterator[tuple[str, bytes]]:
    """What is in it, with the paths there."""
    yield "__main__.py", MAIN.format(version=version(collection)).encode()
    library = collection / "plugins" / "module_utils" / "_l4lb"
    for path in library.rglob("*.py"):
        yield f"l4lb/{path.relative_to(library).as_posix()}", path.read_bytes()
    for name, text in read_sources(collection / "files" / "bpf").items():
        yield f"l4lb/bpf/{name}", text.encode()
    for path in (collection / "files" / "page").iterdir():
        yield f"l4lb/page/{path.name}", path.read_bytes()


def version(collection: Path) -> str:
    """Of a collection that is installed, or of a checkout."""
    manifest = collection / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_bytes())["collection_info"]["version"])
    return str(yaml.safe_load((collection / "galaxy.yml").read_bytes())["version"])


class LookupModule(LookupBase):
    """What Ansible asks."""

    def run(
        self,
        terms: list[Any],
        variables: dict[str, Any] | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> list[str]:
        """Build it into the run's temporary directory, unless its digest is asked for."""
        if terms:
            raise AnsibleError(f"xdp.l4lb.command takes no terms, got {terms}")
        content = build()
        if boolean(kwargs.get("digest", False)):
            return [hashlib.sha256(content).hexdigest()]
        path = Path(constants.DEFAULT_LOCAL_TMP, "l4lb")
        mine = path.with_name(f"l4lb.{os.getpid()}")  # there may be many forks
        mine.write_bytes(content)
        mine.replace(path)
        return [str(path)]
