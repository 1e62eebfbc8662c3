# SPDX-License-Identifier: GPL-3.0-or-later
"""The l4lb command on a balancer of the laboratory, as the role installs it, and a reboot.

Every test finds the balancer that the role made, and leaves it as it was.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import CHECKOUT, ENVIRONMENT, Host
from tests.fleet.rig.balancers import state
from tests.fleet.rig.hosts import python
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import INVENTORY, changes
from tests.fleet.rig.services import VIP, WEB
from tests.fleet.there import looking
from tests.interruptible import interruptible

UNIT = CHECKOUT / "roles/l4lb/files/l4lb@.service"
CLIENT = "198.51.100.2"


def service(*backends: str, **options: Any) -> dict[str, Any]:
    """A service on the VIP, its backends by the server's name."""
    there = {"name": "web", "address": VIP, "port": 80, "protocol": "tcp"}
    return {**there, "backends": [{"address": WEB[name]} for name in backends], **options}


DEPLOYED = {"interface": "eth0", "services": [service("web1", "web2")]}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("c") as lab:
        route = ["ip", "route", "replace", f"{VIP}/32", "via", lab.host("lb1").address]
        lab.host("router").run(route)
        # A balancer here gets packets on the CPU that forwarded them, and each has its flow table.
        steer = "for queue in /sys/class/net/*/queues/rx-0; do echo 1 >$queue/rps_cpus; done"
        lab.host("router").run(["sh", "-ec", steer])
        yield lab


def play(lab: Lab, name: str, *arguments: str) -> int:
    """Run a playbook of the collection for lb1; returns how many tasks changed something."""
    return changes(lab, name, *arguments, **DEPLOYED)


def files(host: Host) -> list[str]:
    """What is installed."""
    paths = ["/usr/lib/l4lb", "/usr/sbin/l4lb", "/etc/l4lb", "/etc/systemd/system/l4lb@.service"]
    return host.run(["find", *paths], check=False).stdout.split()


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> Iterator[Host]:
    """lb1 with the balancer and the command, which go without a trace."""
    host = lab.host("lb1")
    assert files(host) == []
    assert play(lab, "deploy", "--check", "--diff") == 4
    assert files(host) == []
    assert play(lab, "deploy") == 4, "directory, file, link, balancer"
    assert play(lab, "deploy", "--diff") == 0
    assert "/usr/lib/l4lb/l4lb" in files(host)
    yield host
    assert play(lab, "remove", "--check") == play(lab, "remove") == 2
    assert play(lab, "remove") == 0
    assert files(host) == []


@pytest.fixture
def lb1(deployed: Host) -> Iterator[Host]:
    yield deployed
    l4lb(deployed, "apply", "-", given=DEPLOYED)


def l4lb(host: Host, *arguments: str, code: int = 0, given: Any = None) -> str:
    """What the command prints; errors are one line, without a traceback, and only then."""
    text = given if isinstance(given, str) else json.dumps(given)
    done = host.run(["l4lb", *arguments], check=False, input=text)
    assert done.returncode == code, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith("l4lb: warning")]
    if code == 1:
        assert len(errors) == 1 and errors[0].startswith("l4lb: ")
        return done.stdout + errors[0].removeprefix("l4lb: ")
    assert code or not errors, errors
    return done.stdout


def who(lab: Lab, port: int) -> str:
    """Which server answers the client from this source port."""
    curl = ["curl", "-sS", "--max-time", "5", "--local-port", str(port), f"http://{VIP}/"]
    return lab.host("client").run(curl).stdout.strip()


# Looking.


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


# Changing.


