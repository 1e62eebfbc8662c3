# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ordering a backend about: drain, disable, enable and weight."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ..errors import L4lbError, LastBackendError
from ..kernel.paths import require_root
from ..model.values import unicast_address
from ..operations.order import Order, Report, operate
from .output import show, tell
from .usage import WOULD_CHANGE, seconds

_HOLD = "\nWhatever is deployed keeps that, until l4lb enable, or the module l4lb_backend, ends it."
_STATES = {
    "drain": (
        "drained",
        "keep new flows from a backend",
        "Send a backend no new flows, but those that the flow table remembers." + _HOLD,
    ),
    "disable": (
        "disabled",
        "keep all packets from a backend",
        "Send a backend nothing; packets of its flows go to others at once." + _HOLD,
    ),
    "enable": (
        "enabled",
        "end what was set by drain, disable or weight",
        "Send a backend flows again, with the weight that it has in the configuration.",
    ),
}
_QUIET, _PATIENCE = 10.0, 300.0


def add_commands(commands: Any) -> None:
    """Register them."""
    for name, (state, brief, description) in _STATES.items():
        command = commands.add_parser(name, help=brief, description=description)
        _add_arguments(command)
        command.set_defaults(run=run, state=state, weight=None, wait=None, quiet=_QUIET)
        if name == "drain":
            _add_waiting(command)
    command = commands.add_parser(
        "weight",
        help="give a backend another share of new flows",
        description="Give a backend another share of new flows, 0 to 255." + _HOLD,
    )
    _add_arguments(command)
    command.add_argument("weight", metavar="WEIGHT", type=int)
    command.set_defaults(run=run, state=None, wait=None, quiet=_QUIET)


def _add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("address", metavar="ADDRESS", help="the backend's")
    command.add_argument("--service", metavar="NAME", help="default: all that have the backend")
    command.add_argument("--interface", help="default: all that balance")
    command.add_argument(
        "--force", action="store_true", help="even if then no backend takes new flows of a service"
    )
    command.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit code 3 if something would change, else 0",
    )


def _add_waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        type=seconds,
        nargs="?",
        const=_PATIENCE,
        metavar="SECONDS",
        help=f"until its flows have ended; exit code 1 if they have not by then (default: "
        f"{_PATIENCE:g})",
    )
    command.add_argument(
        "--quiet",
        type=seconds,
        metavar="SECONDS",
        help=f"without a packet, after which a flow counts as ended (default: {_QUIET:g})",
    )


def run(options: argparse.Namespace) -> int:
    """Carry out the order."""
    order = Order(
        unicast_address(options.address, "ADDRESS"),
        options.service,
        options.interface,
        options.state,
        options.weight,
        options.wait,
        options.quiet,
        options.force,
    )
    require_root()
    try:
        report = operate(order, options.check)
    except LastBackendError as e:
        raise L4lbError(f"{e} (here: --force)") from e
    for warning in report.warnings:
        tell(f"warning: {warning}")
    show([*(report.steps or ["nothing to change"]), *_left(report)])
    problem = report.problem(order)
    if problem:
        raise L4lbError(problem)
    return WOULD_CHANGE if options.check and report.steps else 0


def _left(report: Report) -> Iterator[str]:
    """The flows that drained backends have."""
    for place in report.places:
        if place.after.state == "drained" and place.flows is not None:
            flows = f"{place.flows} flow{'' if place.flows == 1 else 's'}"
            yield f"{place.service} on {place.interface}: {flows} left"
