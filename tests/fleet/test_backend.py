# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""l4lb_backend on a host of the laboratory: what it changes, what outlives it, and waiting."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import Host
from lab.traffic import Stream
from tests.fleet.test_module import (
    BCC,
    CHECKOUT,
    HEADERS,
    OTHER_VIP,
    VIP,
    WEB,
    WORKERS,
    ansible,
    apply,
    cleaned,
    hidden,
    l4lb,
    program,
    python,
    service,
    stats,
    topology,
    wanted,
    works,
)

ECHO = 7


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With lab/echo.py on the servers, and flows that stay on one CPU."""
    plan = topology()
    plan["hosts"]["router"]["cpu"] = 0
    file = tmp_path_factory.mktemp("lab") / "topology.yml"
    file.write_text(yaml.safe_dump(plan))
    lab = Lab(f"b{os.getpid()}")
    lab.up(file)
    for name in WEB:
        lab.host(name).start("echo", ["python3", f"{CHECKOUT}/lab/echo.py", str(ECHO), VIP])
    try:
        yield lab
    finally:
        for worker in WORKERS.values():
            worker.communicate("")
        WORKERS.clear()
        left = lab.down()
    assert left == {}


@pytest.fixture
def lb1(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb1"))


def backend(server: int = 2, check: bool = False, **options: Any) -> dict[str, Any]:
    """A task that runs the module on the address of a web server."""
    address = {"address": WEB[f"web{server}"]}
    return {"xdp.l4lb.l4lb_backend": {**address, **options}, "check_mode": check}


def echo(*servers: int | dict[str, Any], **options: Any) -> dict[str, Any]:
    """A service of lab/echo.py."""
    return service(*servers, name="echo", port=ECHO, protocol="udp", **options)


def states(host: Host) -> dict[str, str]:
    """State by service and server, with a * if held and the weight if it is not 1."""
    code = """
live = Balancer(given["interface"]).live()
result = {
    f"{service.name} {str(one.address)[-1]}":
        one.state + "*" * one.held + (f" {one.weight}" if one.weight != 1 else "")
    for service in live.config.services for one in service.backends
}
"""
    found: dict[str, str] = python(host, code, interface="eth0")
    return found


def order(host: Host, *orders: dict[str, Any]) -> Any:
    """Carry out orders in one process; the outcome of the last."""
    code = """
from ipaddress import ip_address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import Order, operate
for options in given["orders"]:
    try:
        report = operate(Order(**{**options, "address": ip_address(options["address"])}))
        result = {
            "changed": bool(report.steps),
            "flows": [place.flows for place in report.places],
            "waited": report.waited and [report.waited.seconds, report.waited.quiet],
        }
    except errors.L4lbError as e:
        result = {"error": str(e)}