def test_apply(lab: Lab, lb1: Host) -> None:
    other = {**DEPLOYED, "services": [service("web2", "web3", scheduler="jhash")]}
    same = l4lb(lb1, "apply", "--check", "-", given=DEPLOYED)
    assert same == "eth0: nothing to change\n"
    plan = l4lb(lb1, "apply", "--check", "--diff", "-", given=other, code=3)
    assert "-  - {address: 203.0.113.21, weight: 1, state: enabled}" in plan.splitlines()
    assert "+  scheduler: jhash" in plan.splitlines()
    assert ", 1 backend added (203.0.113.23), 1 backend removed (203.0.113.21), " in plan
    assert l4lb(lb1, "apply", "--check", "-", given=DEPLOYED) == same, "nothing has changed yet"

    lb1.run(["sh", "-c", "cat >/root/wanted.json"], input=json.dumps(other))
    assert l4lb(lb1, "apply", "--diff", "/root/wanted.json") == plan
    lb1.run(["rm", "/root/wanted.json"])
    assert {who(lab, 21100 + n) for n in range(8)} == {"web2", "web3"}
    saved = json.loads(lb1.run(["cat", "/etc/l4lb/eth0.json"]).stdout)
    assert saved["config"]["services"][0]["scheduler"] == "jhash"


def test_remove_and_absent(lb1: Host) -> None:
    removed = l4lb(lb1, "remove", "eth0")
    assert removed.splitlines() == [
        "eth0: detach the program from eth0",
        "eth0: remove /sys/fs/bpf/l4lb/eth0",
        "eth0: remove /etc/l4lb/eth0.json",
    ]
    assert l4lb(lb1, "remove", "eth0") == "eth0: nothing to change\n"
    assert l4lb(lb1, "status") == l4lb(lb1, "stats") == "This host does not balance.\n"
    assert l4lb(lb1, "status", "--json") == l4lb(lb1, "stats", "--json") == "{}\n"
    assert l4lb(lb1, "restore") == "nothing is saved\n"
    flow = ("flow", "tcp", f"{CLIENT}:1", f"{VIP}:80")
    assert l4lb(lb1, *flow, code=1) == "this host does not balance"
    l4lb(lb1, "apply", "-", given=DEPLOYED)
    absent = {**DEPLOYED, "state": "absent"}
    assert l4lb(lb1, "apply", "-", given=absent) == removed


WRONG: dict[str, tuple[list[str], Any, str]] = {
    "no such file": (["apply", "/nowhere"], None, "/nowhere: No such file or directory"),
    "a directory": (["apply", "/etc"], None, "/etc: Is a directory"),
    "a device": (["apply", "/dev/zero"], None, "/dev/zero: not a regular file or a pipe"),
    "no end": (["apply", "/root/long"], None, "/root/long: longer than 32 MiB, as no configu"),
    "no end by a pipe": (["apply", "-"], " " * (33 << 20), "standard input: longer than 32 MiB"),
    "no JSON": (["apply", "-"], "{", "standard input is not JSON: Expecting property name"),
    "no text": (["apply", "/usr/bin/env"], None, "/usr/bin/env is not JSON: "),
    "no mapping": (["apply", "-"], [], "standard input: give a mapping of options"),
    "wrong option": (["apply", "-"], {"interfce": "eth0"}, "interfce: 'eth0': no such option"),
    "wrong state": (["apply", "-"], {"state": "on"}, "state: 'on': choose one of present, absent"),
    "wrong replace": (["apply", "-"], {"replace": 1}, "replace: 1: give true or false"),
    "wrong interface": (["apply", "-"], {"interface": "eth9"}, "interface: 'eth9': no such"),
    "nobody to remove": (["remove", "eth9"], None, "interface: 'eth9': no such interface"),
    "no name": (["remove", "a/b"], None, "interface: 'a/b': not an interface name"),
    "nobody to restore": (["restore", "eth9"], None, "eth9: interface: 'eth9': no such interface"),
    "no balancer": (["stats", "lo"], None, "no balancer is attached to lo"),
    "nothing to watch": (["stats", "--watch", "--interval", "0"], None, "--interval: 0.0: --watch"),
    "no endpoint": (["flow", "tcp", "2001:db8::1:80", f"{VIP}:80"], None, "CLIENT:PORT: '2001:"),
    "no port": (["flow", "tcp", f"{CLIENT}:1", f"{VIP}:65536"], None, f"VIP:PORT: '{VIP}:65536'"),
    "two families": (["flow", "tcp", "[2001:db8::1]:1", f"{VIP}:80"], None, "source: '2001:db8"),
}


