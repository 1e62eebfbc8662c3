# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host announces its VIPs: withdraw and announce."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..announce import host, leaving, table, word
from ..errors import L4lbError
from ..kernel import lock
from ..kernel.paths import Paths, require_root
from ..operations import here
from .output import show
from .usage import seconds

_AGENTS = 5.0
"""Seconds within which the agent is expected to have done what it can."""


def add_commands(commands: Any) -> None:
    """Register them."""
    command = commands.add_parser(
        "withdraw",
        help="announce no VIP of this host, so that traffic goes to others",
        description="Take the routes to all VIPs of this host out of table 214, from which a\n"
        "routing daemon announces them. It lasts until l4lb announce, whatever is\n"
        "deployed or restarted; what still comes is balanced as before.",
    )
    command.add_argument(
        "--wait",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="have routers asked first to send traffic elsewhere (RFC 8326), and wait until none "
        "comes any more, so long at most",
    )
    command.add_argument(
        "--until-boot",
        action="store_true",
        help="end by itself at the next boot, as l4lb-withdraw.service has it at shutdown",
    )
    _take_speaker(command, "; an operator's own word holds on, whichever comes first")
    command.set_defaults(run=withdraw)

    command = commands.add_parser(
        "announce",
        help="end what was begun by withdraw",
        description="Have the VIPs announced again that this host serves.",
    )
    _take_speaker(command, ": only what was withdrawn by that name is announced again")
    command.set_defaults(run=announce)


def _take_speaker(command: argparse.ArgumentParser, means: str) -> None:
    """Let others than the operator speak."""
    command.add_argument(
        "--by",
        type=_speaker,
        default=word.OPERATOR,
        metavar="NAME",
        help=f"of what does so in an operator's place, as the playbook upgrade{means}",
    )


def _speaker(text: str) -> str:
    if not word.SPEAKERS.fullmatch(text):
        remedy = "give small letters, digits and -, at most 31, the first a letter"
        raise argparse.ArgumentTypeError(f"{text!r}: {remedy}")
    return text


def withdraw(options: argparse.Namespace) -> int:
    """Have traffic go elsewhere."""
    require_root()
    if not here.known():
        if options.until_boot:  # nor is anything to be left behind
            return 0
        raise L4lbError("this host does not balance")
    there = table.routes()
    left = leaving.withdraw(Paths(), options.until_boot, options.wait, options.by)
    lines = [f"{vip} is withdrawn" for vip in there] or ["nothing was announced"]
    if left:
        lines.append(f"{left} packets a second still come to services after {options.wait:g} s")
    show(lines)
    return 0


def announce(options: argparse.Namespace) -> int:
    """Have it come back."""
    require_root()
    if not here.known():
        raise L4lbError("this host does not balance")
    paths = Paths()
    word.announce(paths, options.by)
    deadline = time.monotonic() + _AGENTS
    found = host.told(paths)
    while not all(one["announced"] for one in found.values()) and lock.agent_is_there(paths):
        if word.withdrawn(paths) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
        found = host.told(paths)
    show(host.lines(found) or ["nothing is to be announced"])
    return 0
