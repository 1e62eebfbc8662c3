# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what a host has of what a balancer needs.

The role gives this to /usr/bin/python3, whichever that is: it must run on any Python 3.
"""

import glob
import json
import os
import platform
import re


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
    if os.path.isdir(f"/lib/modules/{release}/build/include"):
        return release
    if os.path.exists("/sys/kernel/kheaders.tar.xz"):
        return release
    found = [path.split("/")[3] for path in glob.glob("/lib/modules/*/build/include")]
    return max(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default=None)


print(
    json.dumps(
        {
            "user": os.geteuid(),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "release": platform.release(),
            "machine": platform.machine(),
            "interfaces": sorted(os.listdir("/sys/class/net")),
            "headers": headers(),
            # The bcc of PyPI is something else, and has no BPF.
            "bcc": loads("bcc", "BPF"),
            "pyroute2": loads("pyroute2", "IPRoute"),
        }
    )
)
