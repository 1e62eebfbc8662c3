# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attaching XDP programs."""

from __future__ import annotations

import errno
import struct

from ..errors import KernelError
from ..kernel.bpf import Program
from . import netlink
from .link import Link

_SETLINK = 19
_LINK = struct.Struct("=4xi8x")  # of struct ifinfomsg: index
_IFLA_XDP, _NESTED = 43, 0x8000
_IFLA_XDP_FD, _IFLA_XDP_FLAGS, _IFLA_XDP_EXPECTED_FD = 1, 3, 8
_REPLACE = 1 << 4
_MODE_FLAGS = {"generic": 1 << 1, "native": 1 << 2}


PASSING = "l4lb_pass"
"""The name of a program for nothing but to have an interface take redirects."""


def is_passing(program: Program) -> bool:
    """Whether this is such a program."""
    return program.name == PASSING


def attach(
    link: Link, program_fd: int, mode: str, expected_fd: int | None
) -> tuple[str, str | None]:
    """Attach a program to `link`, in place of the one open as `expected_fd`; None: of none.

    `mode` auto tries native, then generic. Returns the mode it got, and why that is not native, in
    the kernel's words, if native was refused. The kernel compares and exchanges in one step; if
    another program is there, nothing changes.

    Raises KernelError if the driver or the kernel refuses.
    """
    refusal = None
    if mode == "auto":
        try:
            _set_xdp(link, program_fd, "native", expected_fd)
            return "native", None
        except KernelError as e:
            if e.code in (errno.EEXIST, errno.EBUSY, errno.EPERM):
                raise _told(e, link, program_fd, "native") from e
            refusal = str(e)
        mode = "generic"
    try:
        _set_xdp(link, program_fd, mode, expected_fd)
    except KernelError as e:
        raise _told(e, link, program_fd, mode) from e
    return mode, refusal


def detach(link: Link, expected_fd: int) -> None:
    """Remove the program open as `expected_fd` from `link`."""
    mode = link.attached.mode if link.attached else "native"
    try:
        _set_xdp(link, -1, mode, expected_fd)
    except KernelError as e:
        raise _told(e, link, -1, mode) from e


def _set_xdp(link: Link, program_fd: int, mode: str, expected_fd: int | None) -> None:
    """Raises KernelError with the kernel's words."""
    expected = -1 if expected_fd is None else expected_fd
    attributes = (
        netlink.attribute(_IFLA_XDP_FD, struct.pack("=i", program_fd))
        + netlink.attribute(_IFLA_XDP_FLAGS, struct.pack("=I", _MODE_FLAGS[mode] | _REPLACE))
        + netlink.attribute(_IFLA_XDP_EXPECTED_FD, struct.pack("=i", expected))
    )
    body = _LINK.pack(link.index) + netlink.attribute(_IFLA_XDP | _NESTED, attributes)
    netlink.order(_SETLINK, body)


def _told(error: KernelError, link: Link, program_fd: int, mode: str) -> KernelError:
    action = "attach to" if program_fd >= 0 else "detach from"
    told = str(error)
    if error.code == errno.EBUSY:  # a bpf link, which the kernel lets nobody else replace
        told += "; stop the program that holds it"
    return KernelError(f"{action} {link.name} in mode {mode}: {told}", error.code)
