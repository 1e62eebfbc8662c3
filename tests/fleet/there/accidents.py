# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that fail or are killed at a step, in a poor environment, or at any moment."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb import errors
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.saved import Saved
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import staging
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.pins import Pins
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import neighbours, xdp

from tests.fleet.there import worker
from tests.fleet.there.library import Answer, Options, attempt, config_of, sources

STEPS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "neighbours": (neighbours, neighbours.manage),
    "stage": (staging, staging.stage),
    "before the switch": (staging, staging.switch),
    "pin": (Pins, Pins.set),
    "attach": (xdp, xdp.attach),
    "finish": (staging, staging.finish),
    "clean up pins": (Pins, Pins.drop_others),
    "write the new state": (Saved, Saved.prepare),
    "save it": (Saved, Saved.commit),
}

TIDYING = {"finish"}
"""Steps after which nothing can be lost any more: that they fail is a warning."""


def stopped(wanted: Options, step: str, kill: bool) -> Answer:
    """Apply, and fail or be killed at a step, the first time."""
    owner, original = STEPS[step]

    def fail(*_arguments: Any, **_options: Any) -> None:
        if kill:
            worker.end({"killed": True})
        setattr(owner, original.__name__, original)
        raise errors.KernelError("the sky falls")

    setattr(owner, original.__name__, fail)
    return attempt(Balancer("eth0", sources()).apply, config_of(wanted))


def without_root(wanted: Options) -> list[Answer]:
    """Apply, remove and plan as nobody."""
    os.setgid(65534)
    os.setuid(65534)
    balancer = Balancer("eth0", sources())
    return [
        attempt(balancer.apply, config_of(wanted)),
        attempt(balancer.apply, None),
        attempt(balancer.plan, config_of(wanted)),
    ]


def without_temporary_files(wanted: Options) -> Answer:
    tempfile.tempdir = "/proc/none"
    return attempt(Balancer("eth0", sources()).apply, config_of(wanted))


def killed_at_any_moment(configs: list[Options], seed: int) -> list[list[Any]]:
    """Apply these, and kill the run; whether that came in time, and what became of two more."""
    chance = random.Random(seed)
    longest, found = 0.0, []
    for options in configs:
        start = time.monotonic()
        child = os.fork()
        if not child:
            Balancer("eth0", sources()).apply(config_of(options))
            os._exit(0)
        if longest:
            time.sleep(chance.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        longest = longest or time.monotonic() - start
        both = [
            attempt(Balancer("eth0", sources()).apply, config_of(options)) for _each in range(2)
        ]
        found.append([killed, *both])
    return found