@pytest.mark.parametrize(("arguments", "given", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input(deployed: Host, arguments: list[str], given: Any, message: str) -> None:
    deployed.run(["truncate", "--size=100G", "/root/long"])
    assert message in l4lb(deployed, *arguments, given=given, code=1)
    deployed.run(["rm", "/root/long"])


def test_a_pipe(deployed: Host) -> None:
    told = deployed.run(
        ["bash", "-c", "l4lb apply --check <(sleep 0.1; cat)"], input=json.dumps(DEPLOYED)
    )
    assert told.stdout == "eth0: nothing to change\n"


@pytest.mark.parametrize("arguments", [[], ["x"], ["stats", "--interval", "-1"], ["remove"]])
def test_wrong_usage(deployed: Host, arguments: list[str]) -> None:
    l4lb(deployed, *arguments, code=2)


@pytest.mark.parametrize("command", ["status", "stats", "apply", "restore", "remove", "flow"])
def test_help(deployed: Host, command: str) -> None:
    top = l4lb(deployed, "--help")
    assert f"\n    {command} " in top and "exit codes:" in top
    assert "usage: l4lb " + command in l4lb(deployed, command, "--help")


def test_no_root(deployed: Host) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "l4lb"]
    flow = ["flow", "tcp", f"{CLIENT}:1", f"{VIP}:80"]
    for arguments in (["status"], ["stats"], ["restore"], ["remove", "eth0"], flow):
        done = deployed.run([*as_nobody, *arguments], check=False)
        assert done.returncode == 1
        assert re.fullmatch(r"l4lb: root is needed .* sudo\n", done.stderr)


def test_no_bcc(lb1: Host) -> None:
    """All works but what must be compiled."""
    folder = "/usr/lib/python3/dist-packages/bcc"
    lb1.run(["mount", "-t", "tmpfs", "none", folder])
    try:
        jhash = {**DEPLOYED, "services": [service("web1", scheduler="jhash")]}
        for command in (["apply", "-"], ["flow", "tcp", f"{CLIENT}:1", f"{VIP}:80"]):
            assert "bcc is not installed" in l4lb(lb1, *command, given=jhash, code=1)
        assert l4lb(lb1, "restore") == "eth0: nothing to change\n"
        l4lb(lb1, "status")
    finally:
        lb1.run(["umount", folder])


def test_ctrl_c(deployed: Host) -> None:
    with interruptible(
        deployed.inside("l4lb", "apply", "-"),
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin and running.stderr
        running.stdin.write(" " * (1 << 20))  # more than a pipe holds: it is being read
        running.stdin.flush()
        while "pipe_read" not in Path(f"/proc/{running.pid}/wchan").read_text():
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.stderr.read() == "l4lb: interrupted\n"
    assert running.returncode == 130


# Asking.


def look(host: Host) -> Any:
    """Everything that a packet could leave in the maps."""
    return python(host, looking.left_by_packets)


def owner(host: Host, slot: int) -> int:
    """Number of the backend that has a slot of the only service's lookup table."""
    return int(python(host, looking.owner, slot=slot))


def flow(host: Host, protocol: str, source: str, destination: str, code: int = 0) -> Any:
    return json.loads(l4lb(host, "flow", "--json", protocol, source, destination, code=code))


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        ({}, (22001, 22002)),
        ({"scheduler": "jhash"}, (22003, 22004)),
        ({"affinity": "source", "flow_table": False}, (22005, 22006)),
    ],
)
def test_flow_foresees_who_answers(
    lab: Lab, lb1: Host, options: dict[str, Any], ports: tuple[int, ...]
) -> None:
    everyone = {**DEPLOYED, "services": [service(*WEB, **options)]}
    l4lb(lb1, "apply", "-", given=everyone)
    for port in ports:
        before = look(lb1) if options.get("flow_table", True) else None
        found = flow(lb1, "tcp", f"{CLIENT}:{port}", f"{VIP}:80")
        if before:
            assert look(lb1) == before, "it leaves no trace"
        assert found["service"] == "web" and found["remembered"] == []
        assert found["new"]["fate"] == "sent" and not found["other_sources"]
        assert found["new"]["next_hop"]["interface"] == "eth0"
        assert owner(lb1, found["slot"]) == found["new"]["backend"]["number"]
        assert WEB[who(lab, port)] == found["new"]["backend"]["address"]


