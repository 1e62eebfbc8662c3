# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role sets up for a reboot, with a systemd that boots inside a host of the laboratory."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import Lab
from lab.host import CHECKOUT, ENVIRONMENT, Host
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import tasks

SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = [CGROUPS]
if not (CGROUPS / "cgroup.controllers").exists():  # version 1, beside which is one of version 2
    HIERARCHIES = [CGROUPS / "systemd", CGROUPS / "unified"]

# Of the machine's services none is wanted. There is no udev, which would see the machine's devices;
# what it would say of the interfaces is written down in its place.
BOOT = """
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /tmp/dev /run/udev/data /run/udev/tags/systemd
mount -t tmpfs -o mode=755 tmpfs /tmp/dev
mkdir /tmp/dev/pts /tmp/dev/shm
for name in null zero full random urandom tty; do
    touch /tmp/dev/$name
    mount --bind /dev/$name /tmp/dev/$name
done
ln -s /proc/self/fd /tmp/dev/fd
ln -s pts/ptmx /tmp/dev/ptmx
mount -t devpts -o newinstance,ptmxmode=0666 devpts /tmp/dev/pts
mount --move /tmp/dev /dev
if [ "$VERSION" = 2 ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd,xattr cgroup /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
fi
for folder in /lib/systemd/system/*.wants; do
    mount -t tmpfs tmpfs $folder
done
touch /run/udev/control
for link in /sys/class/net/*; do
    number=$(cat $link/ifindex)
    touch /run/udev/tags/systemd/n$number
    alias=SYSTEMD_ALIAS=/sys/subsystem/net/devices/${link##*/}
    printf '%s\\n' I:1 E:$alias G:systemd Q:systemd V:1 >/run/udev/data/n$number
done
export container=lab
exec "$SYSTEMD" --system --unit=multi-user.target --show-status=0 --log-target=null
"""
START = """
for folder in $FOLDERS; do echo $$ >$folder/cgroup.procs; done
exec unshare --cgroup --ipc $ENTER unshare --mount --pid --fork --kill-child sh -ec "$BOOT"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if not SYSTEMD.exists():
        pytest.skip("cannot run here: there is no systemd")
    with laboratory("b") as lab:
        for name in ("lb1", "lb2"):
            lab.host(name).run(["sh", "-c", "rm -rf /etc/systemd/system/*"])
        yield lab


@pytest.fixture
def lb1(lab: Lab) -> Host:
    return lab.host("lb1")


@contextmanager
def booted(host: Host) -> Iterator[list[str]]:
    """Boot; yields the beginning of a command that runs in it. In the end the power fails."""
    folders = [hierarchy / f"l4lb{os.getpid()}-{host.name}" for hierarchy in HIERARCHIES]
    try:
        for folder in folders:
            folder.mkdir()
    except OSError as e:
        pytest.skip(f"cannot run here: {e}, and systemd needs a cgroup")
    variables = {
        **ENVIRONMENT,
        "BOOT": BOOT,
        "ENTER": shlex.join(host.inside()),
        "FOLDERS": " ".join(map(str, folders)),
        "SYSTEMD": str(SYSTEMD),
        "VERSION": "2" if HIERARCHIES == [CGROUPS] else "1",
    }
    boot = subprocess.Popen(["sh", "-ec", START], env=variables, stdin=subprocess.DEVNULL)
    try:
        init = ""
        while not init:
            assert boot.poll() is None
            init = Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text().strip()
            time.sleep(0.05)
        namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
        inside = ["nsenter", f"--target={init}", *namespaces, "--"]
        while run(inside, "systemctl", "is-system-running") not in ("running", "degraded"):
            assert boot.poll() is None
            time.sleep(0.05)
        yield inside
    finally:
        boot.kill()  # and with it all that systemd runs
        boot.wait()
        for folder in folders:
            remove(folder)


def remove(cgroup: Path) -> None:
    """Once its last process has gone."""
    for folder in [path for path in cgroup.iterdir() if path.is_dir()]:
        remove(folder)
    while (cgroup / "cgroup.procs").read_text():
        time.sleep(0.05)
    cgroup.rmdir()


def run(inside: list[str], *command: str) -> str:
    """What a command writes, whatever its exit code."""
    done = subprocess.run(
        [*inside, *command],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def play(inside: list[str], name: str, *arguments: str, failed: int = 0) -> int:
    """Run a playbook of the collection; returns how many tasks changed something."""
    backend = {"address": "203.0.113.21"}
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    variables = {
        "ansible_python_interpreter": "/usr/bin/python3",
        "l4lb_hosts": "localhost",
        "l4lb_interface": "eth0",
        "l4lb_announce": True,
        "l4lb_services": [{**service, "backends": [backend]}],
    }
    playbook = Path(sys.executable).with_name("ansible-playbook")
    command = [str(playbook), f"xdp.l4lb.{name}", "-i", "localhost,", "-c", "local", *arguments]
    command += ["-e", json.dumps(variables)]
    output = run(inside, "env", f"--chdir={CHECKOUT}", "ANSIBLE_NOCOLOR=1", *command)
    assert f"failed={failed} " in output, output
    (changed,) = re.findall(r"changed=(\d+)", output)
    if name == "deploy" and changed == "0":
        assert len(tasks(output)) <= 10
    return int(changed)


@contextmanager
def reached(lab: Lab, booted: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Hosts that have booted, for Ansible: the variables of their inventory."""
    directory = lab.directory / "booted"
    kinds = {"net": "net", "uts": "uts", "mnt": "mnt", "pid": "pid"}
    try:
        for name, inside in booted.items():
            (init,) = (word.split("=")[1] for word in inside if word.startswith("--target="))
            (directory / name).mkdir(parents=True)
            for kind, file in kinds.items():
                (directory / name / file).touch()
                mount = ["mount", "--bind", f"/proc/{init}/ns/{kind}", str(directory / name / file)]
                subprocess.run(mount, check=True)
        yield {
            "ansible_connection": "xdp.l4lb.netns",
            "ansible_netns_lab": f"{lab.name}/booted",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
    finally:
        for mounted in directory.glob("*/*"):
            subprocess.run(["umount", str(mounted)], check=True)
        shutil.rmtree(directory)


def when(inside: list[str], unit: str, moment: str) -> int:
    """A moment of a unit's life, in microseconds; 0 if it has not come."""
    shown = run(inside, "systemctl", "show", "--value", f"--property={moment}Monotonic", unit)
    return int(shown)


def await_repair(inside: list[str], what: str) -> None:
    """Until the agent says that it has repaired this last."""
    deadline = time.monotonic() + 60
    shown = ""
    while not re.search(f"^The agent has repaired eth0 .*{re.escape(what)}", shown, re.MULTILINE):
        assert time.monotonic() < deadline, shown + run(inside, "journalctl", "-u", "l4lb-agent")
        time.sleep(0.2)
        shown = run(inside, "l4lb", "status")


def await_route(inside: list[str], route: str) -> None:
    """Until the agent announces a VIP."""
    deadline = time.monotonic() + 60
    while run(inside, "ip", "route", "show", "table", "214") != route:
        assert time.monotonic() < deadline, run(inside, "l4lb", "status")
        time.sleep(0.2)


def test_a_reboot(lb1: Host) -> None:
    with booted(lb1) as inside:
        predicted = play(inside, "deploy", "--check")
        # command, agent and its file, unit and its file, balancer, start
        assert play(inside, "deploy") == predicted == 9
        assert play(inside, "deploy") == 0
        assert run(inside, "systemctl", "is-active", "l4lb@eth0") == "active"
        assert run(inside, "systemctl", "is-enabled", "l4lb@eth0") == "enabled"
        assert run(inside, "systemctl", "is-active", "l4lb-agent") == "active"
        shown = run(inside, "systemctl", "show", "--value", "--property=StatusText", "l4lb-agent")
        assert shown == "0 backends checked, 0 unhealthy"

    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"])
    lb1.run(["ip", "neigh", "del", "203.0.113.21", "dev", "eth0"])

    with booted(lb1) as inside:
        assert run(inside, "systemctl", "is-active", "l4lb@eth0") == "active"
        balances = when(inside, "l4lb@eth0.service", "ActiveEnterTimestamp")
        online = when(inside, "network-online.target", "ActiveEnterTimestamp")
        assert 0 < balances <= online
        assert "web on eth0 (native), " in run(inside, "l4lb", "status")
        assert run(inside, "systemctl", "is-active", "l4lb-agent") == "active"
        assert play(inside, "deploy", "--skip-tags", "packages") == 0

        # Prometheus can ask the agent: another one, where a deploy says that it listens elsewhere.
        attached = 'l4lb_attached{interface="eth0"} 1'
        assert attached in run(inside, "curl", "-sS", "http://127.0.0.1:9942/metrics")
        elsewhere = ("--skip-tags", "packages", "-e", "l4lb_metrics_listen=[::1]:9943")
        assert play(inside, "deploy", *elsewhere, "--check") == 2
        assert play(inside, "deploy", *elsewhere) == 2, "unit and agent"
        assert attached in run(inside, "curl", "-sS", "http://[::1]:9943/metrics")
        assert "Failed to connect" in run(inside, "curl", "-sS", "http://127.0.0.1:9942/metrics")
        assert play(inside, "deploy", "--skip-tags", "packages") == 2

        # The agent repairs what somebody breaks, within the limits of its unit.
        run(inside, "sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0")
        run(inside, "ip", "neigh", "del", "203.0.113.21", "dev", "eth0")
        await_repair(inside, "set net.ipv4.conf.lo.forwarding to 1; have the kernel keep")
        assert run(inside, "sysctl", "-n", "net.ipv4.conf.lo.forwarding") == "1"
        assert run(inside, "ip", "neigh", "show", "nud", "all", "proto", "214") != ""
        assert play(inside, "deploy", "--skip-tags", "packages") == 0

        # So it does where all that it looked after was removed, and made anew.
        anew = "cp /etc/l4lb/eth0.json /root; l4lb remove eth0; l4lb apply /root/eth0.json"
        mac = run(inside, "cat", "/sys/class/net/eth0/address")
        run(inside, "sh", "-ec", anew)
        for address in ("02:00:00:00:77:03", mac):
            run(inside, "ip", "link", "set", "eth0", "address", address)
            await_repair(inside, f"-> {address}")
        assert play(inside, "deploy", "--skip-tags", "packages") == 0

        # At shutdown traffic is to go elsewhere, which ends with the next boot, or by hand.
        await_route(inside, "blackhole 192.0.2.10 proto 214 metric 214")
        run(inside, "systemctl", "stop", "l4lb-withdraw")
        assert run(inside, "ip", "route", "show", "table", "214") == ""
        assert "until the next boot" in run(inside, "l4lb", "status")
        run(inside, "systemctl", "start", "l4lb-withdraw")
        await_route(inside, "blackhole 192.0.2.10 proto 214 metric 214")
        ends = run(inside, "systemctl", "show", "--value", "--property=After", "l4lb-withdraw")
        assert {"l4lb-agent.service", "network.target", "bird.service"} <= {*ends.split()}
        assert "keepalived.service" in ends.split()

        # A removal that fails leaves what it found, and so it does for the next boot.
        run(inside, "mount", "--bind", "/etc/l4lb", "/etc/l4lb")
        run(inside, "mount", "-o", "remount,bind,ro", "/etc/l4lb")
        assert play(inside, "remove", failed=1) == 0
        assert "web on eth0 (native), " in run(inside, "l4lb", "status")
        assert run(inside, "systemctl", "is-enabled", "l4lb@eth0") == "enabled"
        run(inside, "umount", "/etc/l4lb")

        assert play(inside, "remove", "--check") == play(inside, "remove") == 5
        assert play(inside, "remove") == 0
        assert run(inside, "find", "/etc/systemd", "-name", "l4lb*") == ""


@contextmanager
def refusing(lab: Lab, name: str) -> Iterator[None]:
    """The driver of a balancer refuses programs in native mode: frames may be too long for one."""
    router = lab.host("router")
    router.ip([f"link set {name} mtu 9000"])
    try:
        yield
    finally:
        router.ip([f"link set {name} mtu 1500"])


SERVICE = {
    "name": "web",
    "address": "192.0.2.10",
    "port": 80,
    "protocol": "tcp",
    "backends": [{"address": "203.0.113.21"}],
}


def test_one_of_two_fails(lab: Lab, tmp_path: Path) -> None:
    """The other balances by then, and goes on doing so after a reboot."""
    hosts = {name: lab.host(name) for name in ("lb1", "lb2")}
    with booted(hosts["lb1"]) as lb1, booted(hosts["lb2"]) as lb2:
        with reached(lab, {"lb1": lb1, "lb2": lb2}) as variables, refusing(lab, "lb2"):
            balancers = {"hosts": {name: {} for name in hosts}, "vars": variables}
            inventory = tmp_path / "inventory.json"
            inventory.write_text(json.dumps({"all": {"children": {"balancers": balancers}}}))
            deploy = {
                "l4lb_interface": "eth0",
                "l4lb_mode": "native",
                "l4lb_serial": 2,
                "l4lb_services": [SERVICE],
            }
            done = subprocess.run(
                [
                    str(Path(sys.executable).with_name("ansible-playbook")),
                    *("xdp.l4lb.deploy", "-i", str(inventory), "-e", json.dumps(deploy)),
                ],
                cwd=CHECKOUT,
                env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
        print(done.stdout)
        assert re.search(r"lb1 .*failed=0", done.stdout)
        assert re.search(r"lb2 .*failed=1", done.stdout)
        assert "mode native" in done.stdout
        assert "web on eth0 (native), " in run(lb1, "l4lb", "status")
        assert run(lb2, "l4lb", "status") == "This host does not balance."
        for inside in (lb1, lb2):
            assert run(inside, "systemctl", "is-enabled", "l4lb@eth0") == "enabled"

    hosts["lb1"].run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    with booted(hosts["lb1"]) as lb1, booted(hosts["lb2"]) as lb2:
        assert "web on eth0 (native), " in run(lb1, "l4lb", "status")
        assert run(lb1, "systemctl", "is-active", "l4lb@eth0") == "active"
        # Nothing is saved there, which is no reason to fail.
        assert run(lb2, "systemctl", "is-active", "l4lb@eth0") == "active"
        assert run(lb2, "l4lb", "status") == "This host does not balance."
        for inside in (lb1, lb2):
            play(inside, "remove")


BALANCER = {
    "l4lb_interface": "eth0",
    "l4lb_source_address": "203.0.113.11",
    "l4lb_source_address6": "2001:db8:2::11",
    "l4lb_services": [
        {**SERVICE, "backends": [{"address": "203.0.113.12"}]},
        {
            **SERVICE,
            "name": "web6",
            "address": "2001:db8:ffff::10",
            "encapsulation": "gue",
            "backends": [{"address": "2001:db8:2::12"}],
        },
    ],
}
SERVERS = {
    "balancers": {"hosts": {"lb1": BALANCER}},
    "servers": {
        "hosts": {
            "here": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "/usr/bin/python3",
            }
        }
    },
}
PLAY = [{"hosts": "servers", "gather_facts": False, "roles": ["xdp.l4lb.l4lb_backend"]}]
FORGET = """
ip link set eth0 xdp off
for name in $(ls /sys/class/net | grep ^l4lb-); do ip link del $name; done
ip address del 192.0.2.10/32 dev lo
ip address del 2001:db8:ffff::10/128 dev lo
nft delete table inet l4lb_real_server
sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0
"""


def serve(inside: list[str], *arguments: str) -> int:
    """Run the role for servers on a host that has booted; how many tasks changed something."""
    for name, content in (("inventory", {"all": {"children": SERVERS}}), ("play", PLAY)):
        write = ["sh", "-c", 'printf %s "$1" >/root/$2', "sh", json.dumps(content), f"{name}.json"]
        run(inside, *write)
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "/root/play.json"]
    command += ["-i", "/root/inventory.json", *arguments]
    output = run(inside, "env", f"--chdir={CHECKOUT}", "ANSIBLE_NOCOLOR=1", *command)
    assert "failed=0 " in output, output
    (changed,) = re.findall(r"changed=(\d+)", output)
    return int(changed)


def test_a_real_server(lab: Lab) -> None:
    """It serves again after a reboot, by its unit alone, until it is removed."""
    host, unit = lab.host("lb2"), "l4lb-real-server"
    with booted(host) as inside:
        predicted = serve(inside, "--check")
        assert serve(inside) == predicted == 7, "command, unit file, unit, server, start"
        assert serve(inside) == 0
        assert run(inside, "systemctl", "is-active", unit) == "active"

    host.run(["sh", "-ec", FORGET])
    with booted(host) as inside:
        assert run(inside, "systemctl", "is-active", unit) == "active"
        assert run(inside, "l4lb", "real-server", "verify") == "every probe reached a socket"
        assert "differs" not in run(inside, "l4lb", "real-server", "status")
        assert serve(inside) == 0

        absent = ["-e", "l4lb_backend_setup=absent"]
        assert serve(inside, *absent, "--check") == serve(inside, *absent) == 3
        assert serve(inside, *absent) == 0
        found = run(inside, "sh", "-c", "find /etc /usr/sbin /usr/lib/l4lb -name 'l4lb*' 2>&-")
        assert found == ""
