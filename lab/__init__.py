# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A laboratory of network namespaces: hosts to balance between, on one machine.

    from lab import Lab

    lab = Lab("mine")
    lab.up()
    lab.host("client").run(["curl", "-s", "http://web1/"]).stdout
    lab.down()

Everything of it is below /run/l4lb-lab/NAME, a tmpfs that goes away with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from lab import roots, topology
from lab.build import build, check_machine
from lab.command import call
from lab.host import Host
from lab.topology import NAME, LabError

__all__ = ["DEFAULT", "LABS", "TOPOLOGY", "Host", "Lab", "LabError"]

LABS = Path("/run/l4lb-lab")
DEFAULT = os.environ.get("L4LB_LAB", "default")
TOPOLOGY = Path(__file__).with_name("topologies") / "default.yml"


class Lab:
    """Hosts by name; they exist between up() and down()."""

    def __init__(self, name: str = DEFAULT) -> None:
        if not NAME.fullmatch(name):
            raise LabError(f"laboratory name {name!r}: {NAME.pattern} is allowed")
        self.name = name
        self.directory = LABS / name
        # Written last by up(): its presence says that the laboratory is complete.
        self._topology = self.directory / "topology.yml"

    @property
    def is_up(self) -> bool:
        """Whether it is complete."""
        return self._topology.exists()

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts of a laboratory that is up."""
        if not self.is_up:
            raise LabError(f"laboratory {self.name!r} is not up")
        return self._planned(self._topology)

    def host(self, name: str) -> Host:
        """One host of a laboratory that is up."""
        hosts = self.hosts
        if name not in hosts:
            raise LabError(f"no host {name!r} in laboratory {self.name!r}: {', '.join(hosts)}")
        return hosts[name]

    def up(self, topology_file: Path = TOPOLOGY) -> bool:
        """Build the laboratory; False if it is there already. A failure leaves nothing behind."""
        hosts = self._planned(topology_file)
        if self.is_up:
            if topology_file.read_bytes() != self._topology.read_bytes():
                raise LabError(f"laboratory {self.name!r} is up with another topology")
            return False
        check_machine({name: host.plan for name, host in hosts.items()})
        for root in sorted({host.plan.root for host in hosts.values() if host.plan.root}):
            roots.make(root)
        self.down()  # what an interrupted up() may have left
        try:
            self._mount()
            build(hosts)
            shutil.copyfile(topology_file, self._topology)
        except BaseException:
            self.down()
            raise
        return True

    def down(self) -> dict[str, list[int]]:
        """Remove the laboratory, whatever there is of it, and end what was started through it.

        Returns, by host, other processes that run there. They keep their host's namespaces until
        they end, but no longer have a link.
        """
        others = {}
        # Found by their files, as an interrupted up() leaves no topology.
        directories = [path.parent for path in sorted(self.directory.glob("*/net"))]
        for host in [Host(directory, topology.HostPlan()) for directory in directories]:
            for name in host.started():
                host.stop(name)
            if pids := host.others():
                others[host.name] = pids
                host.unplug()
        if self.directory.is_mount():
            call(["umount", "--recursive", "--lazy", str(self.directory)])
        for directory in (self.directory, LABS):
            with contextlib.suppress(OSError):  # absent, or other laboratories are in it
                directory.rmdir()
        return others

    def _planned(self, topology_file: Path) -> dict[str, Host]:
        plans = topology.read(topology_file)
        return {name: Host(self.directory / name, plan) for name, plan in plans.items()}

    def _mount(self) -> None:
        while not self.directory.exists():
            LABS.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the last other one has just gone
                self.directory.mkdir()
        # Private: the kernel binds a mount namespace to no file on a shared mount.
        call(["mount", "-t", "tmpfs", "-o", "mode=755", "l4lb-lab", str(self.directory)])
        call(["mount", "--make-private", str(self.directory)])
