# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that QEMU runs, each with a kernel and a systemd of its own, plugged into a laboratory.

    machines = Machines(lab, {"lb1": Plan("debian-13", ("router/servers",))})
    machines.up()
    machines["lb1"].run("uname -r").stdout
    machines.down()

What they are made of is kept in build/machines; what one leaves goes away with it.
"""

from __future__ import annotations

from lab.machines.machine import Machine
from lab.machines.machines import Machines
from lab.machines.plan import Plan, read

__all__ = ["Machine", "Machines", "Plan", "read"]
