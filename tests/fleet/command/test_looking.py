# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a balancer, on a terminal or not."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator

from lab import Lab
from lab.host import ENVIRONMENT, Host
from tests.fleet.rig.command import DEPLOYED, l4lb, service, who
from tests.fleet.rig.services import VIP, WEB
from tests.interruptible import interruptible


def test_status(lb1: Host) -> None:
    more = service("web3", name="drained", port=81)
    more["backends"][0]["state"] = "drained"
    empty = service(name="empty", port=0)
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [service("web1"), more, empty]})
    assert l4lb(lb1, "status").splitlines() == [
        "INTERFACE  MODE    SERVICE  ADDRESS                    BACKEND       WEIGHT  STATE",
        "eth0       native  drained  192.0.2.10 tcp 81          203.0.113.23  1       drained",
        "                   empty    192.0.2.10 tcp every port  none",
        "                   web      192.0.2.10 tcp 80          203.0.113.21  1       enabled",
    ]
    (name, state), *_ = json.loads(l4lb(lb1, "status", "--json")).items()
    assert (name, state["attached"], state["mode"]) == ("eth0", True, "native")
    assert [one["name"] for one in state["services"]] == ["drained", "empty", "web"]
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    assert "eth0       not attached  drained" in l4lb(lb1, "status")


def test_the_host_does_not_see_the_traffic(lab: Lab, lb1: Host) -> None:
    """Neither its firewall nor whoever captures there, as README.md says."""
    everything = 3
    chain = "type filter hook prerouting priority -300"
    refuse = f"table ip l4lb {{ chain first {{ {chain}; ip daddr {VIP} drop; }}; }}"
    lb1.run(["nft", "-f", "-"], input=refuse)
    try:
        with lb1.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(everything)) as capture:
            capture.bind(("eth0", everything))
            capture.setblocking(False)
            assert {who(lab, 40000 + number) for number in range(10)} <= {"web1", "web2"}
            lab.host("client").run(["ping", "-c", "1", lb1.address])
            frames = list(read(capture))
    finally:
        lb1.run(["nft", "delete", "table", "ip", "l4lb"])
    assert any(socket.inet_aton(lb1.address) in frame for frame in frames)
    assert not any(socket.inet_aton(VIP) in frame for frame in frames)


def read(capture: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield capture.recv(2048)


def test_status_tells_what_only_another_run_follows(lb1: Host) -> None:
    """It says what, and what to do; and a run does it."""
    assert json.loads(l4lb(lb1, "status", "--json"))["eth0"]["outdated"] == []
    lb1.ip([f"route add {WEB['web1']} dev eth0 mtu 1400"])
    try:
        change = f"MTU of the route to {WEB['web1']} none -> 1400"
        last = l4lb(lb1, "status", code=3).splitlines()[-1]
        assert last == f"eth0: {change}; apply the configuration again"
        assert json.loads(l4lb(lb1, "status", "--json", code=3))["eth0"]["outdated"] == [change]
        assert l4lb(lb1, "apply", "--check", "-", given=DEPLOYED, code=3) == f"eth0: {change}\n"
        assert l4lb(lb1, "apply", "-", given=DEPLOYED) == f"eth0: {change}\n"
        assert l4lb(lb1, "apply", "-", given=DEPLOYED) == "eth0: nothing to change\n"
        l4lb(lb1, "status")
    finally:
        lb1.ip([f"route delete {WEB['web1']} dev eth0"])
    assert "1400 -> none" in l4lb(lb1, "status", code=3)
    l4lb(lb1, "apply", "-", given=DEPLOYED)
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    last = l4lb(lb1, "status", code=3).splitlines()[-1]
    assert last == "eth0: net.ipv4.conf.lo.forwarding is 0; apply the configuration again"


def test_stats(lab: Lab, lb1: Host) -> None:
    answered = who(lab, 21000)
    found = json.loads(l4lb(lb1, "stats", "--interval", "0", "--json", "eth0"))
    (web,) = found["eth0"]["services"]
    (backend,) = (one for one in web["backends"] if one["address"] == WEB[answered])
    assert backend["packets"] > 0 and "packets_per_second" not in backend
    lines = l4lb(lb1, "stats", "--interval", "0.1").splitlines()
    assert lines[0] == "web on eth0 (native), 192.0.2.10 tcp 80"
    assert all(" pps )" in line for line in lines[1:])
    assert "eth0 has no such service, but web" in l4lb(lb1, "stats", "--service", "x", code=1)


def test_watching_through_a_pipe(lb1: Host) -> None:
    """Whoever reads may stop."""
    command = "l4lb stats --watch --interval 0.05 | head -9; echo ${PIPESTATUS[0]}"
    done = lb1.run(["bash", "-c", command])
    title = "web on eth0 (native), 192.0.2.10 tcp 80"
    assert [line == title for line in done.stdout.splitlines()].count(True) == 2
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("\n141\n")
    assert done.stderr == ""


def test_watching_on_a_terminal(lb1: Host) -> None:
    """The table stays in place until Ctrl-C."""
    ours, theirs = pty.openpty()
    command = lb1.inside("stty", "rows", "4", "cols", "80")
    subprocess.run(command, stdin=theirs, check=True, env=ENVIRONMENT)
    with interruptible(
        lb1.inside("l4lb", "stats", "--watch", "--interval", "0.05"),
        env=ENVIRONMENT,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as running:
        os.close(theirs)
        seen = b""
        while seen.count(b"\x1b[H") < 4:
            seen += os.read(ours, 4096)
        running.send_signal(signal.SIGINT)
        assert running.stderr
        assert running.stderr.read() == b""
    os.close(ours)
    assert running.returncode == 0
    first, second, *_ = re.split(r"\x1b\[H", seen.decode())[1:]
    assert first.replace("\x1b[K", "").splitlines()[0].startswith("web on eth0")
    assert "… 2 more lines" in second, "as many as fit"
