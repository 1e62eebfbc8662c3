# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of systems: a distribution's packages on a disk, and how its kernel is started.

An image has what somebody finds who has just installed a server with SSH, and nothing that a
balancer needs. Each is made once, in build/machines.
"""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
import sys
from pathlib import Path

from lab import roots
from lab.command import call
from lab.topology import ROOTS

CHECKOUT = Path(__file__).resolve().parents[2]
DIRECTORY = CHECKOUT / "build/machines"
KEY = DIRECTORY / "key"
"""Who has it is root on every machine."""
ARCHIVE = "10.0.2.100"
"""Where machines find the distribution's archive (archive.py)."""

# The compiler is there as kernel headers want it, and half of all that an emulated machine would
# have to unpack for minutes.
PACKAGES = """
systemd-sysv udev dbus openssh-server python3 python3-apt linux-image-{architecture} gcc
iproute2 iputils-ping kmod procps nftables
"""
# Drivers of what these machines do not have; and the initrd is made here, in seconds.
LEFT_OUT = [
    *roots.LEFT_OUT,
    *(f"*/kernel/{kind}/*" for kind in ("sound", "drivers/gpu", "drivers/media", "drivers/iio")),
    *(f"*/kernel/drivers/{kind}/*" for kind in ("infiniband", "scsi", "usb", "staging")),
    *(f"*/kernel/drivers/net/{kind}/*" for kind in ("ethernet", "wireless", "usb", "can")),
    "/etc/kernel/postinst.d/initramfs-tools",
]
MODULES = "virtio_pci virtio_blk ext4"
"""Those that reach the disk."""
SIZE = "4G"

# Of every system; the machine's own network is for whoever uses it.
FILES = {
    "etc/apt/sources.list": f"deb http://{ARCHIVE}/ {{release}} main\n",
    "etc/apt/apt.conf.d/80archive": 'Acquire::Languages "none";\n{apt}\n',
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/hostname": "machine\n",
    "etc/systemd/network/10-eth0.network": "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n",
    "root/.ssh/authorized_keys": "{key}",
}
# In the tree. apt has read its lists already, which takes an emulated machine half a minute; and
# nobody waits for what nobody looks at.
ADJUST = f"""
chmod -R go= root/.ssh
rm -f etc/resolv.conf
cd var/lib/apt/lists
for list in *_dists_*; do mv "$list" "{ARCHIVE}_dists_${{list#*_dists_}}"; done
cd - >/dev/null
chroot . apt-cache gencaches
chroot . systemctl --quiet enable systemd-networkd
chroot . systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer fstrim.timer systemd-pstore.service \
    getty@tty1.service serial-getty@ttyS0.service
"""


@dataclasses.dataclass(frozen=True)
class Image:
    """The files of a system, below build/machines."""

    system: str

    @property
    def directory(self) -> Path:
        """Where they are."""
        return DIRECTORY / self.system

    @property
    def disk(self) -> Path:
        """A file system, never written to once it is there."""
        return self.directory / "disk"

    @property
    def kernel(self) -> Path:
        """As its package has it."""
        return self.directory / "kernel"

    @property
    def initrd(self) -> Path:
        """What finds the disk."""
        return self.directory / "initrd.gz"

    @property
    def host_key(self) -> str:
        """By which its SSH server is known."""
        return (self.directory / "host_key").read_text()

    def make(self) -> bool:
        """Make it, which takes a minute or two; False if it is there already. Takes root."""
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        with (DIRECTORY / f"{self.system}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _make_key()
            wanted = self._contents()
            contents = self.directory / "contents"  # written last: it says that all is complete
            if contents.exists() and contents.read_text() == wanted:
                return False
            print(f"machines: making {self.disk}, which takes minutes", file=sys.stderr, flush=True)
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir()
            self._make()
            contents.write_text(wanted)
        return True

    def _contents(self) -> str:
        """What the image depends on."""
        parts = [ROOTS[self.system], *_packages(), *LEFT_OUT, MODULES, SIZE, ADJUST]
        initrd = [Path(__file__).with_name("init"), CHECKOUT / "tools/initrd"]
        return "\n".join([*parts, *self._files().values(), *(path.read_text() for path in initrd)])

    def _files(self) -> dict[str, str]:
        """Name -> content."""
        key = KEY.with_suffix(".pub").read_text()
        # It may be one that its makers do not renew any more.
        apt = "\n".join(line for line in roots.settings() if "::Check-" in line)
        given = {"release": ROOTS[self.system], "key": key, "apt": apt}
        return {name: text.format_map(given) for name, text in FILES.items()}

    def _make(self) -> None:
        tree = self.directory / "tree"
        try:
            kept = "--skip=cleanup/apt/lists"
            roots.bootstrap(ROOTS[self.system], tree, _packages(), LEFT_OUT, kept)
            for name, text in self._files().items():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_text(text)
            call(["sh", "-ec", ADJUST], cwd=tree)
            (release,) = (path.name for path in (tree / "usr/lib/modules").iterdir())
            init = Path(__file__).with_name("init")
            initrd = [str(tree), release, str(init), str(self.directory / "initrd")]
            call([str(CHECKOUT / "tools/initrd"), *initrd, *MODULES.split()])
            shutil.copyfile(tree / f"boot/vmlinuz-{release}", self.kernel)
            shutil.copyfile(tree / "etc/ssh/ssh_host_ed25519_key.pub", self.directory / "host_key")
            call(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(self.disk), SIZE])
        finally:
            call(["rm", "-rf", "--one-file-system", str(tree)])


def _packages() -> list[str]:
    return PACKAGES.format(architecture=roots.architecture()).split()


def _make_key() -> None:
    if not KEY.exists():
        call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "machines", "-f", str(KEY)])
