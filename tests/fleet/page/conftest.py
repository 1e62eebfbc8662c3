# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer with services of hostile names, its agent, and a browser on the same host.

Every test finds the agent at work, and leaves it so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.browser import PROGRAM, Browser, browser
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.play import changes
from tests.fleet.rig.services import VIP, WEB

LISTEN = "127.0.0.1:9942"
PAGE = f"http://{LISTEN}/"
TAGS = '"><script>alert(1)</script><b>'
QUOTES = "'); alert(1) //&amp;<img src=x onerror=alert(1)>"
LONG = "名" * 21
"""Of 63 bytes, which is the most."""
REASON = "<img src=x onerror=alert(2)>"
TURNED = "\u202e"
"""What comes after this would be read from right to left."""
SAYS = ["/bin/sh", "-c", f"echo '{REASON}{TURNED}'; exit 1"]
BACKENDS = [{"address": address} for address in WEB.values()]
OF_WEB = {"address": VIP, "port": 80, "protocol": "tcp", "backends": BACKENDS}
CHECK = {"via": "address", "interval": 0.5, "timeout": 0.5}
SERVICES: list[dict[str, Any]] = [
    {**OF_WEB, "name": TAGS, "check": {"type": "http", **CHECK}},
    {**OF_WEB, "name": QUOTES, "port": 81, "check": {"type": "command", "command": SAYS, **CHECK}},
    {**OF_WEB, "name": LONG, "port": 82, "protocol": "udp"},
]
DEPLOYED: dict[str, Any] = {"interface": "eth0", "announce": True, "services": SERVICES}


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    if not Path(PROGRAM).exists():
        pytest.skip(f"cannot run here: there is no {PROGRAM} (tools/setup browser)")
    with laboratory("pg") as lab:
        yield lab


@pytest.fixture(scope="session")
def lb1(lab: Lab) -> Iterator[Host]:
    """The balancer; its agent is at work, and knows what it thinks of the backends."""
    host = lab.host("lb1")
    changes(lab, "deploy", **DEPLOYED)
    start_agent(host)
    yield host
    host.stop("agent")
    assert "Traceback" not in host.log("agent").read_text()


def start_agent(host: Host) -> None:
    host.start("agent", ["l4lb", "agent", "--listen", LISTEN])


def status(host: Host) -> dict[str, Any]:
    """What the agent says."""
    done = host.run(["curl", "-sS", "--retry-connrefused", "--retry", "50", f"{PAGE}status.json"])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="session")
def reader(lb1: Host) -> Iterator[Browser]:
    """Somebody with a browser there."""
    status(lb1)
    with browser(lb1.inside) as found:
        yield found


@pytest.fixture
def page(reader: Browser) -> Iterator[Browser]:
    """The page, as soon as it shows what the agent knows, which it does without a complaint."""
    reader.errors.clear()
    reader.requests.clear()
    reader.look_at(1280)
    reader.open(PAGE)
    reader.until(lambda: reader.evaluate("document.querySelectorAll('article').length == 3"))
    reader.until(lambda: "4 of 4 unhealthy" in reader.text())
    yield reader
