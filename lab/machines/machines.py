# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a laboratory."""

from __future__ import annotations

import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lab.machines import qemu
from lab.machines.image import DIRECTORY, Image
from lab.machines.machine import Machine
from lab.topology import LabError

if TYPE_CHECKING:
    from lab import Lab
    from lab.machines.plan import Plan

PACKAGES = {
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    qemu.COMMAND: "qemu-system-x86",
    "ssh": "openssh-client",
}
"""Commands, and the Debian packages that have them."""


class Machines(dict[str, Machine]):
    """By name; they exist between up() and down()."""

    def __init__(self, lab: Lab, plans: dict[str, Plan]) -> None:
        self.lab = lab
        self.directory = DIRECTORY / "running" / lab.name
        for number, (name, plan) in enumerate(plans.items(), 1):
            self[name] = Machine(self.directory / name, number, plan)

    @property
    def ssh_config(self) -> Path:
        """For the option -F of ssh; machines go by their names."""
        return self.directory / "ssh_config"

    def up(self) -> None:
        """Boot all of them, once their images are there. A failure leaves nothing behind."""
        check_machine()
        for system in sorted({machine.plan.system for machine in self.values()}):
            Image(system).make()
        (DIRECTORY / "archive").mkdir(exist_ok=True)
        self.down()  # what an interrupted up() may have left
        try:
            for machine in self.values():
                machine.start(self.lab)
            parts = [machine.ssh_config.read_text() for machine in self.values()]
            self.ssh_config.write_text("".join(parts))
            with ThreadPoolExecutor() as pool:
                list(pool.map(Machine.await_ssh, self.values()))
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Cut their power, and forget all that they have written."""
        for machine in self.values():
            machine.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def check_machine() -> None:
    """Find out before anything is made what would stop it."""
    if platform.machine() != qemu.MACHINES:
        raise LabError(f"machines are for {qemu.MACHINES} only")
    missing = [name for name in PACKAGES if not shutil.which(name)]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise LabError(f"missing: {', '.join(missing)}; apt-get install {packages}")
