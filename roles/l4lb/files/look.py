# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what a host has of what a balancer needs.

The role gives this to /usr/bin/python3, whichever that is: it must run on any Python 3. Before it
the role puts plugins/module_utils/_l4lb/kernel/headers.py.
"""

import json
import os
import platform
from pathlib import Path
from urllib.parse import unquote


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


headers = find_headers()  # noqa: F821 # pylint: disable=undefined-variable # (see above)
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
            "systemd": Path("/run/systemd/system").is_dir(),
            # The bcc of PyPI is something else, and has no BPF.
            "bcc": loads("bcc", "BPF"),
            "pyroute2": loads("pyroute2", "IPRoute"),
        }
    )
)
