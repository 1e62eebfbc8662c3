# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our table of nftables, by nft(8): its language is stable, and its messages to the kernel are not
simple."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from ..errors import HostError
from ..kernel.paths import PROGRAMS
from .ruleset import TABLE
from .state import Filter

_PATIENCE = 60


def is_there() -> bool:
    """Whether nft is, and the kernel answers it."""
    return bool(_program()) and _run("-j", "list", "tables").returncode == 0


def live() -> Filter | None:
    """Our table; None if there is none."""
    rules = [one["rule"] for one in _listed() if "rule" in one]
    if not any("table" in one for one in _listed()):
        return None
    digests = {rule.get("comment", "") for rule in rules}
    digest = digests.pop() if len(digests) == 1 else "changed by somebody"
    return Filter(digest, len(rules), _run("list", "table", "inet", TABLE).stdout)


def dropped() -> int:
    """Packets that our rules have dropped."""
    counters = (
        part["counter"]["packets"]
        for one in _listed()
        for part in one.get("rule", {}).get("expr", ())
        if "counter" in part
    )
    return sum(counters)


def put(wanted: Filter) -> None:
    """Have this table, in place of the one there is. Raises HostError."""
    script = wanted.script
    if not script.startswith(f"table inet {TABLE}\n"):  # as nft has listed it
        script = f"table inet {TABLE}\ndelete table inet {TABLE}\n{script}"
    _order(script)


def remove() -> None:
    """Have none; none is fine. Raises HostError."""
    if live():
        _order(f"delete table inet {TABLE}\n")


def _order(script: str) -> None:
    done = _run("-f", "-", given=script)
    if done.returncode:
        lines = done.stderr.splitlines() or ["no reason given"]
        raise HostError(f"nft refuses the table {TABLE}: {lines[0]}")


def _listed() -> list[dict[str, Any]]:
    if not _program():
        return []
    done = _run("-j", "list", "table", "inet", TABLE)
    return list(json.loads(done.stdout)["nftables"]) if done.returncode == 0 else []


def _program() -> str | None:
    return shutil.which("nft", path=PROGRAMS)


def _run(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Raises HostError if nft is not there."""
    program = _program()
    if not program:
        raise HostError("nft is not there; install nftables")
    # pylint: disable-next=ansible-bad-function  # the library is used without modules, too
    return subprocess.run(
        [program, *arguments],
        input=given,
        stdin=None if given is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
        env={"PATH": PROGRAMS, "LC_ALL": "C"},
    )