def test_flow_knows_what_is_remembered(lab: Lab, lb1: Host) -> None:
    port = 22101
    first = who(lab, port)
    other = "web2" if first == "web1" else "web1"
    drained = service("web1", "web2")
    for backend in drained["backends"]:
        backend["state"] = "drained" if backend["address"] == WEB[first] else "enabled"
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [drained]})
    before = look(lb1)
    found = flow(lb1, "tcp", f"{CLIENT}:{port}", f"{VIP}:80")
    assert look(lb1) == before, "it leaves no trace"
    (remembered,) = found["remembered"]
    assert remembered["backend"]["address"] == WEB[first]
    assert remembered["backend"]["state"] == "drained"
    assert found["new"]["backend"]["address"] == WEB[other]
    told = l4lb(lb1, "flow", "tcp", f"{CLIENT}:{port}", f"{VIP}:80")
    assert f"because:    CPU {remembered['cpu']} remembers the flow\n" in told
    assert f"next hop:   {found['new']['next_hop']['mac'][:-2]}" in told
    assert re.search(rf"^a new flow: to {WEB[other]} \(.*: the only one for new flows$", told, re.M)


MAC = "52:54:00:00:00:0b"


@pytest.mark.parametrize(
    ("options", "route", "expected", "told"),
    [
        ({}, 0, {"bytes": 1500, "of": "interface"}, "1500, of eth0"),
        ({}, 1400, {"bytes": 1400, "of": "route"}, "1400, of the route"),
        ({}, 9000, {"bytes": 1500, "of": "interface"}, "1500, of eth0"),
        ({"mtu": 1300}, 1400, {"bytes": 1300, "of": "option"}, "1300, of the backend's option"),
        ({"mtu": 1450}, 1400, {"bytes": 1400, "of": "route"}, "1400, of the route"),
        ({"mac": MAC}, 1400, {"bytes": 1500, "of": "interface"}, "1500, of eth0"),
        (
            {"mac": MAC, "mtu": 1300},
            0,
            {"bytes": 1300, "of": "option"},
            "1300, of the backend's option",
        ),
    ],
)
def test_flow_says_how_long_packets_may_be(
    lb1: Host, options: dict[str, Any], route: int, expected: dict[str, Any], told: str
) -> None:
    web = service()
    web["backends"] = [{"address": WEB["web1"], **options}]
    if route:
        lb1.ip([f"route add {WEB['web1']} dev eth0 mtu {route}"])
    try:
        l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [web]})
        ends = ("tcp", f"{CLIENT}:22201", f"{VIP}:80")
        assert flow(lb1, *ends)["new"]["mtu"] == expected
        assert f"MTU:        {told}\n" in l4lb(lb1, "flow", *ends)
    finally:
        if route:
            lb1.ip([f"route delete {WEB['web1']} dev eth0"])


def test_flow_to_nobody(lb1: Host) -> None:
    nobody = service(name="nobody", port=0, address="2001:db8:ffff::10", protocol="udp")
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "services": [service("web1"), nobody]})
    assert flow(lb1, "tcp", f"{CLIENT}:1", f"{VIP}:81") == {
        "interface": "eth0",
        "service": None,
        "slot": None,
        "new": {"fate": "passed"},
        "remembered": [],
        "other_sources": False,
    }
    dropped = ("flow", "udp", "[2001:db8:1::2]:1", "[2001:db8:ffff::10]:53")
    found = l4lb(lb1, *dropped)
    assert "nobody on eth0, 2001:db8:ffff::10 udp every port\n" in found
    assert "packets:    dropped: no_backend. The service has no enabled backend" in found
    assert "because:    nobody takes new flows; no CPU remembers the flow\n" in found


