# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections by pyroute2, which is not imported before something changes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

from ..errors import HostError, KernelError


def pyroute2_is_installed() -> bool:
    """Whether this Python would find pyroute2; it is not imported before something changes."""
    spec = importlib.util.find_spec("pyroute2")
    return spec is not None and spec.origin is not None  # an empty folder has none


def require_pyroute2() -> None:
    """Raises HostError if pyroute2 is missing."""
    if not pyroute2_is_installed():
        raise HostError("pyroute2 is not installed; install python3-pyroute2")


@contextlib.contextmanager
def open_route() -> Iterator[Any]:
    """A pyroute2 connection. Raises HostError if pyroute2 is missing, and KernelError for what the
    kernel refuses and nobody expects."""
    require_pyroute2()
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as ip:
        with contextlib.suppress(AttributeError):  # 0.9's nlm_request wants it, 0.7 has no status
            ip.status.setdefault("nlm_generator", False)
        try:
            yield ip
        except NetlinkError as e:
            raise KernelError(f"rtnetlink: {os.strerror(e.code)}", e.code) from e
