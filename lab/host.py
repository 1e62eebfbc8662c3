# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a laboratory: its namespaces, and what runs inside them."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import namespace, processes, roots
from lab.command import call
from lab.topology import LabError

if TYPE_CHECKING:
    from lab.topology import HostPlan

CHECKOUT = Path(__file__).resolve().parents[1]

# What root finds after logging in. Nothing of the caller's environment leaks into a host.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/sh",
    "TERM": "xterm",
    "USER": "root",
}

# The kinds of namespaces a host has of its own, and the files they are bound to.
KINDS = {"net": "net", "uts": "uts", "mount": "mnt"}

MACHINE = "/"

# Of the machine's files, those that make a host no virgin: what the collection installs, and what
# somebody gave to Python beside the distribution's packages.
TAINTS = """
etc/l4lb usr/lib/l4lb usr/sbin/l4lb
etc/systemd/system/l4lb* etc/systemd/system/*/l4lb*
root/.local/lib/python3* usr/local/lib/python3*/dist-packages/*
"""

# The root of a host: the machine's own as it is, or a tree of lab/roots.py, with a layer above it
# that takes every write. An overlay shows one file system without what is mounted in it, hence the
# mounts that follow. The checkout may be one of those; read-only, as a host has no reason to change
# it.
ROOT = """
umask 022
cd "$DIRECTORY"
mkdir -p root work upper/etc
echo "$NAME" >upper/etc/hostname
echo "$HOST_TABLE" >upper/etc/hosts
mount -t overlay -o "lowerdir=$LOWER,upperdir=upper,workdir=work" overlay root
cd root
rm -rf $TAINTS
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p ".$CHECKOUT"
mount --bind -o ro "$CHECKOUT" ".$CHECKOUT"
hostname "$NAME"
mkdir run/machine
pivot_root . run/machine
umount --lazy /run/machine
rmdir /run/machine
"""
BPFFS = "mount -t bpf -o mode=700 bpf /sys/fs/bpf\n"

FALLBACKS = "tunl0 gre0 gretap0 erspan0 ip_vti0 sit0 ip6tnl0 ip6gre0 ip6_vti0".split()  # noqa: SIM905
"""Devices that the modules of tunnels make (the sysctl fb_tunnels_only_for_init_net)."""


class Host:
    """Namespaces bound to files in a directory: net, mnt and uts."""

    def __init__(self, directory: Path, plan: HostPlan) -> None:
        self.directory = directory
        self.name = directory.name
        self.plan = plan
        self.network = directory / "net"

    @property
    def address(self) -> str:
        """The first IPv4 address."""
        return next(str(address.ip) for address in self.plan.addresses if address.version == 4)

    @property
    def address6(self) -> str:
        """The first IPv6 address."""
        return next(str(address.ip) for address in self.plan.addresses if address.version == 6)

    def create(self, host_table: str, pinned: list[str]) -> None:
        """Make the namespaces, by a command that begins so, and the root file system.

        There is no network in it yet.
        """
        (self.directory / "processes").mkdir(parents=True)
        for name in KINDS.values():
            (self.directory / name).touch()
        variables = {
            "DIRECTORY": str(self.directory),
            "CHECKOUT": str(CHECKOUT),
            "NAME": self.name,
            "HOST_TABLE": host_table,
            "LOWER": str(roots.tree(self.plan.root)) if self.plan.root else MACHINE,
            "TAINTS": " ".join(TAINTS.split()),
        }
        script = ROOT + (BPFFS if self.plan.bpffs else "")
        command = [*pinned, "unshare", *self._namespaces(), "sh", "-ec", script]
        call(command, env={**ENVIRONMENT, **variables})

    def inside(self, *command: str) -> list[str]:
        """The command that runs a command in this host."""
        return ["nsenter", *self._namespaces(), "--", *command]

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command here and wait; options as of subprocess.run, and failure is an error."""
        return call(self.inside(*command), **{"env": ENVIRONMENT, **options})

    def start(self, name: str, command: list[str]) -> int:
        """Start a command in the background, under a name, until stop() or the laboratory's end."""
        if self.running(name):
            raise LabError(f"{self.name}: {name} is running already")
        inside = self.inside(*command)
        return processes.start(inside, ENVIRONMENT, self.log(name), self._record(name))

    def stop(self, name: str) -> None:
        """End what was started under this name; nothing happens if it ended by itself."""
        processes.stop(self._record(name))

    def running(self, name: str) -> int | None:
        """The process started under this name, while it runs."""
        return processes.running(self._record(name))

    def log(self, name: str) -> Path:
        """What it has written."""
        return self.directory / "processes" / f"{name}.log"

    def started(self) -> list[str]:
        """The names of what was started here and not stopped since."""
        return sorted(record.stem for record in self.directory.glob("processes/*.pid"))

    def others(self) -> list[int]:
        """Processes that are here without start() having started them."""
        started = {self.running(name) for name in self.started()}
        return [pid for pid in processes.inside(self.network) if pid not in started]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket in this host's network, for this process to use."""
        with namespace.network(self.network):
            return socket.socket(family, kind, protocol)

    def listening(self, port: int) -> bool:
        """Whether something listens on a port, of TCP or UDP."""
        return bool(self.run(["ss", "-Hltun", f"sport = :{port}"]).stdout)

    def ip(self, commands: list[str]) -> None:
        """Give ip(8) several commands at once."""
        # In no other namespace of this host, as the commands name files that are not in its root.
        batch = ["nsenter", f"--net={self.network}", "ip", "-batch", "-"]
        call(batch, input="".join(f"{command}\n" for command in commands))

    def links(self) -> dict[str, str]:
        """The state of every link: UP, DOWN, or UNKNOWN as that of the loopback; without those that
        the kernel puts into every network namespace, once it has tunnels."""
        links = json.loads(self.run(["ip", "-json", "link"]).stdout)
        return {
            link["ifname"]: link["operstate"] for link in links if link["ifname"] not in FALLBACKS
        }

    def unplug(self) -> None:
        """Pull out every cable."""
        self.ip([f"link delete {name}" for name in self.links() if name != "lo"])

    def _namespaces(self) -> list[str]:
        """Options of nsenter and unshare."""
        return [f"--{kind}={self.directory / name}" for kind, name in KINDS.items()]

    def _record(self, name: str) -> Path:
        return self.directory / "processes" / f"{name}.pid"
