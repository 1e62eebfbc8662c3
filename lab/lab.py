# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory's command. Run it with the Python of .venv, which has PyYAML."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

# As a script this file's directory comes first on the path; the package is one above.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from lab import DEFAULT, TOPOLOGY, Lab, LabError  # noqa: E402
from lab.build import await_services, start_services  # noqa: E402
from lab.forward import LOOPBACK, forwarding  # noqa: E402
from lab.host import ENVIRONMENT  # noqa: E402


def up(lab: Lab, arguments: argparse.Namespace) -> int:
    begin = time.monotonic()
    if lab.up(arguments.topology):
        print(f"{lab.name}: up after {time.monotonic() - begin:.1f} s: {' '.join(lab.hosts)}")
    else:
        print(f"{lab.name}: is up")
    return 0


def down(lab: Lab, _arguments: argparse.Namespace) -> int:
    for host, pids in lab.down().items():
        text = f"{host} still runs processes not started by the laboratory: {pids}"
        print(f"{lab.name}: {text}", file=sys.stderr)
    print(f"{lab.name}: down")
    return 0


def status(lab: Lab, _arguments: argparse.Namespace) -> int:
    if not lab.is_up:
        print(f"{lab.name}: down")
        return 3  # as systemctl says it
    for name, host in lab.hosts.items():
        addresses = " ".join(str(address.ip) for address in host.plan.addresses)
        states = [f"{one} {'runs' if host.running(one) else 'ended'}" for one in host.started()]
        print(f"{name:10} {addresses:56} {', '.join(states)}".rstrip())
    return 0


def execute(lab: Lab, arguments: argparse.Namespace) -> int:
    command = lab.host(arguments.host).inside(*(arguments.command or ["bash"]))
    environment = {**ENVIRONMENT, "TERM": os.environ.get("TERM", ENVIRONMENT["TERM"])}
    os.execvpe(command[0], command, environment)  # noqa: S606 (no shell wanted)


def start(lab: Lab, arguments: argparse.Namespace) -> int:
    host = lab.host(arguments.host)
    if arguments.command:
        host.start(arguments.process, arguments.command)
        return 0
    if arguments.process not in host.plan.services:
        raise LabError(f"{host.name} has no service {arguments.process}; give a command")
    start_services(host, [arguments.process])
    await_services(host)
    return 0


def stop(lab: Lab, arguments: argparse.Namespace) -> int:
    lab.host(arguments.host).stop(arguments.process)
    return 0


def forward(lab: Lab, arguments: argparse.Namespace) -> int:
    at = arguments.at or arguments.port
    with forwarding(lab.host(arguments.host), arguments.port, at):
        print(f"http://{LOOPBACK}:{at}/ is {arguments.host}'s until Enter is pressed", flush=True)
        sys.stdin.readline()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default=DEFAULT, help="its name; $L4LB_LAB, else %(default)s")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("up", help="build it")
    command.add_argument("--topology", type=Path, default=TOPOLOGY, metavar="FILE")
    command.set_defaults(run=up)
    commands.add_parser("down", help="remove it").set_defaults(run=down)
    commands.add_parser("status", help="show its hosts; exit code 3 if it is not up").set_defaults(
        run=status
    )
    command = commands.add_parser("exec", help="run a command, or a shell, in a host")
    command.add_argument("host", metavar="HOST")
    command.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    command.set_defaults(run=execute)
    command = commands.add_parser(
        "start", help="start a command in a host, which goes on; or a service that it has"
    )
    command.add_argument("host", metavar="HOST")
    command.add_argument("process", metavar="NAME")
    command.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    command.set_defaults(run=start)
    command = commands.add_parser("stop", help="end what was started by this name")
    command.add_argument("host", metavar="HOST")
    command.add_argument("process", metavar="NAME")
    command.set_defaults(run=stop)
    command = commands.add_parser(
        "forward", help="have this machine reach what listens on a host's loopback address"
    )
    command.add_argument("host", metavar="HOST")
    command.add_argument("port", type=int, metavar="PORT")
    command.add_argument("--at", type=int, metavar="PORT", help="here; default: the same")
    command.set_defaults(run=forward)
    arguments = parser.parse_args()
    if getattr(arguments, "command", [])[:1] == ["--"]:
        arguments.command.pop(0)
    try:
        return int(arguments.run(Lab(arguments.name), arguments))
    except LabError as e:
        print(f"{arguments.name}: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
