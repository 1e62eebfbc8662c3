# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces and the XDP program attached to one."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import socket
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import rtnetlink, stack
from .errors import ConfigError, HostError, KernelError
from .image import Receivers
from .model import Address
from .rtnetlink import AddressEntry

_REPLACE = 1 << 4
_MODE_FLAGS = {"generic": 1 << 1, "native": 1 << 2}
_MODES = {1: "native", 2: "generic", 3: "offload"}
_RT_SCOPE_LINK = 253
_IFA_F_UNFIT = 0x01 | 0x08 | 0x20 | 0x40  # temporary or secondary, dadfailed, deprecated, tentative
_MAC_LENGTH = 6


@dataclass(frozen=True)
class Attached:
    """The XDP program on an interface."""

    program_id: int
    mode: str


@dataclass(frozen=True)
class Link:
    """A network interface."""

    index: int
    name: str
    mac: str
    mtu: int = 1500
    sources: tuple[Address, ...] = ()
    """Its addresses that are fit to send from, of each family the best first."""
    attached: Attached | None = None
    receivers: Receivers = field(default_factory=Receivers)

    def source(self, version: int, taken: Container[Address]) -> Address | None:
        """The best address of an IP version to send from that is not `taken`."""
        for address in self.sources:
            if address.version == version and address not in taken:
                return address
        return None


def pyroute2_is_installed() -> bool:
    """Whether this Python would find pyroute2; it is not imported before something changes."""
    spec = importlib.util.find_spec("pyroute2")
    return spec is not None and spec.origin is not None  # an empty folder has none


def require_pyroute2() -> None:
    """Raises HostError if pyroute2 is missing."""
    if not pyroute2_is_installed():
        raise HostError("pyroute2 is not installed; install python3-pyroute2")


def interface_name(index: int) -> str:
    """The name of an interface. Raises HostError if it has gone."""
    try:
        return socket.if_indextoname(index)
    except OSError as e:
        raise HostError(f"there is no interface {index} any more") from e


def read_link(name: str) -> Link:
    """The interface called `name`. Raises ConfigError if there is none."""
    entries = {entry.name: entry for entry in rtnetlink.links()}
    entry = entries.get(name)
    if entry is None:
        others = ", ".join(entries)
        raise ConfigError("interface", name, f"no such interface; this host has {others}")
    own = [one for one in rtnetlink.addresses() if one.index == entry.index]
    mac = entry.mac if len(entry.mac) == _MAC_LENGTH else bytes(_MAC_LENGTH)
    mode = _MODES.get(entry.xdp_mode, "several modes")
    return Link(
        index=entry.index,
        name=name,
        mac=mac.hex(":"),
        mtu=entry.mtu,
        sources=tuple(sources(own)),
        attached=Attached(entry.xdp_program, mode) if entry.xdp_program else None,
        receivers=stack.receivers(entry, entries.values()),
    )


def carriers(program_id: int) -> list[str]:
    """The interfaces that a program is attached to."""
    return [entry.name for entry in rtnetlink.links() if entry.xdp_program == program_id]


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


def sources(entries: Sequence[AddressEntry]) -> list[Address]:
    """The addresses of an interface that are fit to send from, of each family the best first.

    That is one of a subnet. Such as have no prefix come and go: they are those of services, which
    keepalived and the like put on the interface for a while. Among their like the oldest is best,
    so that none which comes later changes anything.
    """
    fit = [e for e in entries if e.scope < _RT_SCOPE_LINK and not e.flags & _IFA_F_UNFIT]
    oldest_first = [
        *(entry for entry in fit if entry.address.version == 4),
        *(entry for entry in reversed(fit) if entry.address.version == 6),
    ]
    oldest_first.sort(key=lambda entry: entry.subnet.prefixlen == entry.subnet.max_prefixlen)
    return [entry.address for entry in oldest_first]


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
