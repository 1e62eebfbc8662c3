# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The l4lb command: what an operator types on a balancer.

It is the library's other face, beside the modules: the only place that reads arguments, prints and
chooses exit codes. Each subcommand prints after it is done, so that nobody who stops reading stops
a change half way.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import L4lbError
from ..kernel.paths import PROGRAMS
from ..printable import printable
from . import agent, announce, backend, capture, change, flow, metrics, real_server, view
from .output import survive_any_terminal, tell
from .usage import EXIT_CODES


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong with arguments without repeating what a terminal would obey."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def parser(version: str) -> argparse.ArgumentParser:
    """All that the command takes."""
    top = _Parser(
        prog="l4lb",
        description="Look at the XDP layer-4 load balancer of this host, and change it.",
        epilog=EXIT_CODES + "\nl4lb COMMAND --help says more about one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {version}")
    top.set_defaults(version=version)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for face in (view, flow, capture, backend, change, announce, metrics, agent, real_server):
        face.add_commands(commands)
    for command in commands.choices.values():
        command.formatter_class = argparse.RawDescriptionHelpFormatter
    return top


def main(version: str, arguments: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    os.environ["PATH"] = PROGRAMS  # where pyroute2 finds those that it runs
    survive_any_terminal()
    options = parser(version).parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except L4lbError as e:
        tell(str(e))
        return 1
    except BrokenPipeError:
        # Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        tell("interrupted")
        return 128 + signal.SIGINT
    except OSError as e:
        tell(str(e))
        return 1
