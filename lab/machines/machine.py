# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine: started, asked and stopped."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import processes
from lab.command import call
from lab.host import ENVIRONMENT
from lab.machines import image, qemu
from lab.topology import LabError

if TYPE_CHECKING:
    import subprocess

    from lab import Lab
    from lab.machines.plan import Plan

PATIENCE = 1800.0  # seconds for a machine to boot, where others have the processors

SSH = """\
Host {name}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {key}
    IdentitiesOnly yes
    HostKeyAlias {system}
    UserKnownHostsFile {known}
    ConnectTimeout 20
    ServerAliveInterval 15
"""


class Machine:
    """A machine below a directory, which has its disk, its console and who it is."""

    def __init__(self, directory: Path, number: int, plan: Plan) -> None:
        self.directory = directory
        self.name = directory.name
        self.number = number
        self.plan = plan

    @property
    def ssh_config(self) -> Path:
        """For the option -F of ssh."""
        return self.directory / "ssh_config"

    @property
    def console(self) -> str:
        """What its kernel and systemd have said."""
        return self._console.read_text(errors="replace")

    def start(self, lab: Lab) -> None:
        """Power on. It is not there before await_ssh()."""
        self.directory.mkdir(parents=True, exist_ok=True)
        disk = self.directory / "disk.qcow2"
        if not disk.exists():
            qemu.make_disk(self.plan.system, disk)
        self._console.touch()  # QEMU takes a moment
        cards = []
        for card, bridge in enumerate(self.plan.cards, 1):
            host, name = bridge.split("/")
            cable = f"{self.name}-eth{card}"
            cards.append(qemu.plug_in(lab.host(host), name, cable, self.plan.queues))
        port = _free_port()
        self._write_ssh_config(port)
        command = qemu.command(self.plan, self.number, disk, port, cards)
        ends = [end for card in cards for end in card]
        try:
            processes.start(command, ENVIRONMENT, self._log, self._record, ends)
        finally:
            for end in ends:
                os.close(end)

    def stop(self) -> None:
        """Cut the power."""
        processes.stop(self._record)

    def await_ssh(self, before: str = "") -> None:
        """Until it has booted, and is not in the boot `before` any more."""
        deadline = time.monotonic() + PATIENCE
        while self.boot() in ("", before):
            if not processes.running(self._record):
                raise LabError(f"{self.name}: ended\n{self._log.read_text()}")
            if "Kernel panic" in self.console or time.monotonic() > deadline:
                raise LabError(f"{self.name}: does not boot\n{self.console[-2000:]}")
            time.sleep(1)

    def boot(self) -> str:
        """The name of the boot that it is in; empty while nobody gets in."""
        try:
            return self.run("cat /proc/sys/kernel/random/boot_id").stdout
        except LabError:
            return ""

    def reboot(self) -> None:
        """As an operator does; returns when it lets one in again."""
        before = self.boot()
        with contextlib.suppress(LabError):  # it may close the connection first
            self.run("systemctl reboot")
        self.await_ssh(before)

    def run(self, script: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a script of the shell there and wait; failure is an error, with what it wrote."""
        return call(["ssh", "-F", str(self.ssh_config), self.name, script], **options)

    @property
    def _console(self) -> Path:
        return self.directory / "console.log"

    @property
    def _record(self) -> Path:
        return self.directory / "qemu.pid"

    @property
    def _log(self) -> Path:
        return self.directory / "qemu.log"

    def _write_ssh_config(self, port: int) -> None:
        known = self.directory / "known_hosts"
        known.write_text(f"{self.plan.system} {image.Image(self.plan.system).host_key}")
        given = {"name": self.name, "port": port, "key": image.KEY, "known": known}
        self.ssh_config.write_text(SSH.format(system=self.plan.system, **given))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
