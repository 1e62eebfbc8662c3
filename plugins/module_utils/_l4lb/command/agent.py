# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Being the agent: agent."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import resources
from typing import Any

from ..model.listen import parse_listen
from ..printable import printable
from .change import sources
from .usage import add_per_backend

_NOBODY = "nobody"


def add_commands(commands: Any) -> None:
    """Register it."""
    command = commands.add_parser(
        "agent",
        help="check the backends, and look after the balancers, until it is ended",
        description="Check the backends of all balancers of this host, have these follow, and\n"
        "repair what others break of them, until it is ended by SIGTERM or Ctrl-C. Under\n"
        "systemd l4lb-agent.service runs it. Without it all goes on as it is; when it\n"
        "returns, it takes over what is known.",
    )
    command.add_argument(
        "--check-user",
        metavar="NAME",
        default=_NOBODY,
        help="whose rights commands have that check backends (default: %(default)s)",
    )
    command.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        default="",
        help="where it has a status page and metrics, by HTTP (default: nowhere)",
    )
    add_per_backend(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Until it is ended."""
    import asyncio  # seldom, as it takes time

    from ..agent.journal import Journal
    from ..agent.service import Settings, serve

    settings = Settings(
        options.version,
        options.check_user,
        parse_listen(options.listen, "--listen"),
        options.per_backend,
        page_files(),
    )
    prefixed = "JOURNAL_STREAM" in os.environ
    asyncio.run(serve(Journal(_write, prefixed), sources(), settings))
    return 0


def page_files() -> dict[str, str]:
    """The status page, which the build puts beside this package."""
    folder = resources.files(__package__.partition(".")[0]).joinpath("page")
    return {one.name: one.read_text(encoding="utf-8") for one in folder.iterdir()}


def _write(line: str) -> None:
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()
