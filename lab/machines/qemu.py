# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that runs a machine, and the cables that it is given."""

from __future__ import annotations

import fcntl
import os
import shlex
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from lab import namespace, roots
from lab.command import call
from lab.machines import image

if TYPE_CHECKING:
    from lab.host import Host
    from lab.machines.plan import Plan

COMMAND = "qemu-system-x86_64"
MACHINES = "x86_64"
"""What this is for, as uname has it."""
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100

# Mitigations serve nobody here, and make emulation much slower, to which systemd's patience of 90
# seconds is not made.
KERNEL = "console=ttyS0 net.ifnames=0 mitigations=off quiet systemd.default_timeout_start_sec=900"


def accelerator() -> list[str]:
    """Options for the processor: this machine's own, where its kernel lends it."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    if os.access("/dev/kvm", os.W_OK) and flags & {"vmx", "svm"}:
        return ["-accel", "kvm", "-cpu", "host"]
    # With more features, systemd-networkd stumbles over what is emulated; with a thread for each
    # processor, kernels that patch their own code do now and then.
    return ["-accel", "tcg,thread=single,tb-size=256", "-cpu", "qemu64,-svm"]


def plug_in(host: Host, bridge: str, port: str, queues: int) -> list[int]:
    """Make a port of a bridge of the laboratory; its other end, a descriptor for each queue."""
    kind = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0)
    with namespace.network(host.network):
        ends = [os.open("/dev/net/tun", os.O_RDWR) for queue in range(queues)]
        for end in ends:
            fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", port.encode(), kind))
    host.ip([f"link set {port} master {bridge} addrgenmode none up"])
    return ends


def command(plan: Plan, number: int, disk: Path, port: int, cards: list[list[int]]) -> list[str]:
    """The command for the machine of a number, which answers SSH at a port of this machine."""
    made = image.Image(plan.system)
    fetch = [*("/usr/bin/python3", "-I", str(Path(__file__).with_name("archive.py")))]
    fetch += [roots.archive(), str(image.DIRECTORY / "archive")]
    ssh = [
        *("user", "id=eth0", "ipv6=off", "restrict=on", f"hostfwd=tcp:127.0.0.1:{port}-:22"),
        f"guestfwd=tcp:{image.ARCHIVE}:80-cmd:{shlex.join(fetch)}",
    ]
    options = ["-netdev", ",".join(ssh), "-device", _card(number, 0)]
    for card, ends in enumerate(cards, 1):
        fds = ":".join(map(str, ends))
        queues = f"mq=on,vectors={2 * len(ends) + 2}"
        options += ["-netdev", f"tap,id=eth{card},fds={fds}"]
        options += ["-device", f"{_card(number, card)},{queues}"]
    return [
        *(COMMAND, "-machine", "q35", *accelerator(), "-nodefaults", "-display", "none"),
        *("-smp", str(plan.processors), "-m", str(plan.memory), "-device", "virtio-rng-pci"),
        *("-kernel", str(made.kernel), "-initrd", str(made.initrd), "-append", KERNEL),
        *("-drive", f"file={disk},if=virtio,cache=unsafe"),
        *("-serial", f"file:{disk.with_name('console.log')}", *options),
    ]


def make_disk(system: str, disk: Path) -> None:
    """A layer above the image, which takes every write."""
    base = str(image.Image(system).disk)
    call(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, str(disk)])


def _card(number: int, card: int) -> str:
    return f"virtio-net-pci,netdev=eth{card},mac=52:54:00:4c:{number:02x}:{card:02x}"