"""
    return python(host, code, orders=orders)


# What it says and does.

STAYS = (
    f"web: backend {WEB['web2']} stays drained, as an operator set, and is not enabled as "
    "configured; run l4lb_backend with state: enabled to lift the hold"
)


@pytest.mark.usefixtures("lb1")
def test_an_operators_day(lab: Lab, tmp_path: Path) -> None:
    """Drained stays drained through whatever is deployed, until it is enabled."""
    config: dict[str, Any] = {"services": [service(1, 2)]}
    heavier: dict[str, Any] = {"services": [service(1, {"address": WEB["web2"], "weight": 3})]}
    deployed, predicted, drained, again, counted = ansible(
        lab,
        tmp_path,
        l4lb(**config),
        backend(check=True, state="drained"),
        backend(state="drained"),
        backend(state="drained"),
        stats(),
    )
    assert deployed["changed"]
    before, after = (
        {"state": s, "weight": 1, "held": s != "enabled"} for s in ("enabled", "drained")
    )
    (place,) = drained["services"]
    assert place == {
        "interface": "eth0",
        "service": "web",
        "before": before,
        "after": after,
        "flows": 0,
    }
    assert drained["flows"] == 0
    assert "waited" not in drained
    (step,) = drained["steps"]
    assert step.startswith(f"web: 1 backend drained ({WEB['web2']})")
    assert step.endswith("50.0 % of new flows move, 0 established")
    for name in ("changed", "steps", "services", "flows", "diff"):
        assert predicted[name] == drained[name]
    ends = [yaml.safe_load(drained["diff"][side]) for side in ("before", "after")]
    assert ends == [[{"interface": "eth0", "service": "web", **end}] for end in (before, after)]
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"] == drained["diff"]["after"]
    (facts,) = counted["ansible_facts"]["l4lb"]["eth0"]["services"]
    assert [one["held"] for one in facts["backends"]] == [False, True]
    works(lab, 1)

    same, checked, changed, enabled, last = ansible(
        lab,
        tmp_path,
        l4lb(**config),
        l4lb(True, **heavier),
        l4lb(**heavier),
        backend(state="enabled"),
        l4lb(**heavier),
    )
    assert not same["changed"]
    for result in (same, checked, changed):
        assert result["warnings"] == [STAYS]
    assert changed["diff"] == checked["diff"]
    (listed,) = yaml.safe_load(changed["diff"]["after"])["services"]
    assert listed["backends"][1] == {
        "address": WEB["web2"],
        "weight": 3,
        "state": "drained",
        "held": True,
    }
    assert enabled["services"][0]["before"] == {"state": "drained", "weight": 3, "held": True}
    assert not last["changed"]
    assert not last.get("warnings")
    works(lab, 1, 2)


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "backend": (
        {"address": "203.0.113.99"},
        "address: '203.0.113.99': eth0 has no such backend, but 203.0.113.21, 203.0.113.22",
    ),
    "backend of a service": (
        {"address": WEB["web1"], "service": "echo"},
        "address: '203.0.113.21': service echo on eth0 has no such backend, but 203.0.113.22",
    ),
    "service": ({"service": "www"}, "service: 'www': eth0 has no such service, but echo, web"),
    "interface": (
        {"interface": "eth1"},
        "interface: 'eth1': this host does not balance there, but eth0",
    ),
    "weight": ({"weight": 256}, "weight: 256: give a whole number from 0 to 255"),
}


def test_what_does_not_fit(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2), echo(2)))
    before = states(lb1)
    for given, message in MISFITS.values():
        options = {"address": WEB["web2"], "state": "drained", **given}
        assert order(lb1, options) == {"error": message}
    assert states(lb1) == before
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    assert order(lb1, options) == {"error": "no balancer is attached to eth0"}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "address": (
        {"address": "203.0.113.300"},
        "address: '203.0.113.300': not an IP address, as in 192.0.2.10 or 2001:db8::10",
    ),
    "wait_timeout": ({"wait_timeout": -1}, "wait_timeout: -1.0: give a number of seconds, 0 or"),
    "quiet": ({"quiet": "nan"}, "quiet: nan: give a number of seconds, 0 or more"),
    "nothing there": ({}, "this host does not balance; set it up with the module l4lb"),
}


@pytest.mark.usefixtures("lb1")
def test_wrong_input(lab: Lab, tmp_path: Path) -> None:
    results = ansible(lab, tmp_path, *(backend(**wrong) for wrong, _ in WRONG.values()))
    for name, result in zip(WRONG, results):
        assert result["failed"], name
        assert WRONG[name][1] in result["msg"]
        assert "Traceback" not in str(result)


def test_without_bcc(lb1: Host) -> None:
    """No compiler, no headers, no sources; and the program stays."""
    apply(lb1, wanted(service(1, 2)))
    loaded = program(lb1)
    with hidden(lb1, BCC), hidden(lb1, HEADERS):
        assert order(lb1, {"address": WEB["web2"], "state": "disabled", "weight": 2})["changed"]
    assert program(lb1) == loaded
    assert states(lb1) == {"web 1": "enabled", "web 2": "disabled* 2"}
    (step,) = apply(lb1, wanted(service(1, 2)))["steps"]
    assert step.startswith("web: weight of 203.0.113.22 2 -> 1")
    assert states(lb1) == {"web 1": "enabled", "web 2": "disabled*"}
    assert program(lb1) == loaded


def test_a_weight_lasts_until_the_next_deploy(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    assert order(lb1, {"address": WEB["web2"], "weight": 0})["changed"]
    works(lab, 1)
    outcome = apply(lb1, wanted(service(1, 2)))
    (step,) = outcome["steps"]
    assert step.startswith("web: weight of 203.0.113.22 0 -> 1, 50.0 % of new flows move")
    assert [one["weight"] for one in outcome["before"]["services"][0]["backends"]] == [1, 0]
    works(lab, 1, 2)


def test_one_service_or_all(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2), echo(2, 3)))
    order(lb1, {"address": WEB["web2"], "state": "drained", "service": "echo"})
    assert states(lb1)["web 2"] == "enabled"
    assert states(lb1)["echo 2"] == "drained*"
    order(lb1, {"address": WEB["web2"], "state": "drained"})
    assert states(lb1)["web 2"] == "drained*"


def test_every_balancer_of_the_host(lb1: Host) -> None:
    """Those that have the backend; the others are none of its business."""
    second = service(2, 3, name="second", address=OTHER_VIP)
    apply(lb1, wanted(service(1, 2)), {"interface": "eth1", "services": [second]})
    assert len(order(lb1, {"address": WEB["web2"], "state": "drained"})["flows"]) == 2
    assert len(order(lb1, {"address": WEB["web3"], "weight": 2})["flows"]) == 1
    outcome = order(lb1, {"address": "10.0.0.1", "state": "drained"})
    assert outcome["error"] == (
        "address: '10.0.0.1': eth0 has no such backend, but 203.0.113.21, 203.0.113.22; "
        "address: '10.0.0.1': eth1 has no such backend, but 203.0.113.22, 203.0.113.23"
    )
    outcome = order(lb1, {"address": WEB["web2"], "state": "enabled", "interface": "eth1"})
    assert outcome["changed"]
    assert states(lb1)["web 2"] == "drained*"


LAST = "{} is the last backend that takes new flows, which would be dropped; enable another one"


def test_the_last_backend_is_kept(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """In check mode too, and in no service nor on any interface is anything changed."""
    second = service(2, name="second", address=OTHER_VIP)
    apply(lb1, wanted(service(1, 2), echo(2)), {"interface": "eth1", "services": [second]})
    before = states(lb1)
    drain: dict[str, Any] = {"state": "drained"}
    results = ansible(
        lab,
        tmp_path,
        backend(check=True, **drain),
        backend(**drain),
        backend(weight=0),
        backend(**drain, service="echo"),
        backend(**drain, interface="eth1"),
        backend(**drain, service="web"),
        backend(**drain, service="echo", interface="eth0", force=True, check=True),
        backend(**drain, service="echo", interface="eth0", force=True),
    )
    everywhere = f"echo on eth0: {LAST} first, or set force: true; second on eth1: {LAST}"
    for result in results[:3]:
        assert result["msg"].startswith(everywhere.format(WEB["web2"], WEB["web2"]))
    for result, where in zip(results[3:5], ("echo on eth0", "second on eth1")):
        assert result["failed"]
        assert result["msg"].startswith(f"{where}: {LAST.format(WEB['web2'])}")
    elsewhere, predicted, forced = results[5:]
    assert elsewhere["changed"]
    assert forced["changed"] and predicted["steps"] == forced["steps"]
    (step,) = forced["steps"]
    assert step.endswith(", new flows are dropped, 0 established")
    assert forced["warnings"] == ["echo: no backend takes new flows; they are dropped"]
    assert states(lb1) == {**before, "web 2": "drained*", "echo 2": "drained*"}
    # what takes no new flows may lose the others
    assert order(lb1, {"address": WEB["web2"], "state": "disabled", "service": "echo"})["changed"]


# What outlives what.


def test_a_hold_outlives_the_program(lab: Lab, lb1: Host) -> None:
    """As after an upgrade, when the pins are lost, and after a reboot."""
    apply(lb1, wanted(service(1, 2)))
    order(lb1, {"address": WEB["web2"], "state": "drained"})
    loaded = program(lb1)
    apply(lb1, wanted(service(1, 2, scheduler="jhash")))
    assert program(lb1) != loaded
    assert states(lb1)["web 2"] == "drained*"
    lb1.run(["rm", "-r", "/sys/fs/bpf/l4lb"])
    apply(lb1, wanted(service(1, 2)))
    assert states(lb1)["web 2"] == "drained*"
    lb1.run(["rm", "-r", "/sys/fs/bpf/l4lb"])
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    apply(lb1, wanted(service(1, 2)))
    assert states(lb1)["web 2"] == "drained*"
    works(lab, 1)


def test_a_hold_of_what_is_configured_so(lb1: Host) -> None:
    """It makes a difference when the configuration changes."""
    drained = wanted(service(1, {"address": WEB["web2"], "state": "drained"}))
    apply(lb1, drained)
    assert order(lb1, {"address": WEB["web2"], "state": "drained"})["changed"]
    assert not order(lb1, {"address": WEB["web2"], "state": "drained"})["changed"]
    assert apply(lb1, drained)["steps"] == []
    apply(lb1, wanted(service(1, 2)))
    assert states(lb1)["web 2"] == "drained*"


def test_a_hold_ends_with_its_backend(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2), echo(2, 3)))
    order(lb1, {"address": WEB["web2"], "state": "drained"})
    apply(lb1, wanted(service(1, name="www"), echo(2, 3)), wanted(service(1, 2), echo(2, 3)))
    assert states(lb1)["web 2"] == "enabled"
    assert states(lb1)["echo 2"] == "drained*"


def test_orders_at_once(lb1: Host) -> None:
    """Each of them counts, for none starts from what another has changed meanwhile."""
    apply(lb1, wanted(service(1, 2, 3, 4), echo(1, 2, 3, 4)))
    code = """
