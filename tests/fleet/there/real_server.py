# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as a real server, as tests give it orders; what these return is JSON."""

from __future__ import annotations

from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import KernelError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.real_server import status
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver import probe, tunnels
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.desired import Desired
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.options import parse_desired
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.server import RealServer

from tests.fleet.there import library


def server() -> RealServer:
    return RealServer(library.sources())


def serve(options: dict[str, Any] | None, keep: bool = False, check: bool = False) -> Any:
    """Have the host be this; None: nothing. What was done, or the error."""
    desired = parse_desired(options) if options else Desired()
    try:
        plan = (server().plan if check else server().apply)(desired, keep)
    except L4lbError as e:
        return {"error": str(e)}
    return {"steps": plan.steps, "way": plan.way, "warnings": plan.warnings, "there": plan.listings}


def shown() -> Any:
    """What the command shows as JSON."""
    return status(server())


def probed() -> list[str]:
    """What does not arrive of what is saved."""
    return [*probe.failures(server().desired())]


def probed_by_an_older_kernel() -> list[str]:
    """The same, where no program can be run on what then goes on."""

    def refuse(*_arguments: Any) -> None:
        raise KernelError("refused")

    probe._inject = refuse  # type: ignore[assignment]
    return probed()


def fail_at_the_last_step(options: dict[str, Any]) -> Any:
    """The address of the VIP is refused."""

    def refuse(*_arguments: Any) -> None:
        raise KernelError("refused")

    tunnels.add_address = refuse  # type: ignore[assignment]
    return serve(options)
