# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md tells a reader to type."""

from __future__ import annotations

import re

from lab.host import CHECKOUT

README = (CHECKOUT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def script(where: str) -> str:
    """The commands to run on hosts."""
    (found,) = (block for block in blocks("sh") if block.startswith(f"# {where}\n"))
    return found
