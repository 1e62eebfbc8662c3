# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that the collection makes real servers, and what is left of them."""

from __future__ import annotations

import json
import re
from typing import Any

from lab.host import FALLBACKS, Host
from tests.fleet.rig.hosts import python
from tests.fleet.rig.tunnels import LB1, LB1_6
from tests.fleet.there import real_server

BALANCERS = [LB1, LB1_6]

Options = dict[str, Any]


def entry(vip: str, backend: str, encapsulation: str = "ipip", **more: Any) -> Options:
    """One of the services."""
    return {"address": vip, "backend": backend, "encapsulation": encapsulation, **more}


def options(*services: Options, **more: Any) -> Options:
    """Of the module."""
    return {"services": [*services], "balancers": BALANCERS, **more}


def serve(host: Host, given: Options | None, **more: Any) -> dict[str, Any]:
    """Make a host this; what was done."""
    done = python(host, real_server.serve, options=given, **more)
    assert "error" not in done, done["error"]
    return dict(done)


def refused(host: Host, given: Options | None, **more: Any) -> str:
    """Why a host is not made this."""
    return str(python(host, real_server.serve, options=given, **more)["error"])


def traces(host: Host) -> dict[str, Any]:
    """All of a host that a real server may change."""
    links = json.loads(host.run(["ip", "-json", "address"]).stdout)
    settings = host.run(["sysctl", "-a", "--pattern", "arp_|rp_filter"]).stdout.splitlines()
    unrelated = re.compile(rf"\.({'|'.join(FALLBACKS)})\.")
    script = "nft list ruleset; ip rule; ip -6 rule; ip fou show 2>&1 || true"
    files = ["/etc/l4lb", "/sys/fs/bpf", "/run", "/etc/systemd/system"]
    return {
        "addresses": {
            link["ifname"]: [one["local"] for one in link["addr_info"]]
            for link in links
            if link["ifname"] not in FALLBACKS
        },
        "programs": {link["ifname"]: "xdp" in link for link in links if "xdp" in link},
        "settings": [line for line in settings if not unrelated.search(line)],
        "rules": host.run(["sh", "-c", script]).stdout,
        "files": host.run(["find", *files, "-name", "*l4lb*"], check=False).stdout.split(),
    }
