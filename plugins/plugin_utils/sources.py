# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The C sources, as they travel to a module in the same round trip."""

from __future__ import annotations

import base64
import functools
import json
import zlib
from pathlib import Path

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources

SOURCES = Path(__file__).resolve().parents[2] / "files" / "bpf"


@functools.cache
def packed_sources(*only: str) -> str:
    """The files of files/bpf, or only those of these names, as compressed JSON, name -> text."""
    found = read_sources(SOURCES)
    sources = json.dumps({name: found[name] for name in only or found})
    return base64.b64encode(zlib.compress(sources.encode())).decode()
