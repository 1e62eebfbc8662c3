# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what a host has of what a balancer needs on the interfaces that are given.

The role gives this to /usr/bin/python3, whichever that is: it must run on any Python 3. Before it
the role puts plugins/module_utils/_l4lb/kernel/headers.py.
"""

import hashlib
import json
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

COMMAND = ["/usr/lib/l4lb", "/usr/lib/l4lb/l4lb", "/usr/sbin/l4lb"]
UNIT = "/etc/systemd/system/l4lb@.service"
AGENT = ["l4lb-agent.service", "l4lb-withdraw.service"]


def loads(module, attribute):
    """Whether this Python can import it, with all that it needs."""
    try:
        getattr(__import__(module), attribute)
    except Exception:
        return False
    return True


def printable(name):
    """The name of an interface; one that a terminal would take for an order is spelt out."""
    return name if name.isprintable() else ascii(name)[1:-1]


def described(path):
    """What is there, in a line: kind, mode, owner and content; None if nothing is."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return "link " + os.readlink(path)  # noqa: PTH115 (newer than some Pythons)
        rights = f"{stat.S_IMODE(found.st_mode):o} {found.st_uid}:{found.st_gid}"
        if stat.S_ISDIR(found.st_mode):
            return "directory " + rights
        return f"file {rights} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
    except OSError:
        return None


def output(*command):
    """What a command prints, whatever its exit code."""
    return subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.decode()


def first_name(interface):
    """The name that an interface has besides alternative ones; the same if there is none such."""
    try:
        (link,) = json.loads(output("ip", "-json", "link", "show", "dev", interface))
        return link["ifname"]
    except (OSError, ValueError):
        return interface


def unit(interface):
    """The unit that restores its balancer, as systemd knows it."""
    name = output("systemd-escape", "--template=l4lb@.service", "--", interface).strip()
    return dict(state(name), name=name)


def state(name):
    """What systemd knows of a unit."""
    shown = output("systemctl", "show", "--property=UnitFileState,ActiveState", "--", name).split()
    return {
        "enabled": "UnitFileState=enabled" in shown,
        "active": "ActiveState=active" in shown,
    }


headers = find_headers()  # noqa: F821 # pylint: disable=undefined-variable # (see above)
systemd = Path("/run/systemd/system").is_dir()
names = {given: first_name(given) for given in sys.argv[1:]}
print(
    json.dumps(
        {
            "user": os.geteuid(),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "release": platform.release(),
            "machine": platform.machine(),
            "interfaces": sorted(printable(path.name) for path in Path("/sys/class/net").iterdir()),
            "headers": headers and headers.release,
            "balancers": sorted(unquote(path.stem) for path in Path("/etc/l4lb").glob("*.json")),
            "real_server": Path("/etc/l4lb/real-server").exists(),
            "command": {path: described(path) for path in COMMAND},
            "systemd": systemd,
            "unit_file": described(UNIT),
            "agent_files": {name: described("/etc/systemd/system/" + name) for name in AGENT},
            "agents": [state(name) for name in AGENT if systemd],
            "names": names,
            "units": {name: unit(name) for name in names.values() if systemd},
            # The bcc of PyPI is something else, and has no BPF.
            "bcc": loads("bcc", "BPF"),
            "pyroute2": loads("pyroute2", "IPRoute"),
        }
    )
)