from ipaddress import ip_address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import Order, operate
children = []
for number in 1, 2, 3, 4:
    for options in {"state": "drained"}, {"weight": number + 1}:
        for service in "web", "echo":
            children.append(os.fork())
            if not children[-1]:
                address = ip_address(f"203.0.113.2{number}")
                operate(Order(address, service, **options, force=True))
                os._exit(0)
result = [os.waitpid(child, 0)[1] for child in children]
"""
    assert python(lb1, code) == [0] * 16
    assert states(lb1) == {
        f"{name} {number}": f"drained* {number + 1}"
        for name in ("echo", "web")
        for number in (1, 2, 3, 4)
    }


# Flows.


@contextlib.contextmanager
def streaming(lab: Lab) -> Iterator[Stream]:
    with Stream(lab.host("client"), (VIP, ECHO), flows=32) as stream:
        stream.await_answers()
        yield stream


def flows_of(stream: Stream, server: str) -> int:
    return [stream.servers(flow) for flow in range(32)].count([server])


def test_waiting_for_a_drain(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(echo(1, 2)))
    drain = {"address": WEB["web2"], "state": "drained"}
    with streaming(lab) as stream:
        busy = order(lb1, {**drain, "wait": 1.5, "quiet": 1})
        mine = flows_of(stream, "web2")
    assert mine
    assert busy["changed"]
    assert busy["waited"][0] >= 1.5
    assert busy["waited"][1:] == [False]
    assert busy["flows"] == [mine]
    assert states(lb1)["echo 2"] == "drained*"

    done = order(lb1, {**drain, "wait": 600, "quiet": 2})
    assert done["waited"][1:] == [True]
    assert done["flows"] == [0]
    again = order(lb1, {**drain, "wait": 600, "quiet": 2})
    assert not again["changed"]
    assert again["waited"][1:] == [True]
    # Nobody waits for a quiet hour that has passed, nor for one that no flow can disturb.
    last = {"address": WEB["web1"], "state": "disabled", "force": True}
    never = order(lb1, {**last, "wait": 7200, "quiet": 3600})
    assert never["waited"][1:] == [True]


def test_packets_that_establish_no_flow_are_not_waited_for(lab: Lab, lb1: Host) -> None:
    """Anyone can send one now and then, and go on for ever."""
    apply(lb1, wanted(echo(1, 2)))
    client = lab.host("client")
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(client.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _flow in range(32)
        ]

        def send() -> None:
            for each in sockets:
                each.sendto(b"1", (VIP, ECHO))

        send()
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(6):  # longer than it takes to establish a flow
                send()

        stranger = threading.Thread(target=go_on)
        stranger.start()
        try:
            drain = {"address": WEB["web2"], "state": "drained", "wait": 60, "quiet": 7}
            done = order(lb1, drain)
        finally:
            over.set()
            stranger.join()
    assert done["waited"][1:] == [True]
    assert done["flows"] == [0]


def test_the_module_fails_when_the_time_is_up(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    apply(lb1, wanted(echo(2)))
    task = backend(state="drained", wait=True, wait_timeout=0.5, force=True)
    with streaming(lab):
        failed, went_on = ansible(
            lab,
            tmp_path,
            task,
            {**task, "failed_when": "r1 is failed and r1.quiet is undefined"},
        )
    assert failed["failed"]
    assert failed["changed"]
    assert failed["quiet"] is False
    assert failed["flows"] == 32
    assert failed["msg"] == (
        f"{WEB['web2']} was not quiet within 0.5 seconds: 32 flows are still sent to it; it stays "
        "drained"
    )
    assert not went_on["failed"]
    assert went_on["quiet"] is False
    assert not went_on["changed"]


def test_a_service_without_a_flow_table(lb1: Host) -> None:
    """Nothing is known of what was, so it is waited for what may come."""
    apply(lb1, wanted(echo(1, 2, flow_table=False)))
    done = order(lb1, {"address": WEB["web2"], "state": "drained", "wait": 600, "quiet": 0.5})
    assert done["flows"] == [None]
    assert done["waited"][0] >= 0.5
    assert done["waited"][1:] == [True]


def test_a_dead_backend_is_not_waited_for(lab: Lab, lb1: Host) -> None:
    """Clients go on sending; the kernel has found out that nobody is there."""
    dead = "203.0.113.99"
    apply(lb1, wanted(echo({"address": dead, "state": "enabled"})))
    with Stream(lab.host("client"), (VIP, ECHO), flows=4):
        drain = {"address": dead, "state": "drained", "force": True}
        done = order(lb1, {**drain, "wait": 7200, "quiet": 3600})
    assert done["waited"][1:] == [True]


def test_it_is_an_error_to_enable_what_is_waited_for(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(echo(1, 2)))
    code = """
from ipaddress import ip_address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import Order, operate
address = ip_address(given["address"])
operate(Order(address, state="drained"))
reader, writer = os.pipe()
if not os.fork():
    try:
        operate(Order(address, wait=7200, quiet=3600))
    except errors.L4lbError as e:
        os.write(writer, str(e).encode())
    os._exit(0)
import time
time.sleep(1)
operate(Order(address, state="enabled"))
os.wait()
result = os.read(reader, 1000).decode()
"""
    with streaming(lab):
        message = python(lb1, code, address=WEB["web2"])
    assert message == f"{WEB['web2']} has been enabled for echo on eth0 while it was waited for"


def test_disabled_moves_flows_at_once(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(echo(1, 2)))
    with streaming(lab) as stream:
        assert flows_of(stream, "web2")
        cut = order(lb1, {"address": WEB["web2"], "state": "disabled", "wait": 600})
        stream.await_answers()
    assert cut["flows"] == [0]
    assert cut["waited"][1:] == [True]
    assert [stream.servers(flow)[-1] for flow in range(32)] == ["web1"] * 32