def test_flow_that_would_come_back(lb1: Host) -> None:
    """As the program asks for a packet that comes in by the interface."""
    forwarding = "net.ipv4.conf.eth0.forwarding"
    for value, fate in ((0, "passes to the host"), (1, "dropped: no_service. To a service's")):
        lb1.run(["sysctl", "-qw", f"{forwarding}={value}"])
        told = l4lb(lb1, "flow", "udp", f"{CLIENT}:1", f"{VIP}:81")
        assert f"service:    none on eth0\npackets:    {fate}" in told
    lb1.run(["sysctl", "-qw", f"{forwarding}=0"])


@pytest.fixture
def another_mac(lab: Lab, lb1: Host) -> Iterator[Callable[[], tuple[str, str]]]:
    """Gives the interface another MAC address; returns the old one and the new one. In the end it
    has the old one."""
    path = "/sys/class/net/eth0/address"
    old, new = lb1.run(["cat", path]).stdout.strip(), "02:00:00:00:00:77"

    def change() -> tuple[str, str]:
        lb1.ip([f"link set eth0 address {new}"])
        return old, new

    yield change
    lb1.ip([f"link set eth0 address {old}"])
    lab.host("router").run(["ip", "neighbour", "flush", "dev", "servers"])


def test_another_mac_address(lb1: Host, another_mac: Callable[[], tuple[str, str]]) -> None:
    given = {**DEPLOYED, "gateway_mac": "02:00:00:00:00:99"}
    l4lb(lb1, "apply", "-", given=given)
    old, new = another_mac()
    change = f"own MAC addresses: {old} -> {new}"
    asked = ("flow", "tcp", f"{CLIENT}:1", f"{VIP}:80")

    assert f"\neth0: {change}; apply the configuration again\n" in l4lb(lb1, "status", code=3)
    assert json.loads(l4lb(lb1, "status", "--json", code=3))["eth0"]["outdated"] == [change]
    because = "the interface had another MAC address at the last run; apply the configuration again"
    told = l4lb(lb1, *asked)
    assert told.endswith(f"\npackets:    pass to the host\nbecause:    {because}\n")

    assert l4lb(lb1, "apply", "--check", "-", code=3, given=given) == f"eth0: {change}\n"
    assert l4lb(lb1, "apply", "-", given=given) == f"eth0: {change}\n"
    assert l4lb(lb1, "apply", "-", given=given) == "eth0: nothing to change\n"
    assert "apply the configuration again" not in l4lb(lb1, "status")
    assert "packets:    to 203.0.113.2" in l4lb(lb1, *asked)


def test_devices_on_the_interface(lb1: Host) -> None:
    """A bridge or a macvlan that comes is known from the next run on."""
    mac = "00:00:5e:00:01:33"
    lb1.ip([f"link add vrrp.51 link eth0 address {mac} type macvlan"])
    try:
        told = l4lb(lb1, "apply", "-", given=DEPLOYED)
        assert re.fullmatch(rf"eth0: own MAC addresses: (\S+) -> \1, {mac}\n", told)
        assert l4lb(lb1, "apply", "-", given=DEPLOYED) == "eth0: nothing to change\n"
        lb1.ip(["link delete vrrp.51"])
        lb1.ip([f"link add vrrp.51 index 4711 link eth0 address {mac} type macvlan"])
        devices = "other devices receive what comes in by eth0"
        assert l4lb(lb1, "apply", "-", given=DEPLOYED) == f"eth0: {devices}\n"
    finally:
        lb1.ip(["link delete vrrp.51"])


