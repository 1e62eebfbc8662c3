# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host as a server behind balancers: l4lb real-server."""

from __future__ import annotations

import argparse
import difflib
from typing import Any

from ..kernel.paths import require_root
from ..operations import real_server
from ..realserver import probe
from ..realserver.desired import Desired
from ..realserver.options import parse_desired
from ..realserver.server import Plan, RealServer
from .change import read_options, sources
from .output import show, show_json, tell
from .usage import WOULD_CHANGE


def add_commands(commands: Any) -> None:
    """Register it."""
    command = commands.add_parser(
        "real-server",
        help="look at this host as a server behind balancers, and change it",
        description="Take balancers' packets out of tunnels, and hold the VIPs, as the role\n"
        "xdp.l4lb.l4lb_backend has it done.",
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)

    action = actions.add_parser("status", help="show what is set up, what differs, and counters")
    action.add_argument("--json", action="store_true", help="as JSON")
    action.set_defaults(run=status)

    action = actions.add_parser("apply", help="set up what a file says, with the module's options")
    action.add_argument("file", metavar="FILE", help="a file or a pipe; - is standard input")
    action.add_argument("--keep", action="store_true", help="leave what the file does not list")
    action.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit code 3 if something would change, else 0",
    )
    action.add_argument("--diff", action="store_true", help="show the state before and after")
    action.set_defaults(run=apply)

    action = actions.add_parser(
        "restore", help="set up what is saved, as l4lb-real-server.service does at boot"
    )
    action.set_defaults(run=restore)

    action = actions.add_parser("modules", help="load the kernel's modules that restore needs")
    action.set_defaults(run=load_modules)

    action = actions.add_parser("verify", help="send a probe through each tunnel to each VIP")
    action.set_defaults(run=verify)

    action = actions.add_parser("remove", help="remove all of it, and what is saved")
    action.set_defaults(run=remove)


def status(options: argparse.Namespace) -> int:
    """Show what is set up."""
    require_root()
    found = real_server.status(RealServer(sources()))
    if options.json:
        show_json(found)
    else:
        show(real_server.text(found))
    return 0


def apply(options: argparse.Namespace) -> int:
    """Make the host what a file says."""
    desired = parse_desired(read_options(options.file))
    require_root()
    server = RealServer(sources())
    plan = (server.plan if options.check else server.apply)(desired, options.keep)
    if options.diff:
        before, after = (text.splitlines() for text in plan.listings)
        show(difflib.unified_diff(before, after, "before", "after", lineterm=""))
    _tell(plan)
    return WOULD_CHANGE if options.check and plan.changed else 0


def restore(_options: argparse.Namespace) -> int:
    """Make the host what is saved."""
    require_root()
    plan = RealServer(sources()).restore()
    if plan:
        _tell(plan)
    else:
        show(["nothing is saved"])
    return 0


def load_modules(_options: argparse.Namespace) -> int:
    """Load modules."""
    require_root()
    RealServer().load_modules()
    return 0


def verify(_options: argparse.Namespace) -> int:
    """See whether packets arrive."""
    require_root()
    failures = [*probe.failures(RealServer(sources()).desired())]
    for failure in failures:
        tell(failure)
    if not failures:
        show(["every probe reached a socket"])
    return 1 if failures else 0


def remove(_options: argparse.Namespace) -> int:
    """Remove all of it."""
    _tell(RealServer(sources()).apply(Desired()))
    return 0


def _tell(plan: Plan) -> None:
    for warning in plan.warnings:
        tell(f"warning: {warning}")
    show(plan.steps or ["nothing to change"])
