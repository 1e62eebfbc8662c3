# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several commands take, and the exit codes that they have in common."""

from __future__ import annotations

import argparse

WOULD_CHANGE = OUTDATED = 3
IDLE = 4
EXIT_CODES = """\
exit codes:
  0    done; of --check: nothing would change
  1    an error, told in one line on standard error; what balanced before goes on
  2    wrong usage
  3    of --check: something would change; of status: the host has changed in a way
       that only another run follows
  4    of status and stats: an interface that should balance does not, as it is
       saved or pinned but not attached, paused, or cannot be read
  130  interrupted by Ctrl-C, 141 by the end of a pipe
"""


def add_per_backend(command: argparse.ArgumentParser) -> None:
    """The switch of those who give metrics."""
    command.add_argument(
        "--no-backend-metrics",
        dest="per_backend",
        action="store_false",
        help="only those of services, not of each backend, of which there may be many",
    )


def seconds(text: str) -> float:
    """The type of an argument. Raises ArgumentTypeError, or ValueError."""
    value = float(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of seconds, 0 or more")
    return value


def take_interfaces(command: argparse.ArgumentParser, default: str) -> None:
    """Let it name interfaces. default: which they are if it does not."""
    command.add_argument("interfaces", nargs="*", metavar="INTERFACE", help=f"default: {default}")
