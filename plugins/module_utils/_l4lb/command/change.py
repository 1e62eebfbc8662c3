# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing: apply, restore and remove; and standing aside for a while: pause and resume."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..balancer import saved
from ..balancer.balancer import Balancer
from ..balancer.plan import Plan
from ..errors import ConfigError, L4lbError
from ..kernel.paths import read_all, read_file, require_root
from ..kernel.sources import read_sources
from ..model.config import shown_seed
from ..model.listing import listing
from ..model.parse import Request, parse_request
from ..model.values import interface_name
from ..network import link
from ..operations import here, renewal
from .output import show, tell
from .usage import WOULD_CHANGE, take_interfaces


def add_commands(commands: Any) -> None:
    """Register them."""
    command = commands.add_parser(
        "apply",
        help="make an interface balance as a file says",
        description="Make an interface balance as described, at once and as a whole, or not at\n"
        "all. Prints what was done.",
        epilog="FILE is JSON with the options of the Ansible module xdp.l4lb.l4lb, for example\n"
        '  {"interface": "eth0", "services": [{"name": "web", "address": "192.0.2.10",\n'
        '   "port": 80, "protocol": "tcp", "backends": [{"address": "203.0.113.21"}]}]}\n'
        "It may also be a file of /etc/l4lb, or what l4lb status --json says.",
    )
    command.add_argument("file", metavar="FILE", help="a file or a pipe; - is standard input")
    command.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit code 3 if something would change, else 0",
    )
    command.add_argument("--diff", action="store_true", help="show the state before and after")
    command.set_defaults(run=apply)

    command = commands.add_parser(
        "restore",
        help="make interfaces balance as they did before a reboot",
        description="Make interfaces balance as /etc/l4lb says, where every apply saves what is\n"
        "wanted. l4lb@INTERFACE.service runs this at boot.",
    )
    take_interfaces(command, "all that are saved")
    command.set_defaults(run=restore)

    command = commands.add_parser(
        "remove",
        help="stop balancing on an interface",
        description="Remove the balancer of an interface and what is saved of it.",
    )
    command.add_argument("interface", metavar="INTERFACE")
    command.set_defaults(run=remove)

    command = commands.add_parser(
        "pause",
        help="have packets go past the balancer, which stays ready",
        description="Detach the program from interfaces, from all of these or from none. Packets\n"
        "go to the host then, as if it did not balance; services, holds, flows and\n"
        "counters stay. It lasts until l4lb resume, whatever is deployed or restarted.",
    )
    take_interfaces(command, "all that balance")
    command.set_defaults(run=pause)

    command = commands.add_parser(
        "resume",
        help="end what was begun by pause",
        description="Have interfaces balance again, all of these or none, with all that was\n"
        "deployed meanwhile.",
    )
    take_interfaces(command, "all that are paused")
    command.set_defaults(run=resume)


def sources() -> dict[str, str]:
    """The C sources, which the build puts beside this package."""
    return read_sources(resources.files(__package__.partition(".")[0]).joinpath("bpf"))


# apply


def apply(options: argparse.Namespace) -> int:
    """Make the live state what a file says."""
    orders = [_order(given) for given in _wanted(read_options(options.file), _shown(options.file))]
    if options.check or len(orders) > 1:  # what is wrong with one keeps all from being changed
        plans = [balancer.plan(one.config, one.replace) for balancer, one in orders]
    if not options.check:
        plans = [renewal.apply(balancer, one.config, one.replace).plan for balancer, one in orders]
    for (balancer, _wanted_of_it), plan in zip(orders, plans):
        warn(plan)
        show([*(_difference(balancer, plan) if options.diff else ()), *steps(balancer, plan)])
    return WOULD_CHANGE if options.check and any(plan.changed for plan in plans) else 0


def _order(given: Mapping[str, Any]) -> tuple[Balancer, Request]:
    """A balancer, and what is wanted of it. Raises ConfigError."""
    wanted = parse_request(_with_seed(given))
    require_root()
    wanted = here.resolved(wanted)
    return Balancer(wanted.interface, sources()), wanted