def test_more_own_mac_addresses_than_fit(lb1: Host) -> None:
    def macvlan(number: int) -> str:
        return f"link add many{number} link eth0 address 02:00:00:00:01:{number:02x} type macvlan"

    lb1.ip([macvlan(number) for number in range(64)])
    try:
        told = l4lb(lb1, "apply", "-", code=1, given={**DEPLOYED, "services": []})
        assert told.startswith(
            "own_macs: '65 addresses': at most 64 fit, with those of eth0 itself"
        )
    finally:
        lb1.ip([f"link delete many{number}" for number in range(64)])


# Failures.


@contextmanager
def mounted(host: Host, *mount: str) -> Iterator[None]:
    """Something else in the place of /etc/l4lb, or on it."""
    host.run(["mount", *mount, "/etc/l4lb"])
    try:
        yield
    finally:
        host.run(["umount", "/etc/l4lb"])


@contextmanager
def refusing(lab: Lab) -> Iterator[None]:
    """The driver refuses programs in native mode, as frames may be too long for one."""
    router = lab.host("router")
    router.ip(["link set lb1 mtu 9000"])
    try:
        yield
    finally:
        router.ip(["link set lb1 mtu 1500"])


OTHER = {"interface": "eth0", "services": [service("web2", "web3")]}


def test_an_apply_whose_mode_is_refused(lab: Lab, lb1: Host) -> None:
    """With other backends in the same run, with and without other features."""
    generic = {**DEPLOYED, "mode": "generic"}
    l4lb(lb1, "apply", "-", given=generic)
    for port, scheduler in ((24000, "maglev"), (24010, "jhash")):
        services = [service("web2", "web3", scheduler=scheduler)]
        native = {**OTHER, "mode": "native", "services": services}
        before = state(lb1)
        with refusing(lab):
            told = l4lb(lb1, "apply", "-", given=native, code=1)
        assert told == "attach to eth0 in mode native: Numerical result out of range"
        assert state(lb1) == before
        assert {who(lab, port + n) for n in range(8)} == {"web1", "web2"}
    assert l4lb(lb1, "apply", "-", given=generic) == "eth0: nothing to change\n"


def test_an_apply_that_cannot_be_saved(lab: Lab, lb1: Host) -> None:
    before = state(lb1)
    with mounted(lb1, "-o", "bind,ro", "/etc/l4lb"):
        told = l4lb(lb1, "apply", "-", given=OTHER, code=1)
    assert told == "write /etc/l4lb/eth0.json.new: Read-only file system"
    assert state(lb1) == before
    assert {who(lab, 24100 + n) for n in range(8)} == {"web1", "web2"}


def test_a_removal_that_fails(lab: Lab, lb1: Host) -> None:
    """On a disk that is read-only, and with a pin that somebody keeps."""
    before = state(lb1)
    with mounted(lb1, "-o", "bind,ro", "/etc/l4lb"):
        told = l4lb(lb1, "remove", "eth0", code=1)
    assert told == "remove /etc/l4lb/eth0.json: Read-only file system"
    assert state(lb1) == before

    lb1.run(["mkdir", "/sys/fs/bpf/l4lb/eth0/kept"])
    told = l4lb(lb1, "remove", "eth0", code=1)
    lb1.run(["rmdir", "/sys/fs/bpf/l4lb/eth0/kept"])
    assert told == "remove /sys/fs/bpf/l4lb/eth0: Is a directory"
    assert state(lb1) == before
    assert {who(lab, 24200 + n) for n in range(8)} == {"web1", "web2"}


def test_a_restore_whose_mode_is_refused(lab: Lab, lb1: Host) -> None:
    """After a reboot. There is a balancer as soon as the driver takes the program."""
    l4lb(lb1, "apply", "-", given={**DEPLOYED, "mode": "native"})
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    lb1.run(["sh", "-c", "for n in 1 2; do ip neigh del 203.0.113.2$n dev eth0; done"])
    before = state(lb1)
    with refusing(lab):
        told = l4lb(lb1, "restore", code=1)
    assert told == "eth0: attach to eth0 in mode native: Numerical result out of range"
    assert state(lb1) == before
    l4lb(lb1, "restore")
    assert {who(lab, 24300 + n) for n in range(8)} == {"web1", "web2"}


