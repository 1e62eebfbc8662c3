# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many runs, one after the other or at once."""

from __future__ import annotations

import os
import random
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb import errors
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import compiler

from tests.fleet.there.library import (
    Answer,
    Options,
    attempt,
    config_of,
    forked,
    operate,
    order_of,
    sources,
)

# One after the other.


def timed(configs: list[Options]) -> list[list[Any]]:
    """Apply all, of one balancer; when each began and ended, and what it did."""
    balancer = Balancer("eth0", sources())
    found = []
    for options in configs:
        start = time.monotonic()
        outcome = attempt(balancer.apply, config_of(options))
        found.append([start, time.monotonic(), outcome])
    return found


def replacing(configs: list[Options]) -> list[Answer]:
    """Apply all; every fourth time the sources are others."""
    found = []
    for number, options in enumerate(configs):
        files = sources()
        files["l4lb.c"] += f"// {number // 4}\n"
        found.append(attempt(Balancer("eth0", files).apply, config_of(options)))
    return found


# At once.


def three_times_each(configs: list[Options]) -> list[int]:
    """A process each that applies one of these three times."""

    def apply(options: Options) -> None:
        for _turn in range(3):
            Balancer("eth0", sources()).apply(config_of(options))

    return forked(*(partial(apply, options) for options in configs))


def removals(interfaces: list[str]) -> list[int]:
    return forked(*(partial(Balancer(name).apply, None) for name in interfaces))


def orders(given: list[Options]) -> list[int]:
    return forked(*(partial(operate, order_of(**options)) for options in given))


def meanwhile(slow: Options, other: Options | None, fails: bool) -> list[Any]:
    """An apply to eth1 stops before it compiles, and goes on, or fails, after another run on eth0;
    what became of that, and whether the first has failed."""
    ready, go = os.pipe(), os.pipe()
    load = compiler.load

    def load_later(*arguments: Any) -> Any:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        if fails:
            raise errors.CompileError("clang is not in the mood", "")
        return load(*arguments)

    child = os.fork()
    if not child:
        compiler.load = load_later  # type: ignore[assignment]
        outcome = attempt(Balancer("eth1", sources()).apply, config_of(slow))
        os._exit("error" in outcome)
    os.close(ready[1])
    assert os.read(ready[0], 1), "it does not compile"
    answer = attempt(Balancer("eth0", sources()).apply, config_of(other))
    os.write(go[1], b"x")
    return [answer, os.waitpid(child, 0)[1] >> 8]


def enabled_while_waited_for(address: str) -> str:
    """The error of an order that waits for a backend to drain, when another enables it."""
    operate(order_of(address, state="drained"))
    reader, writer = os.pipe()
    if not os.fork():
        try:
            operate(order_of(address, wait=7200, quiet=3600))
        except errors.L4lbError as e:
            os.write(writer, str(e).encode())
        os._exit(0)
    time.sleep(1)
    operate(order_of(address, state="enabled"))
    os.wait()
    return os.read(reader, 1000).decode()


# Without an end.

# what an order may meet where a balancer has just gone
EXPECTED = "no balancer is attached to", "this host does not balance", "eth0 has no such backend"


def stress(
    workers: list[str],
    configs: dict[str, list[Options | None]],
    address: str,
    seed: int,
    seconds: float,
) -> str:
    """Processes that apply configurations of an interface in any order, or give a backend other
    weights ("orders"). A + for each run, and what went wrong in the others."""

    end = time.monotonic() + seconds
    path = Path("/run/stress")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def run(name: str, chance: random.Random) -> None:
        if name == "orders":
            operate(order_of(address, weight=chance.randrange(1, 9)))
        else:
            Balancer(name, sources()).apply(config_of(chance.choice(configs[name])))

    def told(name: str, chance: random.Random) -> str:
        try:
            run(name, chance)
        except errors.L4lbError as e:
            return "" if str(e).startswith(EXPECTED) else f" {name}: {e} "
        except BaseException:
            return traceback.format_exc()
        return "+"

    def work(number: int, name: str) -> None:
        chance = random.Random(seed + number)
        while time.monotonic() < end:
            os.write(log, told(name, chance).encode())

    assert forked(*(partial(work, *one) for one in enumerate(workers))) == [0] * len(workers)
    return path.read_text()
