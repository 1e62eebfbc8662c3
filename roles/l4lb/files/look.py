# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what a host has of what a balancer needs.

The role gives this to /usr/bin/python3, whichever that is: it must run on any Python 3.
"""

import json
import os
import platform
import re
from pathlib import Path
from urllib.parse import unquote

KERNEL_HEADERS = Path("/sys/kernel/kheaders.tar.xz")


def loads(module, attribute):
    """Whether this Python can import it, with all that it needs."""
    try:
        getattr(__import__(module), attribute)
    except Exception:
        return False
    return True


def headers():
    """The kernel whose headers are here: the running one, else the newest, else None."""
    release = platform.release()
    modules = Path("/lib/modules")
    if (modules / release / "build/include").is_dir() or KERNEL_HEADERS.exists():
        return release
    found = [path.parts[3] for path in modules.glob("*/build/include")]
    return max(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default=None)


print(
    json.dumps(
        {
            "user": os.geteuid(),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "release": platform.release(),
            "machine": platform.machine(),
            "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
            "headers": headers(),
            "balancers": sorted(unquote(path.stem) for path in Path("/etc/l4lb").glob("*.json")),
            "systemd": Path("/run/systemd/system").is_dir(),
            # The bcc of PyPI is something else, and has no BPF.
            "bcc": loads("bcc", "BPF"),
            "pyroute2": loads("pyroute2", "IPRoute"),
        }
    )
)
