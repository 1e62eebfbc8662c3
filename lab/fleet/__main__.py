# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet at work, in a laboratory of its own that stays up afterwards.

    python -m lab.fleet            show it
    python -m lab.fleet --quick    without the upgrade, which takes longest
    python -m lab.fleet --clean    leave nothing behind

The exit code is 1 if clients noticed more than they should have. L4LB_DEMO is another name of the
laboratory than demo-fleet.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from lab import LabError
from lab.fleet.acts import ACTS
from lab.fleet.laboratory import ECHO, WEB, Fleet
from lab.fleet.load import CONNECTIONS, Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.acts import Act

WIDTH = 56


def step(title: str, take: Callable[[], object]) -> None:
    """Say which, take it, and say how long it took."""
    print(f"{title:72}", end="", flush=True)
    began = time.monotonic()
    try:
        take()
    except LabError:
        print("FAILED\n", flush=True)
        raise
    print(f"{time.monotonic() - began:5.1f} s")


def show(fleet: Fleet, acts: list[Act]) -> int:
    began = time.monotonic()
    print(
        "A CLIENT, A ROUTER, THREE BALANCERS AND SIX SERVERS, each a network namespace of this "
        "machine\n"
    )
    step("Build the laboratory, with BIRD on the router, ECMP and BFD", fleet.build)
    step("ansible-playbook site.yml: roles l4lb_backend, l4lb and l4lb_bgp", fleet.deploy)
    step("Start the agents, which check and announce, and BIRD", fleet.start_daemons)
    step("Wait until the router spreads flows over all three", fleet.until_spread)
    too_much = play(fleet, acts)
    print(next_steps(fleet.lab.name, time.monotonic() - began))
    return int(too_much)


def play(fleet: Fleet, acts: list[Act]) -> bool:
    """Whether clients noticed more than they should."""
    print(f"""
{CONNECTIONS} OPEN CONNECTIONS to {ECHO[0]} and {ECHO[1]}, what comes back compared
byte for byte; REQUESTS to {WEB[0]} and {WEB[1]}, a connection each

{"":{WIDTH}} act took  went on   lost  failed""")
    too_much = False
    with Load(fleet.host("client")) as load:
        for act in acts:
            print(f"{act.title:{WIDTH}}", end="", flush=True)
            took, noticed = act.play(fleet, load)
            lost, failed = (sum(one.values()) for one in (noticed.lost, noticed.failed))
            print(f"{took:7.1f} s{noticed.standstill:7.2f} s{lost:7}{failed:8}")
            for text, count in sorted((noticed.lost + noticed.failed).items()):
                print(f"{count:6} {text:.90}")
            too_much |= act.is_harmless and bool(lost or failed)
    print("""
went on: seconds until the last connection did, at worst
lost: connections that ended, or brought something else
failed: requests that were refused, or without answer for 10 s""")
    return too_much


def next_steps(name: str, took: float) -> str:
    lab = f".venv/bin/python lab/lab.py --name {name}"
    playbook = f".venv/bin/ansible-playbook -i build/{name}/inventory.yml"
    return f"""
Done in {took:.0f} s. The laboratory stays up. What to try next:

  over which balancers the router spreads flows
    {lab} exec router -- ip route show {WEB[0]}
  what BIRD knows there, and that BFD is up
    {lab} exec router -- birdc show route
    {lab} exec router -- birdc show bfd sessions
  a request, and who answers it
    {lab} exec client -- curl -s http://{WEB[0]}/
  take a balancer out of the fleet, and back
    {playbook} xdp.l4lb.drain -e l4lb_balancer=lb1
    {playbook} xdp.l4lb.drain -e l4lb_balancer=lb1 -e l4lb_balancer_state=announced
  whether all balancers are alike
    {playbook} xdp.l4lb.verify
  a page about the fleet, for a browser
    {playbook} xdp.l4lb.report -e l4lb_report_file=build/{name}/report.html
  why a VIP is not announced
    {lab} exec lb1 -- l4lb withdraw
    {lab} exec lb1 -- l4lb status
    {lab} exec lb1 -- l4lb announce
  the end of it
    make demo-clean"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.fleet", description="A fleet at work, in a laboratory of its own."
    )
    parser.add_argument("--quick", action="store_true", help="leave out what takes longest")
    parser.add_argument("--clean", action="store_true", help="leave nothing behind, and end")
    arguments = parser.parse_args()
    fleet = Fleet(os.environ.get("L4LB_DEMO", "demo-fleet"))
    try:
        if arguments.clean:
            fleet.clean()
            print(f"{fleet.lab.name}: down")
            return 0
        return show(fleet, [act for act in ACTS if act.is_quick or not arguments.quick])
    except LabError as e:
        print(e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
