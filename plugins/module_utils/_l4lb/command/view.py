# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking: status, stats and top."""

from __future__ import annotations

import argparse
import contextlib
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
from .output import show, show_json, tell
from .screen import drawing, terminal
from .screen.look import SORTS, Look
from .screen.rows import Sample, sample
from .usage import IDLE, OUTDATED, seconds

_NOTHING = "This host does not balance."


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
    _add_what(command)
    command.add_argument("--json", action="store_true", help="what the module l4lb_stats reports")
    command.set_defaults(run=stats)

    command = commands.add_parser(
        "top",
        help="what is busy, what is wrong, again and again",
        description="Show the backends, those with the most packets first, with their health and\n"
        "what is dropped, again and again until q, or Ctrl-C. s sorts by something else,\n"
        "r the other way round, / shows only rows that have a text in them, arrows and\n"
        "pages scroll. If it is not on a terminal, it goes on printing all rows.",
    )
    _add_what(command)
    command.add_argument(
        "--sort",
        choices=[*SORTS],
        default=Look.sort,
        metavar="KEY",
        help=f"{', '.join(SORTS)} (default: %(default)s)",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="what the module l4lb_stats reports, a line each time; without digests",
    )
    command.set_defaults(run=top)


def _add_what(command: argparse.ArgumentParser) -> None:
    """What counters are shown of, and how often."""
    command.add_argument("interface", nargs="?", metavar="INTERFACE", help="default: all of them")
    command.add_argument("--service", metavar="NAME", help="only this service")
    command.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="over which rates are measured (default: 1); of stats, 0 shows no rates",
    )


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
    """Show counters."""
    require_root()
    sampler = Sampler(options.interface, options.service, options.json)
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


# top


def top(options: argparse.Namespace) -> int:
    """Show what is busy and what is wrong, again and again."""
    if not options.interval:
        raise ConfigError("--interval", options.interval, "top needs more than 0 seconds")
    require_root()
    watch = _Watch(Sampler(options.interface, options.service))
    with contextlib.suppress(IdleError):  # but what was misspelt is not waited for
        watch.start()
    look = Look(options.sort)
    with contextlib.suppress(KeyboardInterrupt):
        if not options.json and terminal.is_there():
            terminal.show(watch.take, options.interval, look)
            return 0
        while True:
            time.sleep(options.interval)
            seen = watch.take()
            if options.json:
                show_json(watch.found)
                for problem in seen.problems:
                    tell(problem)
            else:
                show([*drawing.text(seen, look, time.strftime("%H:%M:%S")), ""])
            sys.stdout.flush()
    return 0


class _Watch:
    """Looks again and again, whatever comes and goes."""

    def __init__(self, sampler: Sampler) -> None:
        self.found: dict[str, Any] = {}
        """The last that was seen."""
        self._sampler, self._at = sampler, time.monotonic()

    def start(self) -> None:
        """Raises L4lbError if that will never do, as a service that does not exist."""
        self.found = self._sampler.take()

    def take(self) -> Sample:
        """What is there now; what is not is a problem."""
        before, then = self.found, self._at
        try:
            self.found, problems = self._sampler.take(), self._sampler.problems
        except L4lbError as e:
            self.found, problems = {}, [str(e)]
        self._at = time.monotonic()
        return sample(self.found, before, self._at - then, problems)
