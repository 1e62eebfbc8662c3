# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command writes, and where: all of it goes through here."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from typing import Any

from ..printable import printable


def survive_any_terminal() -> None:
    """Have characters that the terminal's encoding lacks written as escape sequences."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(lines: Iterable[str], start: str = "") -> None:
    """Write lines to standard output, each behind `start`."""
    sys.stdout.write("".join(f"{start}{printable(line)}\n" for line in lines))


def show_json(value: Any) -> None:
    """Write JSON, one line, to standard output."""
    show([json.dumps(value).replace("\x7f", "\\u007f")])  # of all that json leaves to terminals


def tell(message: str) -> None:
    """Write a message, one line whatever it holds, to standard error."""
    sys.stderr.write(f"l4lb: {printable(' '.join(message.split()))}\n")
