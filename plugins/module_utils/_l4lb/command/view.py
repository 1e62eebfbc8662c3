# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking: status and stats."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

from ..agent import record
from ..agent.record import Record
from ..announce import host
from ..balancer import modes, saved
from ..balancer.balancer import Balancer
from ..balancer.live import Live, pause_told
from ..datapath import digests
from ..errors import ConfigError, IdleError, L4lbError
from ..kernel import lock
from ..kernel.paths import Paths, require_root
from ..model.config import Backend
from ..operations import here
from ..operations.report import attachment, health, health_told
from ..operations.sampler import Sampler
from ..operations.table import table, title
from ..printable import clipped, printable
from .output import show, show_json, tell
from .usage import IDLE, OUTDATED, seconds

_NOTHING = "This host does not balance."
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def add_commands(commands: Any) -> None:
    """Register them."""
    command = commands.add_parser(
        "status",
        help="what balances: interfaces, services, backends",
        description="Show what balances on this host, and what is saved but does not; and what\n"
        "has changed since the last run that only another run can follow. Exit code 4\n"
        "if what should balance does not, else 3 if something has changed, else 0.",
    )
    command.add_argument("--json", action="store_true", help="for programs, and for l4lb apply")
    command.set_defaults(run=status)

    command = commands.add_parser(
        "stats",
        help="counters and rates",
        description="Show packets and bytes of each backend since it was added, and rates. Exit\n"
        "code 4 if what should balance does not, else 0.",
    )
    command.add_argument("interface", nargs="?", metavar="INTERFACE", help="default: all of them")
    command.add_argument("--service", metavar="NAME", help="only this service")
    command.add_argument(
        "--watch", action="store_true", help="go on until Ctrl-C; in place, if on a terminal"
    )
    command.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="over which rates are measured (default: 1); 0 shows no rates",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="what the module l4lb_stats reports, one line each time; no digests if watched",
    )
    command.set_defaults(run=stats)


# status


def status(options: argparse.Namespace) -> int:
    """Show what balances, and what of the host it does not follow by itself."""
    require_root()
    balancers = {name: Balancer(name) for name in here.known()}
    lives = {name: balancer.live(must_exist=False) for name, balancer in balancers.items()}
    kept = record.noted(Paths())
    announced = host.told_of([live.config for live in lives.values()], Paths())
    outdated = {name: balancers[name].outdated(live) for name, live in lives.items()}
    if options.json:
        states = {
            name: {
                **saved.content(balancers[name].as_given(live.remembered).dump(shown=True)),
                **attachment(live),
                "health": _health(live),
                **_compared(live),
                "announcement": host.of_balancer(announced, live.config),
                "outdated": outdated[name],
                "upkeep": Record.shown(*kept[name]) if name in kept else None,
            }
            for name, live in lives.items()
        }
        show_json(states)
    else:
        show(
            pause_told(name, live.paused) for name, live in lives.items() if live.paused is not None
        )
        show(record.troubles(kept))
        show(line for live in lives.values() for line in _troubles(live))
        show([line for live in lives.values() for line in _listing(live)] or [_NOTHING])
        show(host.lines(announced))
        show(line for live in lives.values() for line in modes.lines(live))
        show(record.lines(kept))
        show(
            f"{name}: {line}; apply the configuration again"
            for name, lines in outdated.items()
            for line in lines
        )
    if not all(live.attached and live.manifest for live in lives.values()):
        return IDLE
    return OUTDATED if any(outdated.values()) else 0


def _compared(live: Live) -> dict[str, Any]:
    """By what it is compared with other balancers; nothing if that cannot be read."""
    if live.data_path is None or live.manifest is None:
        return {}
    made = digests.Digests(live.data_path, live.manifest)
    return {
        "versions": digests.versions(live.manifest),
        "digest": made.configuration,
        "digests": {one.name: made.of_service(one) for one in live.config.services},
    }


