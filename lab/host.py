"""One host of a laboratory: its namespaces, and commands inside them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import processes
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

# The root of a host: the machine's own as it is, with a layer above it that takes every write.
# An overlay shows one file system without what is mounted in it, hence the mounts that follow.
# The checkout may be one of those; it is read-only, as tests change it from outside only.
ROOT = """
cd "$DIRECTORY"
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root
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
BPFFS = "mount -t bpf -o mode=700 bpf /sys/fs/bpf"


class Host:
    """Namespaces bound to files in a directory: net, mnt and uts."""

    def __init__(self, directory: Path, plan: HostPlan) -> None:
        self.directory = directory
        self.name = directory.name
        self.plan = plan

    @property
    def address(self) -> str:
        """The first IPv4 address."""
        return self._first_address(4)

    @property
    def address6(self) -> str:
        """The first IPv6 address."""
        return self._first_address(6)

    def create(self, host_table: str) -> None:
        """Make the namespaces and the root file system; there is no network in it yet."""
        for part in ("root", "work", "upper/etc", "processes"):
            (self.directory / part).mkdir(parents=True)
        (self.directory / "upper/etc/hostname").write_text(self.name + "\n")
        (self.directory / "upper/etc/hosts").write_text(host_table)
        for namespace in ("net", "mnt", "uts"):
            (self.directory / namespace).touch()
        namespaces = [f"--net={self.directory}/net", f"--mount={self.directory}/mnt", f"--uts={self.directory}/uts"]
        script = ROOT + (BPFFS if self.plan.bpffs else "")
        environment = {"DIRECTORY": str(self.directory), "CHECKOUT": str(CHECKOUT), "NAME": self.name}
        call(["unshare", *namespaces, "sh", "-ec", script], env={**ENVIRONMENT, **environment})

    def inside(self, *command: str) -> list[str]:
        """The command that runs a command in this host."""
        files = {"net": "net", "uts": "uts", "mount": "mnt"}
        return ["nsenter", *(f"--{option}={self.directory / file}" for option, file in files.items()), "--", *command]

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in this host and wait; options as of subprocess.run, failure is an error."""
        return call(self.inside(*command), **{"env": ENVIRONMENT, **options})

    def start(self, name: str, command: list[str]) -> int:
        """Start a command in the background, under a name, until stop() or the laboratory's end."""
        if self.running(name):
            raise LabError(f"{self.name}: {name} is running already")
        return processes.start(self.inside(*command), ENVIRONMENT, self.log(name), self._record(name))

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
        """Processes in this host that start() knows nothing of."""
        return processes.inside(self.directory / "net")

    def listening(self, port: int) -> bool:
        """Whether something accepts TCP connections on a port."""
        return bool(self.run(["ss", "-Hltn", f"sport = :{port}"]).stdout)

    def ip(self, commands: list[str]) -> None:
        """Give ip(8) several commands at once."""
        # Only the network namespace: ip reads names of other namespaces from this side's files.
        call(["nsenter", f"--net={self.directory / 'net'}", "ip", "-batch", "-"], input="\n".join(commands) + "\n")

    def _record(self, name: str) -> Path:
        return self.directory / "processes" / f"{name}.pid"

    def _first_address(self, version: int) -> str:
        for interface in self.plan.interfaces.values():
            for address in interface.addresses:
                if address.version == version:
                    return str(address.ip)
        raise LabError(f"{self.name} has no IPv{version} address")


def call(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command and wait. What it wrote is in the error if it fails."""
    settings = {"check": True, "text": True, "capture_output": True, **options}
    if "input" not in settings:
        settings.setdefault("stdin", subprocess.DEVNULL)
    try:
        return subprocess.run(command, **settings)  # noqa: PLW1510 (check is among the settings)
    except FileNotFoundError as e:
        raise LabError(f"{e.filename} is not installed") from e
    except subprocess.CalledProcessError as e:
        raise LabError(f"{' '.join(command)}: exit code {e.returncode}\n{e.stdout or ''}{e.stderr or ''}".strip()) from e
