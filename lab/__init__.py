"""A laboratory of network namespaces: hosts to balance between, on one machine.

    from lab import Lab

    lab = Lab("mine")
    lab.up()
    lab.host("client").run(["curl", "-s", "http://web1/"]).stdout
    lab.down()

Everything of it is below /run/l4lb-lab/NAME, a tmpfs that goes away with it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab import network, topology
from lab.host import Host, call
from lab.topology import NAME, LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DEFAULT", "LABS", "TOPOLOGY", "Host", "Lab", "LabError"]

LABS = Path("/run/l4lb-lab")
DEFAULT = os.environ.get("L4LB_LAB", "default")
TOPOLOGY = Path(__file__).with_name("topology.yml")
DECAP = Path(__file__).with_name("decap.py")
PATIENCE = 10.0  # seconds for a service to listen

# Command and the Debian package that has it.
NEEDED = {"ip": "iproute2", "nsenter": "util-linux", "sysctl": "procps", "ethtool": "ethtool"}


class Lab:
    """Hosts by name; they exist between up() and down()."""

    def __init__(self, name: str = DEFAULT) -> None:
        if not NAME.fullmatch(name):
            raise LabError(f"laboratory name {name!r}: at most ten lower-case letters, digits and hyphens")
        self.name = name
        self.directory = LABS / name
        # Written last by up(): its presence says that the laboratory is complete.
        self._topology = self.directory / "topology.yml"

    @property
    def is_up(self) -> bool:
        return self._topology.exists()

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts of a laboratory that is up."""
        if not self.is_up:
            raise LabError(f"laboratory {self.name!r} is not up")
        return {name: Host(self.directory / name, plan) for name, plan in topology.read(self._topology).items()}

    def host(self, name: str) -> Host:
        """One host of a laboratory that is up."""
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(f"laboratory {self.name!r} has no host {name!r}; it has {', '.join(self.hosts)}") from None

    def up(self, topology_file: Path = TOPOLOGY) -> bool:
        """Build the laboratory; False if it is there already. A failure leaves nothing behind."""
        plans = topology.read(topology_file)
        if self.is_up:
            if topology_file.read_bytes() != self._topology.read_bytes():
                raise LabError(f"laboratory {self.name!r} is up with another topology: take it down first")
            return False
        _check_machine(plans)
        self.down()  # what an interrupted up() may have left
        try:
            self._build(plans)
            shutil.copyfile(topology_file, self._topology)
        except BaseException:
            self.down()
            raise
        return True

    def down(self) -> dict[str, list[int]]:
        """Remove the laboratory, whatever there is of it.

        Ends what was started through it. Returns other processes, by host, that still run there;
        they keep their namespaces alive, without links, until they end.
        """
        others = {}
        # Found by their files, as an interrupted up() leaves no topology.
        hosts = [Host(path.parent, topology.HostPlan()) for path in sorted(self.directory.glob("*/net"))]
        for host in hosts:
            for name in host.started():
                host.stop(name)
        for host in hosts:
            if pids := host.others():
                others[host.name] = pids
                _unplug(host)
        if self.directory.is_mount():
            call(["umount", "--recursive", "--lazy", str(self.directory)])
        for directory in (self.directory, LABS):
            with contextlib.suppress(OSError):  # absent, or other laboratories are in it
                directory.rmdir()
        return others

    def _build(self, plans: dict[str, topology.HostPlan]) -> None:
        self._mount()
        hosts = {name: Host(self.directory / name, plan) for name, plan in plans.items()}
        table = _host_table(plans)
        with _decapsulation(hosts) as attach:
            _each(hosts, lambda host: host.create(table))
            for name, commands in network.cables(plans, {name: self.directory / name / "net" for name in hosts}).items():
                hosts[name].ip(commands)
            _each(hosts, _settle)
            _each(hosts, lambda host: host.ip(network.links_up(plans, host.name)))
            _each(hosts, lambda host: _offloads(host, network.links(plans, host.name)))
            _each(hosts, lambda host: host.ip(network.addresses_and_routes(host.plan)))
            for host in hosts.values():
                for name, service in host.plan.services.items():
                    host.start(name, [word.replace("{lab}", str(TOPOLOGY.parent)) for word in service.command])
            attach()
        for host in hosts.values():
            _wait(host)

    def _mount(self) -> None:
        """Make the directory: private, since the kernel binds no mount namespace on a shared mount."""
        os.umask(0o022)  # directories made here become the hosts' own
        self.directory.mkdir(parents=True, exist_ok=True)
        call(["mount", "-t", "tmpfs", "-o", "mode=755", "l4lb-lab", str(self.directory)])
        call(["mount", "--make-private", str(self.directory)])


