# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a balancer, on a terminal or not."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator

from lab import Lab
from lab.host import ENVIRONMENT, Host
from tests.fleet.rig.command import DEPLOYED, l4lb, service, who
from tests.fleet.rig.services import VIP, WEB
from tests.terminal import terminal


def test_status(lb1: Host) -> None:
    more = service("web3", name="drained", port=81)
    more["backends"][0]["state"] = "drained"
    empty = service(name="empty", port=0)
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [service("web1"), more, empty]})
    assert l4lb(lb1, "status").splitlines() == [
        "drained on eth0 (native), 192.0.2.10 tcp 81",
        "  203.0.113.23  weight 1, drained",
        "empty on eth0 (native), 192.0.2.10 tcp every port",
        "  no backends",
        "web on eth0 (native), 192.0.2.10 tcp 80",
        "  203.0.113.21  weight 1, enabled",
    ]
    (name, state), *_others = json.loads(l4lb(lb1, "status", "--json")).items()
    assert (name, state["attached"], state["mode"]) == ("eth0", True, "native")
    assert [one["name"] for one in state["config"]["services"]] == ["drained", "empty", "web"]


def test_a_probe_sees_what_should_balance_and_does_not(lb1: Host) -> None:
    """With its pins, without them as after a reboot, and with another program in its place."""
    missing = "no balancer is attached to eth0"
    remedy = "; l4lb restore brings it back"
    assert l4lb(lb1, "status") and l4lb(lb1, "stats", "eth0")
    for damage in ("ip link set eth0 xdp off", "rm -r /sys/fs/bpf/l4lb"):
        lb1.run(["sh", "-ec", damage])
        assert "web on eth0 (not attached), 192.0.2.10" in l4lb(lb1, "status", code=4)
        (state,) = json.loads(l4lb(lb1, "status", "--json", code=4)).values()
        assert not state["attached"]
        assert l4lb(lb1, "stats", "eth0", code=4) == f"{missing}\n"
        assert l4lb(lb1, "stats", code=4) == f"{missing}{remedy}\n"
        assert l4lb(lb1, "stats", "--json", code=4) == f"{{}}\n{missing}{remedy}\n"
    l4lb(lb1, "restore")
    assert l4lb(lb1, "status") and l4lb(lb1, "stats")


def test_no_services_are_told_from_no_balancer(lb1: Host) -> None:
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": []})
    assert l4lb(lb1, "status") == l4lb(lb1, "stats") == "no services on eth0 (native)\n"
    l4lb(lb1, "remove", "eth0")
    assert l4lb(lb1, "status") == l4lb(lb1, "stats") == "This host does not balance.\n"


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


def test_any_terminal_will_do(lb1: Host) -> None:
    """One that has ASCII only, and one that has other letters than the name of a service."""
    named = {**DEPLOYED, "services": [service("web1", name="größe 網")]}
    l4lb(lb1, "apply", "-", given=named)
    ascii_only = ["env", "-i", "PATH=/usr/sbin:/usr/bin", "LC_ALL=C", "PYTHONIOENCODING=ascii"]
    for command in (["status"], ["stats", "--interval", "0"]):
        done = lb1.run([*ascii_only, "l4lb", *command])
        assert done.stdout.startswith("größe 網 on eth0 (native)") and not done.stderr
        heard = [*ascii_only, "/usr/bin/python3", "/usr/sbin/l4lb"]  # which -I does not hear
        done = lb1.run([*heard, *command])
        assert done.stdout.startswith("gr\\xf6\\xdfe \\u7db2 on eth0 (native)") and not done.stderr


def test_watching_through_a_pipe(lb1: Host) -> None:
    """Whoever reads may stop."""
    command = "l4lb top --interval 0.05 | head -9; echo ${PIPESTATUS[0]}"
    done = lb1.run(["bash", "-c", command])
    assert re.findall(r"^[\d:]{8} eth0 \(native\): ", done.stdout, re.MULTILINE)[1:]
    assert re.findall(r"^web +203\.0\.113\.21 .* enabled$", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("\n141\n")
    assert done.stderr == ""


def test_watching_as_a_program(lb1: Host) -> None:
    done = lb1.run(["bash", "-c", "l4lb top --interval 0.05 --json | head -2"])
    first, second = map(json.loads, done.stdout.splitlines())
    assert first.keys() == second.keys() == {"eth0"}
    (web,) = second["eth0"]["services"]
    assert all("packets_per_second" in one for one in web["backends"])
    assert "has no such service, but web" in l4lb(lb1, "top", "--service", "x", code=1)


def test_watching_what_comes_and_goes(lab: Lab, lb1: Host) -> None:
    """On a terminal, until Ctrl-C."""
    l4lb(lb1, "remove", "eth0")
    with terminal(lb1.inside("l4lb", "top", "--interval", "0.1"), ENVIRONMENT) as there:
        there.until(lambda lines: "This host does not balance." in lines)
        l4lb(lb1, "apply", "-", given=DEPLOYED)
        there.until(lambda lines: lines[2:] and lines[2].startswith("SERVICE "))
        answered = who(lab, 21001)
        lines = there.until(lambda lines: WEB[answered] in lines[3] and " 0 pps" not in lines[0])
        assert lines[-1].startswith("1-2 of 2, sorted by rate ")
        lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
        there.until(lambda lines: lines[1].startswith("no balancer is attached to eth0; "))
        there.press("\x03")
        assert there.end() == 0
