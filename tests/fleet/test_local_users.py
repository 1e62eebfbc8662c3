# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What other users of a balancer leave about, for root to trip over: files, variables, names."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.lookup.command import build

from lab import Lab
from lab.host import CHECKOUT, Host
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import changes, playbook
from tests.fleet.rig.services import service, wanted

PUBLIC = "/tmp"  # noqa: S108 (which is the point)
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
COMMAND = "/usr/local/sbin/l4lb"
WANTED = wanted(service(1))
DEPLOYED = wanted(service(1, 2))
COMPILED = "eth0: compile and load the program\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("u") as lab:
        yield lab


@pytest.fixture(scope="module")
def installed(lab: Lab) -> Host:
    host = lab.host("lb1")
    command = host.inside("sh", "-ec", f"cat >{COMMAND}; chmod 755 {COMMAND}")
    subprocess.run(command, input=build(), check=True)
    return host


@pytest.fixture
def lb1(installed: Host) -> Iterator[Host]:
    """With the command, and no balancer."""
    yield installed
    installed.run([COMMAND, "remove", "eth0"])


def as_nobody(host: Host, script: str) -> None:
    """Run a script as a user without any rights."""
    host.run([*NOBODY, "sh", "-ec", script])


def apply(host: Host, *environment: str, directory: str = "/") -> str:
    """What root's command prints that compiles a program, in a directory and with variables."""
    command = ["env", f"--chdir={directory}", *environment, COMMAND, "apply", "-"]
    done = host.run(command, input=json.dumps(WANTED), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What a program is compiled with.

# A kernel that carries its headers itself, and nothing in /lib/modules.
CARRIED = """
mount -t tmpfs none /sys/kernel
cd "$(realpath /lib/modules/*/build)"
tar --create --file /sys/kernel/kheaders.tar.xz --xz --dereference include arch/*/include \
    --directory "$(realpath /lib/modules/*/source)" include arch/x86/include
mount -t tmpfs none /lib/modules
"""
PLANTED = "#error planted by a stranger"
HEADER = "uapi/linux/if_ether.h"


@pytest.fixture
def carried(lb1: Host) -> Iterator[Host]:
    lb1.run(["sh", "-ec", CARRIED], env={"PATH": "/usr/bin:/usr/sbin", "XZ_OPT": "-0"})
    try:
        yield lb1
    finally:
        lb1.run(["umount", "/lib/modules", "/sys/kernel"])


def test_headers_planted_in_tmp(carried: Host) -> None:
    """bcc takes /tmp/kheaders-RELEASE for what it has unpacked itself."""
    folder = f"{PUBLIC}/kheaders-{os.uname().release}"
    as_nobody(carried, f"mkdir -p {folder}/include/uapi/linux; echo >{folder}/include/kconfig.h")
    as_nobody(carried, f"echo '{PLANTED}' >{folder}/include/{HEADER}")
    before = carried.run(["find", PUBLIC, "/run/l4lb"], check=False).stdout
    try:
        assert COMPILED in apply(carried)
        assert carried.run(["find", PUBLIC, "/run/l4lb"], check=False).stdout == before
    finally:
        carried.run(["rm", "-r", folder])


def test_headers_planted_where_root_happens_to_be(lb1: Host) -> None:
    as_nobody(lb1, f"mkdir -p {PUBLIC}/here/uapi/linux; echo '{PLANTED}' >{PUBLIC}/here/{HEADER}")
    assert COMPILED in apply(lb1, directory=f"{PUBLIC}/here")


@pytest.mark.parametrize(
    "variable",
    [
        "CPATH=/tmp/path",
        "C_INCLUDE_PATH=/tmp/path",
        "ARCH=mips",
        "BCC_KERNEL_SOURCE=/tmp/path",
        "BCC_LINUX_VERSION_CODE=nonsense",
        "TMPDIR=/nowhere",
    ],
)
def test_variables(lb1: Host, variable: str) -> None:
    as_nobody(lb1, f"mkdir -p /tmp/path/uapi/linux; echo '{PLANTED}' >/tmp/path/{HEADER}")
    assert apply(lb1, variable) == apply_from_scratch(lb1)


def apply_from_scratch(host: Host) -> str:
    host.run([COMMAND, "remove", "eth0"])
    return apply(host)


# What Python imports.

HOSTILE = f"""
cd {PUBLIC}
mkdir modules home
for name in json argparse bcc pyroute2 usercustomize sitecustomize; do
    echo 'raise SystemExit("planted by a stranger")' >modules/$name.py
done
site=$(HOME=$PWD/home python3 -s -c 'import site; print(site.getusersitepackages())')
mkdir -p "$site"
cp modules/* "$site"
"""


@pytest.fixture(scope="module")
def hostile(installed: Host) -> None:
    as_nobody(installed, HOSTILE)


@pytest.mark.parametrize(
    "variable",
    [
        f"PYTHONPATH={PUBLIC}/modules",
        f"HOME={PUBLIC}/home",
        f"PYTHONUSERBASE={PUBLIC}/home/.local",
        f"PYTHONHOME={PUBLIC}/home",
        "PYTHONINSPECT=1",
    ],
)
@pytest.mark.usefixtures("hostile")
def test_modules_planted_for_python(lb1: Host, variable: str) -> None:
    assert COMPILED in apply(lb1, variable, directory=f"{PUBLIC}/modules")


def test_programs_planted_on_the_path(lb1: Host) -> None:
    """pyroute2 runs some when it is imported."""
    planted = f"""
mkdir {PUBLIC}/bin
cd {PUBLIC}/bin
for name in file gcc ld modprobe sh uname; do
    printf '#!/bin/sh\ntouch {PUBLIC}/planted\n' >$name
    chmod 755 $name
done
"""
    as_nobody(lb1, planted)
    assert COMPILED in apply(lb1, f"PATH={PUBLIC}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    assert lb1.run(["find", PUBLIC, "-name", "planted"]).stdout == ""


# What anyone may read in the log.

# A /dev of the host's own, in which something listens.
DEVICES = """
mkdir /run/dev
mount -t tmpfs -o mode=755 none /run/dev
for name in null zero full random urandom tty; do cp --archive /dev/$name /run/dev; done
ln --symbolic /proc/self/fd /run/dev/fd
mount --move /run/dev /dev
rmdir /run/dev
"""


@pytest.fixture
def syslog(installed: Host) -> Iterator[Path]:
    """Where the messages are that programs on lb1 write to the system's log, one a line."""
    installed.run(["sh", "-ec", DEVICES])
    installed.start("syslog", ["python3", f"{CHECKOUT}/tests/fleet/there/syslog.py"])
    try:
        while installed.run(["test", "-S", "/dev/log"], check=False).returncode:
            assert installed.running("syslog")
            time.sleep(0.05)
        yield installed.log("syslog")
    finally:
        installed.stop("syslog")
        installed.run(["umount", "/dev"])


def test_the_log_does_not_fill_with_sources(lab: Lab, syslog: Path) -> None:
    changes(lab, "deploy", **DEPLOYED)
    messages = [line for line in syslog.read_text().splitlines() if "Invoked with" in line]
    ours = [line for line in messages if "xdp.l4lb.l4lb: " in line]
    assert ours
    for line in ours:
        assert " interface=eth0 " in line and " sources=NOT_LOGGING_PARAMETER" in line
    assert max(map(len, messages)) < 6000
    changes(lab, "remove", **DEPLOYED)


SEEDS = ("12345678987654321", "98765432123456789")


def test_nobody_reads_the_seed(lab: Lab, installed: Host, syslog: Path) -> None:
    """Not in what Ansible shows, however much it is asked to, nor in the log, nor from the command;
    but that there is one, and another one later."""
    shown = []
    for seed in SEEDS:
        for arguments in (["--check", "--diff"], ["--diff"], []):
            variables = json.dumps({"l4lb_hash_seed": seed})
            shown.append(told(lab, "deploy", "-e", variables, "-vvv", *arguments))
    saved = installed.run(["cat", "/etc/l4lb/eth0.json"]).stdout
    assert f'"hash_seed": {SEEDS[-1]}' in saved
    assert installed.run(["stat", "-c%a", "/etc/l4lb/eth0.json"]).stdout == "600\n"
    assert '+hash_seed: "set (' in shown[0]
    assert '-hash_seed: "set (' in shown[3] and '+hash_seed: "set (' in shown[3]
    # the command, whose file is the user's own
    config = json.loads(saved)["config"]
    installed.run(["sh", "-c", "cat >/root/own.json"], input=json.dumps({**config, "hash_seed": 7}))
    shown += [
        installed.run(["l4lb", *command], check=False).stdout
        for command in (
            ["apply", "--check", "--diff", "/root/own.json"],
            ["apply", "--diff", "/root/own.json"],
            ["status", "--json"],
            ["status"],
            ["stats", "--json"],
        )
    ]
    assert '-hash_seed: "set (' in shown[6] and '+hash_seed: "set (5a1d)"' in shown[6]
    assert '"hash_seed": "set (5a1d)"' in shown[8]
    shown.append(syslog.read_text())
    assert "Invoked with" in shown[-1]
    for seed in SEEDS:
        assert [text for text in shown if seed in text] == []
    changes(lab, "remove", **DEPLOYED)


def told(lab: Lab, name: str, *arguments: str) -> str:
    """All that a playbook of the collection for lb1 prints."""
    done = playbook(lab, name, *arguments, **DEPLOYED)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# What a terminal is shown.

ESCAPE = "\x1b]0;x"
SHOWN = "\\x1b]0;x"


@pytest.fixture
def names(lb1: Host) -> Iterator[Host]:
    """Interfaces with names that a terminal would obey, and that are no text."""
    script = f"""
ip link add "{ESCAPE}" type veth peer name "{ESCAPE}'"
ip link add "$(printf 'a\\377')" type veth peer name "$(printf 'b\\377')"
"""
    lb1.run(["sh", "-ec", script])
    yield lb1
    lb1.run(["sh", "-ec", f"""ip link del "{ESCAPE}"; ip link del "$(printf 'a\\377')" """])


def test_names_that_a_terminal_would_obey(names: Host) -> None:
    def told(*arguments: str, given: Any = None) -> str:
        done = names.run([COMMAND, *arguments], input=json.dumps(given), check=False)
        assert done.returncode != 0
        assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())
        return done.stderr

    assert SHOWN in told("apply", "-", given={**WANTED, "interface": "eth9"})
    assert "\\udcff" in told("remove", "eth9")
    assert SHOWN in told("apply", "-", given={**WANTED, ESCAPE: 1})
    assert SHOWN in told("apply", f"/{ESCAPE}")
    assert SHOWN in told("stats", ESCAPE)
    assert SHOWN in told("status", ESCAPE), "an argument too many"
    assert SHOWN in told(ESCAPE)


def test_a_balancer_gets_such_a_name(names: Host) -> None:
    rename = 'ip link set "$1" down; ip link set "$1" name "$2"; ip link set "$2" up'
    veth9 = {"interface": "veth9", "services": [], "mode": "generic"}
    names.run(["sh", "-ec", rename, "", ESCAPE, "veth9"])
    names.run([COMMAND, "apply", "-"], input=json.dumps(veth9))
    names.run(["sh", "-ec", rename, "", "veth9", ESCAPE])
    assert f"no services on {SHOWN} (generic)\n" in names.run([COMMAND, "status"]).stdout
    assert f"detach the program from {SHOWN}\n" in names.run([COMMAND, "remove", "veth9"]).stdout


@pytest.mark.usefixtures("names")
def test_what_ansible_shows_of_such_names(lab: Lab) -> None:
    with pytest.raises(AssertionError) as failed:
        changes(lab, "deploy", "-e", "l4lb_interface=eth9", **DEPLOYED)
    told = str(failed.value)
    assert "Set l4lb_interface to one of" in told and SHOWN in told.replace("\\\\", "\\")
    assert "\x1b" not in told


# Where pins are.


@pytest.fixture
def open_to_all(lb1: Host) -> Iterator[Host]:
    """With a bpf file system as "mount -t bpf" makes it."""
    lb1.run(["mount", "-t", "bpf", "none", "/sys/fs/bpf"])
    try:
        yield lb1
    finally:
        lb1.run(["rm", "-rf", "/sys/fs/bpf/l4lb"])
        lb1.run([COMMAND, "remove", "eth0"])
        lb1.run(["umount", "/sys/fs/bpf"])


@pytest.mark.parametrize(
    "planted",
    [
        "mkdir -m 755 /sys/fs/bpf/l4lb",
        "mkdir -p /sys/fs/bpf/l4lb/eth0",
        f"ln -s {PUBLIC} /sys/fs/bpf/l4lb",
    ],
)
def test_someone_else_made_the_directory_for_pins(open_to_all: Host, planted: str) -> None:
    as_nobody(open_to_all, planted)
    for command in (["apply", "-"], ["status"], ["stats"], ["remove", "eth0"]):
        done = open_to_all.run([COMMAND, *command], input=json.dumps(WANTED), check=False)
        expected = "/sys/fs/bpf/l4lb may be changed by others than root; remove it\n"
        assert done.stderr == f"l4lb: {expected}"
    open_to_all.run(["rm", "-r", "/sys/fs/bpf/l4lb"])
    assert COMPILED in apply(open_to_all)


@pytest.mark.parametrize("umask", ["0000", "0077"])
def test_what_root_makes_is_root_s(open_to_all: Host, umask: str) -> None:
    command = ["sh", "-ec", f"umask {umask}; exec {COMMAND} apply -"]
    open_to_all.run(command, input=json.dumps(WANTED))
    find = ["find", "/sys/fs/bpf", "/etc/l4lb", "-mindepth", "1", "-perm", "/022"]
    assert open_to_all.run(find).stdout == ""
    open_to_all.run([COMMAND, "restore"])
