# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library, as tests give it orders; what these return is JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb import errors
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.live import Live, at_work
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.places import Places
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import counters as counted
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.counters import Statistics
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import Order, operate
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.report import facts

Options = dict[str, Any]
"""Of a configuration, as a user writes them."""
Answer = dict[str, Any]
"""What became of an order, or {"error": ..., "message": ..., "log": ...}."""

BPF = Path(__file__).resolve().parents[3] / "files/bpf"


def sources(**others: str) -> dict[str, str]:
    """The C sources by name, but for others."""
    return {**read_sources(BPF), **others}


def config_of(options: Options | None) -> Config | None:
    """None: for no balancer."""
    return None if options is None else parse_config(options)


def attempt(call: Callable[..., Any], *arguments: Any) -> Answer:
    """What a plan says, or an outcome."""
    try:
        outcome = call(*arguments)
    except errors.L4lbError as e:
        return {"error": type(e).__name__, "message": str(e), "log": getattr(e, "log", "")}
    plan = getattr(outcome, "plan", outcome)
    names = "steps", "warnings", "before", "after"
    answer = {name: getattr(plan, name) for name in names}
    answer["moves"] = [dataclasses.asdict(move) for move in plan.moves]
    return {**answer, "mode": getattr(outcome, "mode", None)}


def forked(*tasks: Callable[[], Any]) -> list[int]:
    """Carry out tasks in processes of their own, all at once; how they end, as of os.wait()."""
    children = []
    for task in tasks:
        children.append(os.fork())
        if not children[-1]:
            code = 1
            try:
                task()
                code = 0
            finally:
                os._exit(code)
    return [os.waitpid(child, 0)[1] for child in children]


# One balancer.


def apply(wanted: list[Options | None], replace: bool = False, accepted: bool = False) -> Answer:
    """Apply configurations one after the other; the last outcome. None: nothing on eth0."""
    answer: Answer = {}
    for options in wanted:
        name = options["interface"] if options else "eth0"
        answer = attempt(Balancer(name, sources()).apply, config_of(options), replace, accepted)
    return answer


def plan(wanted: Options | None, interface: str) -> Answer:
    return attempt(Balancer(interface, sources()).plan, config_of(wanted))


def restore() -> Answer:
    """As the unit does at a boot."""
    balancer = Balancer("eth0", sources())
    return attempt(lambda: balancer.apply(balancer.places.saved.read(), accepted=True))


def remove(*, interfaces: list[str]) -> None:
    """Balancers, where there are such interfaces."""
    for interface in interfaces:
        with contextlib.suppress(errors.ConfigError):
            Balancer(interface).apply(None)


def removal(interface: str) -> Answer:
    return attempt(Balancer(interface).apply, None)


def statistics(interface: str) -> tuple[Live, Statistics]:
    """Of a balancer at work."""
    live, data_path, manifest = at_work(Places.of(interface))
    return live, counted.statistics(data_path, manifest)


def counters(interface: str) -> Answer:
    """Facts of a balancer."""
    live, now = statistics(interface)
    return facts(live.config, live.mode, now)


def remembered() -> Answer:
    """What was balanced last."""
    return Balancer("eth0").live().remembered.dump()


# Its backends.


def order_of(address: str, **options: Any) -> Order:
    return Order(ip_address(address), **options)


def operated(orders: list[Options]) -> Answer:
    """Carry out orders one after the other; what the last changed, or its error."""
    answer: Answer = {}
    for options in orders:
        answer = _operated(order_of(**options))
    return answer


def _operated(order: Order) -> Answer:
    try:
        report = operate(order)
    except errors.L4lbError as e:
        return {"error": str(e)}
    return {
        "changed": bool(report.steps),
        "flows": [place.flows for place in report.places],
        "waited": report.waited and [report.waited.seconds, report.waited.quiet],
    }


# As most tests of the data plane use it.


def balance(config: Options | None) -> Answer:
    """Apply to eth0, if there is something to apply; facts then. Raises what an apply does."""
    if config:
        Balancer("eth0", sources()).apply(config_of(config))
    return counters("eth0")


def act(
    interface: str, action: str, config: Options | None = None, accepted: bool = False
) -> Answer:
    """apply, plan, outdated or facts; {"error": ...} if that fails."""
    balancer = Balancer(interface, sources())
    wanted = config_of(config)
    try:
        if action == "facts":
            return counters(interface)
        if action == "outdated":
            return {"outdated": balancer.outdated(balancer.live())}
        if action == "apply":
            plan = balancer.apply(wanted, True, accepted=accepted).plan
        else:
            plan = balancer.plan(wanted, True)
    except errors.L4lbError as e:
        return {"error": str(e)}
    return {"steps": plan.steps, "warnings": plan.warnings}