def _each(hosts: dict[str, Host], step: Callable[[Host], object]) -> None:
    """Take a step in every host; they wait for the kernel more than for a processor."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(step, hosts.values()))


def _settle(host: Host) -> None:
    settings = {**network.SYSCTLS, **host.plan.sysctls}
    host.run(["sysctl", "-q", "-w", *(f"{key}={value}" for key, value in settings.items())])


def _offloads(host: Host, links: list[str]) -> None:
    """Make veth carry frames as a wire would.

    GRO starts the NAPI without which a peer's XDP_TX has nowhere to go. Checksums and segments must
    be finished by the sender: behind an outer header nobody completes them.
    """
    host.run(["sh", "-ec", "".join(f"ethtool -K {link} gro on tx off tso off gso off\n" for link in links)])


def _unplug(host: Host) -> None:
    links = json.loads(host.run(["ip", "-json", "link"]).stdout)
    host.ip([f"link del {link['ifname']}" for link in links if link["ifname"].startswith("eth")])


@contextlib.contextmanager
def _decapsulation(hosts: dict[str, Host]) -> Iterator[Callable[[], None]]:
    """Compile decap.c, which takes as long as all the rest, meanwhile; then attach it when told to."""
    ends = [
        {
            "namespace": str(host.directory / "net"),
            "interface": host.plan.decapsulate,
            "addresses": [str(a.ip) for a in host.plan.interfaces[host.plan.decapsulate].addresses if a.version == 4],
        }
        for host in hosts.values()
        if host.plan.decapsulate
    ]
    if not ends:
        yield lambda: None
        return
    # The interpreter that Debian's bcc belongs to, whichever this one is.
    loader = subprocess.Popen(
        ["/usr/bin/python3", str(DECAP)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def attach() -> None:
        output, _ = loader.communicate(json.dumps(ends))
        if loader.returncode:
            raise LabError(f"no decapsulation:\n{output.strip()}")

    with loader:
        try:
            yield attach
        finally:
            loader.kill()


def _wait(host: Host) -> None:
    """Until every service listens."""
    deadline = time.monotonic() + PATIENCE
    for name, service in host.plan.services.items():
        while not all(host.listening(port) for port in service.ports):
            if not host.running(name) or time.monotonic() > deadline:
                raise LabError(f"{host.name}: {name} does not listen\n{host.log(name).read_text()}".strip())
            time.sleep(0.02)


def _host_table(plans: dict[str, topology.HostPlan]) -> str:
    """/etc/hosts, so that hosts know each other by name."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for name, plan in plans.items():
        lines += [f"{a.ip} {name}" for interface in plan.interfaces.values() for a in interface.addresses]
    return "\n".join(lines) + "\n"


def _check_machine(plans: dict[str, topology.HostPlan]) -> None:
    if os.geteuid() != 0:
        raise LabError("a laboratory needs root")
    if sys.platform != "linux":
        raise LabError("a laboratory needs Linux")
    commands = {service.command[0] for plan in plans.values() for service in plan.services.values()}
    missing = [command for command in [*NEEDED, *sorted(commands)] if not shutil.which(command)]
    if missing:
        raise LabError("not installed: " + ", ".join(f"{c} (package {NEEDED.get(c, c)})" for c in missing))