def _wanted(given: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The options for each interface: as of the module, as in /etc/l4lb, or as of l4lb status.
    Raises L4lbError."""
    each = [given] if "config" in given else [*given.values()]
    if not each or not all(isinstance(one, Mapping) and "config" in one for one in each):
        return [dict(given)]
    try:
        return [dict(saved.config_in(one, name)) for one in each]
    except KeyError as e:
        raise L4lbError(f"{name} is not whole: there is no {e}") from e


def _with_seed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the seed that l4lb status does not show, if this host has it. Raises ConfigError."""
    seed, interface = given.get("hash_seed"), given.get("interface")
    if not isinstance(seed, str) or not seed.startswith("set ("):
        return given
    known = (
        Balancer(here.named(interface_name(interface))).live(must_exist=False).remembered.hash_seed
    )
    if shown_seed(known) != seed:
        raise ConfigError("hash_seed", seed, "give the number, which /etc/l4lb of its host has")
    return {**given, "hash_seed": known}


def _shown(name: str) -> str:
    return "standard input" if name == "-" else name


def read_options(name: str) -> dict[str, Any]:
    """The options in a file. Raises L4lbError."""
    shown = _shown(name)
    try:
        stdin = sys.stdin.buffer
        raw = read_all(stdin, shown) if name == "-" else read_file(Path(name), or_pipe=True)
        given = json.loads(raw)
    except OSError as e:
        raise L4lbError(f"{shown}: {e.strerror}") from e
    except (ValueError, RecursionError) as e:
        raise L4lbError(f"{shown} is not JSON: {e}") from e
    if not isinstance(given, Mapping):
        raise L4lbError(f"{shown}: give a mapping of options, as l4lb apply --help shows")
    return dict(given)


def _difference(balancer: Balancer, plan: Plan) -> list[str]:
    """As a unified diff."""
    before, after = (listing(state).splitlines() for state in (plan.before, plan.after))
    title = f"balancer of {balancer.interface}"
    return list(
        difflib.unified_diff(before, after, f"before: {title}", f"after: {title}", lineterm="")
    )


# restore and remove


def restore(options: argparse.Namespace) -> int:
    """Make interfaces balance as saved; one that fails does not keep the others from it."""
    require_root()
    names = options.interfaces or here.saved()
    lines = [] if names else ["nothing is saved"]
    failed = False
    for name in names:
        try:
            lines += _restore(name)
        except L4lbError as e:  # noqa: PERF203 (the others go on)
            failed = True
            tell(f"{name}: {e}")
    show(lines)
    return 1 if failed else 0


def _restore(name: str) -> list[str]:
    """What was done. Raises L4lbError."""
    balancer = Balancer(here.named(interface_name(name)), sources())
    outcome = balancer.restore()
    if outcome is None:
        link.read_link(name)  # perhaps it is misspelt
        return [f"{name}: nothing is saved"]
    warn(outcome.plan)
    return steps(balancer, outcome.plan)


def remove(options: argparse.Namespace) -> int:
    """Stop balancing."""
    require_root()
    balancer = Balancer(here.named(interface_name(options.interface)))
    show(steps(balancer, balancer.apply(None).plan))
    return 0


# pause and resume


def pause(options: argparse.Namespace) -> int:
    """Have them stand aside."""
    from ..balancer.pause import pause as change  # seldom, as it takes time

    return _change(options.interfaces, change)


def resume(options: argparse.Namespace) -> int:
    """Have them go on."""
    from ..balancer.pause import resume as change

    return _change(options.interfaces, change)


def _change(names: Sequence[str], change: Callable[[Sequence[Balancer]], list[Plan]]) -> int:
    require_root()
    interfaces = dict.fromkeys([here.named(name) for name in names] or here.known())
    if not interfaces:
        raise L4lbError("this host does not balance")
    balancers = [Balancer(name, sources()) for name in interfaces]
    for balancer, plan in zip(balancers, change(balancers)):
        warn(plan)
        show(steps(balancer, plan))
    return 0


# in words


def steps(balancer: Balancer, plan: Plan) -> list[str]:
    """What was done, or would be."""
    return [f"{balancer.interface}: {step}" for step in plan.steps or ["nothing to change"]]


def warn(plan: Plan) -> None:
    """Tell what speaks against it."""
    for warning in plan.warnings:
        tell(f"warning: {warning}")
