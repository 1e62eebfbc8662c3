# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A state as one would write it: YAML, for differences that people read.

A YAML library is neither to be had on every host nor quick: with tens of thousands of backends
it takes longer than all the rest of a run.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..printable import printable

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*|[0-9]+(\.[0-9]+){3}(/[0-9]+)?")
"""Words and IPv4 addresses, which mean themselves without quotes."""
_WORDS = frozenset(["true", "false", "yes", "no", "on", "off", "null", "y", "n"])
"""But these do not."""


def listing(state: Mapping[str, Any]) -> str:
    """The lines for what `Config.dump` gives, one a backend; empty for no state."""
    lines = [f"{name}: {_text(value)}\n" for name, value in state.items() if name != "services"]
    if state:
        lines.append("services:\n" if state["services"] else "services: []\n")
    for service in state.get("services", ()):
        lines += _service(service)
    return "".join(lines)


def _service(service: Mapping[str, Any]) -> Iterable[str]:
    start = "- "
    for name, value in service.items():
        if name != "backends":
            yield f"{start}{name}: {_text(value)}\n"
            start = "  "
    yield "  backends:\n" if service["backends"] else "  backends: []\n"
    for backend in service["backends"]:
        # what nobody gave is left out: a line is what one compares
        options = (
            f"{name}: {_text(value)}" for name, value in backend.items() if value is not None
        )
        yield f"  - {{{', '.join(options)}}}\n"


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_text(one)}' for name, one in value.items())}}}"
    return _scalar(value)


@functools.lru_cache(maxsize=1 << 16, typed=True)  # 1 is not true
def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return printable(json.dumps(value, ensure_ascii=False))