# A reboot.


def test_restore_of_nothing(lb1: Host) -> None:
    """Whoever removes a balancer by the command need not know of the unit."""
    assert l4lb(lb1, "restore", "lo") == "lo: nothing is saved\n"
    assert l4lb(lb1, "remove", "eth0")
    assert l4lb(lb1, "restore", "eth0") == "eth0: nothing is saved\n"


def test_restore(lab: Lab, lb1: Host) -> None:
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    lb1.run(["sh", "-c", "for n in 1 2; do ip neigh del 203.0.113.2$n dev eth0; done"])
    assert "eth0       not attached  web" in l4lb(lb1, "status")
    assert "eth0: compile and load the program\n" in l4lb(lb1, "restore", "eth0")
    assert {who(lab, 23000 + n) for n in range(8)} == {"web1", "web2"}
    assert l4lb(lb1, "restore") == "eth0: nothing to change\n"
    assert play(lab, "deploy") == 0


def test_restore_goes_on_after_an_error(lb1: Host) -> None:
    lb1.run(["sh", "-c", "echo nonsense >/etc/l4lb/a.json"])
    told = l4lb(lb1, "restore", code=1)
    lb1.run(["rm", "/etc/l4lb/a.json"])
    assert told.startswith("eth0: nothing to change\na: /etc/l4lb/a.json is not readable")


def test_restore_waits_for_nobody(lb1: Host) -> None:
    lb1.run(["mkfifo", "/etc/l4lb/a.json"])
    told = l4lb(lb1, "restore", code=1)
    assert "\neth0       native " in l4lb(lb1, "status")
    lb1.run(["rm", "/etc/l4lb/a.json"])
    assert told.startswith("eth0: nothing to change\na: /etc/l4lb/a.json: not a regular file; ")


def test_restore_as_the_unit_does(lab: Lab, lb1: Host) -> None:
    """With the capabilities that it has, and a system that is read-only."""
    (capabilities,) = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    bounds = ",".join(["-all", *(f"+{name[4:].lower()}" for name in capabilities.split())])
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    command = f"""
mount -o remount,bind,ro /
exec setpriv --bounding-set={bounds} --no-new-privs l4lb restore -- eth0
"""
    lb1.run(["unshare", "--mount", "sh", "-ec", command])
    assert {who(lab, 23100 + n) for n in range(8)} == {"web1", "web2"}
    assert l4lb(lb1, "restore") == "eth0: nothing to change\n"


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="cannot run here: there is no systemd-analyze"
)
def test_the_unit(deployed: Host) -> None:
    deployed.run(["sh", "-c", "cat >/root/l4lb@.service"], input=UNIT.read_text())
    done = deployed.run(["systemd-analyze", "verify", "--man=no", "/root/l4lb@.service"])
    assert done.stdout + done.stderr == ""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20"]
    deployed.run([*command, "/root/l4lb@.service"])  # fails if it is worse than 2.0
    deployed.run(["rm", "/root/l4lb@.service"])


# What the role does.


def test_another_interface_keeps_the_command(lab: Lab, lb1: Host) -> None:
    lb1.run(["sh", "-ec", "ip link add veth9 type veth peer name veth8; ip link set veth9 up"])
    l4lb(lb1, "apply", "-", given={"interface": "veth9", "services": [], "mode": "generic"})
    assert play(lab, "remove") == 1
    assert json.loads(l4lb(lb1, "status", "--json")).keys() == {"veth9"}
    l4lb(lb1, "remove", "veth9")
    lb1.run(["ip", "link", "del", "veth9"])
    assert play(lab, "deploy") == 1


def test_the_inventory_is_what_this_file_says() -> None:
    inventory = yaml.safe_load(INVENTORY.read_text())
    servers = inventory["all"]["children"]["webservers"]["hosts"]
    assert {name: host["ansible_host"] for name, host in servers.items()} == WEB