def _troubles(live: Live) -> Iterator[str]:
    """What is wrong with the health of the services of an interface."""
    if live.manifest is None:
        return
    checked = [service for service in live.config.services if service.check]
    if checked and not lock.agent_is_there(Paths()):
        yield (
            f"No agent is at work on this host, so nothing is checked: {checked[0].name} on "
            f"{live.link.name} goes by what is known; run systemctl start l4lb-agent"
        )
    for service in checked:
        verdicts = live.manifest.verdicts.get(service.name, {}).values()
        if bad := [one for one in verdicts if not one.share]:
            count = f"{len(bad)} of {len(service.backends)} backends unhealthy"
            is_open = live.manifest.standings[service.name].fails_open
            rest = "; these are too few, so all are used" if is_open else ""
            yield f"{service.name} on {live.link.name}: {count}{rest}"


def _health(live: Live) -> dict[str, dict[str, Any]]:
    """Service -> address of a backend -> what is known of its health, of those that are checked."""
    verdicts = live.manifest.verdicts if live.manifest else {}
    return {
        service.name: {
            str(one.address): health(verdicts.get(service.name, {}).get(one.address))
            for one in service.backends
        }
        for service in live.config.services
        if service.check
    }


def _listing(live: Live) -> list[str]:
    """The services of an interface, and their backends."""
    services = live.remembered.services
    lines = [] if services else title(None, live.link.name, _mode(live))
    addresses = [str(backend.address) for service in services for backend in service.backends]
    column = max(map(len, addresses), default=0)
    for service in services:
        lines += title(vars(service), live.link.name, _mode(live))
        bad = live.manifest.verdicts.get(service.name, {}) if live.manifest else {}
        lines += [
            f"  {backend.address!s:{column}}  weight {_weight(backend)}, {_state(backend)}"
            f"{', ' + health_told(bad.get(backend.address)) if service.check else ''}"
            for backend in service.backends
        ] or ["  no backends"]
    return lines


def _weight(backend: Backend) -> str:
    return (
        f"{backend.weight} held" if backend.configured_weight is not None else f"{backend.weight}"
    )


def _state(backend: Backend) -> str:
    return f"{backend.state} held" if backend.held else backend.state


def _mode(live: Live) -> str:
    if live.paused is not None:
        return "paused"
    if live.foreign:
        return f"not attached ({live.foreign.name} is)"
    if not live.attached:
        return "not attached"
    return live.mode if live.manifest and live.mode else "not readable"


# stats


def stats(options: argparse.Namespace) -> int:
    """Show counters, once or again and again."""
    require_root()
    if options.watch and not options.interval:
        raise ConfigError("--interval", options.interval, "--watch needs more than 0 seconds")
    compared = options.json and not options.watch
    sampler = Sampler(options.interface, options.service, compared)
    if options.watch:
        with contextlib.suppress(KeyboardInterrupt):
            _watch(sampler, options)
        return 0
    try:
        if options.interval:
            sampler.take()
            time.sleep(options.interval)
        found = sampler.take()
    except IdleError as e:
        if here.named(options.interface) not in here.known():
            raise
        tell(str(e))
        return IDLE
    if options.json:
        show_json(found)
    else:
        show(_lines(found, sampler.problems))
    for problem in sampler.problems:
        tell(problem)
    return IDLE if sampler.problems else 0


def _lines(found: dict[str, Any], problems: list[str]) -> list[str]:
    return table(found) or ([] if problems else [_NOTHING])


def _watch(sampler: Sampler, options: argparse.Namespace) -> None:
    """Go on for ever, whatever comes and goes; but what was misspelt is not waited for."""
    with contextlib.suppress(IdleError):
        sampler.take()
    in_place = sys.stdout.isatty() and not options.json
    while True:
        time.sleep(options.interval)
        try:
            found, problems = sampler.take(), sampler.problems
        except L4lbError as e:
            found, problems = {}, [str(e)]
        if options.json:
            show_json(found)
            for problem in problems:
                tell(problem)
        elif in_place:
            _show_in_place([*_lines(found, problems), *problems])
        else:
            show([*_lines(found, problems), *problems, ""])
        sys.stdout.flush()


def _show_in_place(lines: list[str]) -> None:
    """As much as there is room for on the terminal, which may have another size each time."""
    columns, rows = shutil.get_terminal_size()
    rows -= 1  # the cursor's
    if len(lines) > rows:
        lines[rows - 1 :] = [f"... {len(lines) - rows + 1} more lines"]
    sys.stdout.write(_HOME)
    show((clipped(printable(line), columns) for line in lines), start=_CLEAR_LINE)
    sys.stdout.write(_CLEAR_REST)
