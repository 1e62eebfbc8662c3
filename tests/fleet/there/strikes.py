# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are struck at every call by which the library reaches the kernel."""

from __future__ import annotations

import errno
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb import errors
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf, maps
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import netlink
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from tests.fleet.there.library import (
    Options,
    Order,
    attempt,
    config_of,
    operate,
    order_of,
    sources,
)
from tests.fleet.there.looking import state

SURVIVED, FAILED, CRASHED, UNHURT, KILLED = 0, 1 << 8, 2 << 8, 3 << 8, 9
"""How a process ends, as of os.wait()."""


def doors() -> Iterator[tuple[Any, str, Exception]]:
    """All by which the library reaches the kernel, and how each of them fails."""
    for module in (bpf, maps):
        yield module, bpf.check.__name__, errors.KernelError("struck", errno.EIO)
    for name in ("rename", "replace", "unlink", "mkdir", "rmdir", "write_text"):
        yield Path, name, OSError(errno.ENOSPC, "struck")
    for name in ("open", "fsync", "ftruncate", "pwrite"):
        yield os, name, OSError(errno.ENOSPC, "struck")
    yield netlink, netlink.received.__name__, OSError(errno.ENOBUFS, "struck")
    yield IPRoute, "nlm_request", NetlinkError(errno.ENOBUFS)


class Strike:
    """Has the call of a number fail; late: when it is done; interrupted: by Ctrl-C, which may wait;
    killed: be the last."""

    def __init__(self, at: int, how: str) -> None:
        self.at = at
        self.how = how
        self.calls = 0

    def prepare(self) -> None:
        for owner, name, error in list(doors()):
            setattr(owner, name, self._watched(getattr(owner, name), error))

    def _watched(self, original: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls != self.at:
                return original(*arguments, **options)
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "interrupted":
                os.kill(os.getpid(), signal.SIGINT)
                return original(*arguments, **options)
            if self.how == "late":
                original(*arguments, **options)
            raise error

        return call


def struck(at: int, how: str, run: Callable[[], str]) -> tuple[int, str]:
    """How a process ends that is struck in `run`, and what it says."""
    log = Path("/run/struck")
    log.write_text("")
    child = os.fork()
    if not child:
        said = log.open("w")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        strike = Strike(at, how)
        code, message = SURVIVED, ""
        try:
            try:
                strike.prepare()
                message = run()
                code = SURVIVED if strike.calls >= at else UNHURT
            except errors.L4lbError as e:
                code, message = FAILED, str(e)
            except KeyboardInterrupt:
                code, message = FAILED, "interrupted"
            except BaseException:
                code, message = CRASHED, traceback.format_exc()
            said.write(message)
            said.flush()
        finally:
            os._exit(code >> 8)
    status = os.waitpid(child, 0)[1]
    return status, log.read_text()


def differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [before[name], after[name]] for name in before if before[name] != after[name]}


class Runs:
    """Of eth0's balancer, with the sources read once."""

    def __init__(self) -> None:
        self.files = sources()

    def apply(self, config: Config | None) -> str:
        """Returns warnings."""
        return "; ".join(Balancer("eth0", self.files).apply(config).plan.warnings)

    def fulfil(self, wish: Order | Config | None) -> str:
        """Returns warnings."""
        return "; ".join(operate(wish).warnings) if isinstance(wish, Order) else self.apply(wish)

    def completed(self, wish: Order | Config | None) -> dict[str, Any]:
        """What another run did."""
        if isinstance(wish, Order):
            return {"steps": operate(wish).steps}
        return attempt(Balancer("eth0", self.files).apply, wish)


def changes(
    configs: list[Options], orders: list[Options], calls: list[int], how: str, anew: bool
) -> list[list[Any]]:
    """Give these orders and apply these in turns, and be struck at these calls into the kernel,
    until there is none of that number; anew: on a host without a balancer.

    Returns for each: the call, how the process ended, what it said, what it changed, what two more
    runs did, when the first began, and when all was done.
    """
    runs = Runs()
    wishes: list[Order | Config | None] = [order_of(**options) for options in orders]
    wishes += map(config_of, configs)
    found: list[list[Any]] = []
    for at in calls:
        start = time.monotonic()
        wish = wishes[len(found) % len(wishes)]
        before = state()
        status, message = struck(at, how, lambda wish=wish: runs.fulfil(wish))  # type: ignore[misc]
        changed = differing(before, state())
        repaired, again = (runs.completed(wish) for _each in range(2))
        found.append([at, status, message, changed, repaired, again, start, time.monotonic()])
        if anew:
            runs.apply(None)
        if status == UNHURT:
            break
    return found


def removals(keep: Options, calls: list[int], how: str) -> list[list[Any]]:
    """As `changes`, without the times: remove what is made anew each time."""
    runs, kept = Runs(), config_of(keep)
    found: list[list[Any]] = []
    for at in calls:
        runs.apply(kept)
        before = state()
        status, message = struck(at, how, lambda: runs.apply(None))
        changed = differing(before, state())
        wish = None if changed else kept
        repaired, again = (runs.completed(wish) for _each in range(2))
        found.append([at, status, message, changed, repaired, again])
        if status == UNHURT:
            break
    return found
