# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking: status and stats."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import Any

from ..balancer.balancer import Balancer
from ..balancer.live import Live
from ..errors import ConfigError
from ..kernel.paths import require_root
from ..operations import here
from ..operations.sampler import Sampler
from ..operations.table import table
from ..printable import printable
from .output import show, show_json, tell

_OUTDATED = 3
_IDLE = "This host does not balance."
_COLUMNS = ("INTERFACE", "MODE", "SERVICE", "ADDRESS", "BACKEND", "WEIGHT", "STATE")
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def add_commands(commands: Any) -> None:
    """Register them."""
    command = commands.add_parser(
        "status",
        help="what balances: interfaces, services, backends",
        description="Show what balances on this host, and what is saved but does not; and what\n"
        "has changed since the last run that only another run can follow.",
    )
    command.add_argument("--json", action="store_true", help="for programs: interface -> its state")
    command.set_defaults(run=status)

    command = commands.add_parser(
        "stats",
        help="counters and rates",
        description="Show packets and bytes of each backend since it was added, and rates.",
    )
    command.add_argument("interface", nargs="?", metavar="INTERFACE", help="default: all of them")
    command.add_argument("--service", metavar="NAME", help="only this service")
    command.add_argument(
        "--watch", action="store_true", help="go on until Ctrl-C; in place, if on a terminal"
    )
    command.add_argument(
        "--interval",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="over which rates are measured (default: 1); 0 shows no rates",
    )
    command.add_argument(
        "--json", action="store_true", help="what the module l4lb_stats reports, one line each time"
    )
    command.set_defaults(run=stats)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of seconds, 0 or more")
    return value


# status


def status(options: argparse.Namespace) -> int:
    """Show what balances, and what of the host it does not follow by itself."""
    require_root()
    balancers = {name: Balancer(name) for name in here.known()}
    lives = {name: balancer.live(must_exist=False) for name, balancer in balancers.items()}
    outdated = {name: balancers[name].outdated(live) for name, live in lives.items()}
    if options.json:
        states = {
            name: {
                **live.remembered.dump(shown=True),
                "attached": live.attached,
                "mode": live.mode,
                "outdated": outdated[name],
            }
            for name, live in lives.items()
        }
        show_json(states)
    elif not lives:
        show([_IDLE])
    else:
        show(_aligned([_COLUMNS, *(row for live in lives.values() for row in _rows(live))]))
        show(
            f"{name}: {line}; apply the configuration again"
            for name, lines in outdated.items()
            for line in lines
        )
    return _OUTDATED if any(outdated.values()) else 0


def _rows(live: Live) -> list[tuple[str, ...]]:
    """What is the same as in the row above is left out."""
    label = (live.link.name, _mode(live))
    rows: list[tuple[str, ...]] = []
    for service in live.remembered.services:
        endpoint = f"{service.address} {service.protocol} {service.port or 'every port'}"
        head = (service.name, endpoint)
        backends = [
            (str(one.address), str(one.weight), one.state + (", held" if one.held else ""))
            for one in service.backends
        ]
        for backend in backends or [("none", "", "")]:
            rows.append((*label, *head, *backend))
            label = head = ("", "")
    return rows or [(*label, "none", "", "", "", "")]


def _mode(live: Live) -> str:
    if live.foreign:
        return f"not attached ({live.foreign.name} is)"
    if not live.attached:
        return "not attached"
    return live.mode if live.manifest and live.mode else "not readable"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    shown = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]


# stats


def stats(options: argparse.Namespace) -> int:
    """Show counters, once or again and again."""
    require_root()
    if options.watch and not options.interval:
        raise ConfigError("--interval", options.interval, "--watch needs more than 0 seconds")
    sampler = Sampler(options.interface, options.service)
    try:
        if options.interval:
            sampler.take()
            time.sleep(options.interval)
        _show(sampler.take(), options, again=False)
        for problem in sampler.problems:
            tell(problem)
        while options.watch:
            time.sleep(options.interval)
            _show(sampler.take(), options, again=True)
    except KeyboardInterrupt:
        if not options.watch:
            raise
    return 0


def _show(balancers: dict[str, Any], options: argparse.Namespace, again: bool) -> None:
    lines = table(balancers) or [_IDLE]
    if options.json:
        show_json(balancers)
    elif options.watch and sys.stdout.isatty():
        height = shutil.get_terminal_size().lines - 1
        if len(lines) > height:
            lines[height - 1 :] = [f"… {len(lines) - height + 1} more lines"]
        sys.stdout.write(_HOME)
        show(lines, end=f"{_CLEAR_LINE}\n")
        sys.stdout.write(_CLEAR_REST)
    else:
        show([""] * again + lines)
    sys.stdout.flush()
