# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The C sources: read from a folder, and as one text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Traversable

_INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
_SUFFIXES = (".c", ".h")


def read_sources(folder: Traversable) -> dict[str, str]:
    """Path below `folder` -> text of every C file there, as "parse/packet.h"; in order. A folder
    that is not there has none. `folder` may be in an archive.
    """
    return dict(sorted(_read(folder))) if folder.is_dir() else {}


def _read(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _read(entry, f"{name}/")
        elif name.endswith(_SUFFIXES):
            yield name, entry.read_text(encoding="utf-8")


def join_sources(sources: Mapping[str, str], main: str) -> str:
    """One text of `main` and the headers it includes, each once, that keeps file names and lines.

    bcc rewrites map accesses only in the text it is given, not in what that includes.
    """
    seen: set[str] = set()

    def lines_of(name: str) -> Iterator[str]:
        seen.add(name)
        yield f'#line 1 "{name}"'
        for number, line in enumerate(sources[name].splitlines(), 1):
            include = _INCLUDE.match(line)
            if include and include[1] in sources:
                if include[1] not in seen:
                    yield from lines_of(include[1])
                yield f'#line {number + 1} "{name}"'
            else:
                yield "" if line.strip() == "#pragma once" else line

    return "\n".join(lines_of(main)) + "\n"
