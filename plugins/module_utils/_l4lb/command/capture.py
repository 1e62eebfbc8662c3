# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeing packets: capture."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, BinaryIO

from ..errors import ConfigError
from ..kernel.paths import require_root
from ..maps.reasons import ANSWERS, DROPS
from ..model.config import Network
from ..model.values import unicast_address
from ..operations import here
from ..operations.capture import pcapng
from ..operations.capture.packet import FATES
from ..operations.capture.session import Session
from ..operations.capture.wanted import Bounds, Wanted
from .change import sources
from .output import show, tell

_MODE = 0o600
"""Of the file: packets are nobody else's business."""


def add_commands(commands: Any) -> None:
    """Register it."""
    command = commands.add_parser(
        "capture",
        help="packets before and after, and what became of them",
        description="Show packets to services as they come, with what becomes of them: verdict,\n"
        "backend, service, and why they are dropped or answered; or write them to a\n"
        "file that Wireshark and tcpdump read, as they came and as they left. The\n"
        "program that balances is not changed, and is as fast as ever afterwards. Ends\n"
        "by itself, or by Ctrl-C.",
        epilog="for example:\n"
        "  l4lb capture --client 198.51.100.0/24\n"
        "  l4lb capture --verdict dropped -w drops.pcapng\n"
        "  ssh lb1 l4lb capture -w - --service web | wireshark -k -i -",
    )
    command.add_argument(
        "interface", nargs="?", metavar="INTERFACE", help="default: the only balancer"
    )
    command.add_argument("-w", "--write", metavar="FILE", help="as pcapng; - is standard output")
    _add_wanted(command.add_argument_group("which packets"))
    _add_bounds(command.add_argument_group("how many"))
    command.set_defaults(run=run)


def _add_wanted(group: Any) -> None:
    group.add_argument("--service", metavar="NAME", help="only those to this service")
    group.add_argument("--backend", metavar="ADDRESS", help="only those sent to this backend")
    group.add_argument("--client", metavar="PREFIX", help="only those from this address or prefix")
    group.add_argument(
        "--verdict",
        action="append",
        choices=FATES,
        metavar="VERDICT",
        help=f"{', '.join(FATES)}; may be given again (default: all but passed, which is what "
        "goes to the host untouched)",
    )
    group.add_argument(
        "--reason",
        choices=[*DROPS, *ANSWERS],
        metavar="REASON",
        help=f"why it was dropped or answered: {', '.join([*DROPS, *ANSWERS])}",
    )


def _add_bounds(group: Any) -> None:
    numbers = {
        ("-c", "--count"): ("PACKETS", Bounds.count, "enough"),
        ("--seconds",): ("SECONDS", Bounds.seconds, "it lasts no longer"),
        ("--size",): ("BYTES", Bounds.size, "of the file, enough"),
        ("-s", "--snaplen"): ("BYTES", Wanted.snaplen, "to keep of each frame"),
        ("--sample",): ("NUMBER", Wanted.sample, "look at one in so many packets"),
    }
    for names, (metavar, default, text) in numbers.items():
        told = f"{text} (default: %(default)s)"
        group.add_argument(*names, type=int, default=default, metavar=metavar, help=told)


def run(options: argparse.Namespace) -> int:
    """Capture packets."""
    wanted = _wanted(options)
    bounds = Bounds(options.count, options.seconds, options.size)
    if options.write == "-" and sys.stdout.isatty():
        raise ConfigError("-w", "-", "standard output is a terminal; pipe it, or give a file")
    require_root()
    session = Session(here.only(options.interface, "INTERFACE"), wanted, bounds)
    with contextlib.closing(session):
        session.load(sources())
        with _output(options.write) as file, _stopped_by_signals(session):
            session.attach()
            tell(f"sees packets of {session.interface} for {_told(bounds)}; Ctrl-C ends it")
            try:
                if file:
                    _record(session, file, options)
                else:
                    _print(session)
            finally:
                tell(f"{session.count} packets captured, {session.lost} lost as they came too fast")
    return 0


def _told(bounds: Bounds) -> str:
    return f"{bounds.seconds} seconds, {bounds.count} of them at the most"


def _wanted(options: argparse.Namespace) -> Wanted:
    """Raises ConfigError."""
    backend = options.backend
    return Wanted(
        service=options.service,
        backend=None if backend is None else unicast_address(backend, "--backend"),
        client=None if options.client is None else _network(options.client),
        fates=tuple(dict.fromkeys(options.verdict or ())),
        reason=options.reason,
        sample=options.sample,
        snaplen=options.snaplen,
    )


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        remedy = "give an address or a prefix, as 198.51.100.2, 198.51.100.0/24 or 2001:db8:1::/48"
        raise ConfigError("--client", text, remedy) from None


@contextlib.contextmanager
def _output(name: str | None) -> Iterator[BinaryIO | None]:
    """Where packets are written; None: they are shown. Raises ConfigError."""
    if name is None:
        yield None
    elif name == "-":
        yield sys.stdout.buffer
    else:
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        except OSError as e:
            remedy = "give a file in a directory that there is"
            raise ConfigError("-w", name, f"{e.strerror}; {remedy}") from e
        with os.fdopen(fd, "wb") as file:
            yield file


@contextlib.contextmanager
def _stopped_by_signals(session: Session) -> Iterator[None]:
    """The first one ends it in order; another, as when nobody reads what is written, at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(_number: int, _frame: object) -> None:
        session.stop()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


def _print(session: Session) -> None:
    for packets in session.packets():
        show(one.line for one in packets)
        sys.stdout.flush()


def _record(session: Session, file: BinaryIO, options: argparse.Namespace) -> None:
    """Write whole blocks, as they come, so that a file that is cut off can be read."""
    left = options.size - file.write(
        pcapng.start(session.interface, options.snaplen, options.version)
    )
    number = 0
    for packets in session.packets():
        for one in packets:
            number += 1
            block = pcapng.packet(one, number)
            left -= len(block)
            if left >= 0:
                file.write(block)
        file.flush()
        if left < 0:
            session.stop()
    file.write(pcapng.end(time.time_ns(), session.lost))
    file.flush()
