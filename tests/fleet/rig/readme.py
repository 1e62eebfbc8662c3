# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md tells a reader to type, and docs/backends.md."""

from __future__ import annotations

import re

from lab.host import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
BY_HAND = (CHECKOUT / "docs/backends.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def script(where: str) -> str:
    """The commands to run on hosts."""
    scripts = (*blocks("sh"), *blocks("sh", BY_HAND))
    (found,) = (block for block in scripts if block.startswith(f"# {where}\n"))
    return found
