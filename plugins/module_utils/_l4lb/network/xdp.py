# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attaching XDP programs."""

from __future__ import annotations

import errno
import os

from ..errors import KernelError
from ..kernel.bpf import Program
from .link import Link
from .pyroute import open_route, require_pyroute2

_REPLACE = 1 << 4
_MODE_FLAGS = {"generic": 1 << 1, "native": 1 << 2}


PASSING = "l4lb_pass"
"""The name of a program for nothing but to have an interface take redirects."""


def is_passing(program: Program) -> bool:
    """Whether this is such a program."""
    return program.name == PASSING


def attach(link: Link, program_fd: int, mode: str, expected_fd: int | None) -> str:
    """Attach a program to `link`, in place of the one open as `expected_fd`; None: of none.

    `mode` auto tries native, then generic. Returns the mode it got. The kernel compares and
    exchanges in one step; if another program is there, nothing changes.

    Raises KernelError if the driver or the kernel refuses.
    """
    if mode == "auto":
        try:
            return _set_xdp(link, program_fd, "native", expected_fd)
        except KernelError as e:
            if e.code in (errno.EEXIST, errno.EBUSY, errno.EPERM):
                raise
        mode = "generic"
    return _set_xdp(link, program_fd, mode, expected_fd)


def detach(link: Link, expected_fd: int) -> None:
    """Remove the program open as `expected_fd` from `link`."""
    _set_xdp(link, -1, link.attached.mode if link.attached else "native", expected_fd)


def _set_xdp(link: Link, program_fd: int, mode: str, expected_fd: int | None) -> str:
    require_pyroute2()
    from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.rtnl import RTM_NEWLINK
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    # pyroute2 before 0.9 has them as two big-endian bytes, which the kernel refuses
    ifinfmsg.xdp.xdp_flags.fields = [("value", "I")]
    message = ifinfmsg()
    message["index"] = link.index
    attributes = [
        ("IFLA_XDP_FD", program_fd),
        ("IFLA_XDP_FLAGS", _MODE_FLAGS[mode] | _REPLACE),
        ("IFLA_XDP_EXPECTED_FD", -1 if expected_fd is None else expected_fd),
    ]
    message["attrs"] = [("IFLA_XDP", {"attrs": attributes})]
    with open_route() as ip:
        try:
            ip.nlm_request(message, msg_type=RTM_NEWLINK, msg_flags=NLM_F_REQUEST | NLM_F_ACK)
        except NetlinkError as e:
            action = "attach to" if program_fd >= 0 else "detach from"
            told = os.strerror(e.code)
            if e.code == errno.EBUSY:  # a bpf link, which the kernel lets nobody else replace
                told += "; stop the program that holds it"
            raise KernelError(f"{action} {link.name} in mode {mode}: {told}", e.code) from e
    return mode
