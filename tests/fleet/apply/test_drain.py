# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a backend is quiet that takes no new flows."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from lab import Lab
from lab.host import Host
from lab.traffic.stream import Stream
from tests.fleet.rig.balancers import apply
from tests.fleet.rig.hosts import python
from tests.fleet.rig.orders import backend, echoing, order, states
from tests.fleet.rig.play import ansible
from tests.fleet.rig.services import ECHO, VIP, WEB, wanted
from tests.fleet.there import many


@contextlib.contextmanager
def streaming(lab: Lab) -> Iterator[Stream]:
    with Stream(lab.host("client"), (VIP, ECHO), flows=32) as stream:
        stream.await_answers()
        yield stream


def flows_of(stream: Stream, server: str) -> int:
    return [stream.servers(flow) for flow in range(32)].count([server])


def test_waiting_for_a_drain(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(echoing(1, 2)))
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
    apply(lb1, wanted(echoing(1, 2)))
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
    apply(lb1, wanted(echoing(2)))
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
    apply(lb1, wanted(echoing(1, 2, flow_table=False)))
    done = order(lb1, {"address": WEB["web2"], "state": "drained", "wait": 600, "quiet": 0.5})
    assert done["flows"] == [None]
    assert done["waited"][0] >= 0.5
    assert done["waited"][1:] == [True]


def test_a_dead_backend_is_not_waited_for(lab: Lab, lb1: Host) -> None:
    """Clients go on sending; the kernel has found out that nobody is there."""
    dead = "203.0.113.99"
    apply(lb1, wanted(echoing({"address": dead, "state": "enabled"})))
    with Stream(lab.host("client"), (VIP, ECHO), flows=4):
        drain = {"address": dead, "state": "drained", "force": True}
        done = order(lb1, {**drain, "wait": 7200, "quiet": 3600})
    assert done["waited"][1:] == [True]


def test_it_is_an_error_to_enable_what_is_waited_for(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(echoing(1, 2)))
    with streaming(lab):
        message = python(lb1, many.enabled_while_waited_for, address=WEB["web2"])
    assert message == f"{WEB['web2']} has been enabled for echo on eth0 while it was waited for"


def test_disabled_moves_flows_at_once(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(echoing(1, 2)))
    with streaming(lab) as stream:
        assert flows_of(stream, "web2")
        cut = order(lb1, {"address": WEB["web2"], "state": "disabled", "wait": 600})
        stream.await_answers()
    assert cut["flows"] == [0]
    assert cut["waited"][1:] == [True]
    assert [stream.servers(flow)[-1] for flow in range(32)] == ["web1"] * 32
