# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces and the XDP program attached to one, over rtnetlink by way of pyroute2."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from .errors import ConfigError, HostError, KernelError

try:
    from pyroute2 import IPRoute
    from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, nla
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.rtnl import RTM_NEWLINK
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
except ImportError:
    IPRoute = None

_REPLACE = 1 << 4
_MODE_FLAGS = {"generic": 1 << 1, "native": 1 << 2}
_MODES = {1: "native", 2: "generic", 3: "offload", 4: "several modes"}
_RT_SCOPE_LINK = 253


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
    address: IPv4Address | None = None
    attached: Attached | None = None


if IPRoute is not None:

    class _Xdp(ifinfmsg.xdp):
        """IFLA_XDP; pyroute2 before 0.9 has its flags as two big-endian bytes."""

        class xdp_flags(nla):
            fields = [("value", "I")]

    class _LinkMessage(ifinfmsg):
        xdp = _Xdp


def require_pyroute2() -> None:
    """Raises HostError if pyroute2 is missing."""
    if IPRoute is None:
        raise HostError("pyroute2 is not installed; install python3-pyroute2")


def interface_names() -> list[str]:
    """The interfaces of this network namespace."""
    with _route() as ip:
        return [message.get_attr("IFLA_IFNAME") for message in ip.get_links()]


def read_link(name: str) -> Link:
    """The interface called `name`. Raises ConfigError if there is none."""
    with _route() as ip:
        index = (ip.link_lookup(ifname=name) or [None])[0]
        if index is None:
            others = ", ".join(m.get_attr("IFLA_IFNAME") for m in ip.get_links())
            raise ConfigError("interface", name, f"no such interface; this host has {others}")
        message = ip.get_links(index)[0]
        addresses = [
            IPv4Address(address.get_attr("IFA_LOCAL"))
            for address in ip.get_addr(index=index, family=2)
            if address["scope"] < _RT_SCOPE_LINK
        ]
    return Link(
        index=index,
        name=name,
        mac=message.get_attr("IFLA_ADDRESS") or "00:00:00:00:00:00",
        mtu=message.get_attr("IFLA_MTU"),
        address=addresses[0] if addresses else None,
        attached=_attached(message),
    )


def attach(link: Link, program_fd: int, mode: str, expected_fd: int | None) -> str:
    """Attach a program to `link`, in place of the one open as `expected_fd`; None: of none.

    `mode` auto tries native, then generic. Returns the mode it got. The kernel compares and
    exchanges in one step; if another program is there, nothing changes.

    Raises KernelError if the driver or the kernel refuses.
    """
    wanted = ("native", "generic") if mode == "auto" else (mode,)
    for attempt in wanted:
        try:
            _set_xdp(link.index, program_fd, _MODE_FLAGS[attempt] | _REPLACE, expected_fd)
            return attempt
        except NetlinkError as e:
            unable = e.code in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOMEM, errno.ERANGE)
            if attempt != wanted[-1] and unable:
                continue
            raise KernelError(
                f"attach to {link.name} in mode {attempt}: {os.strerror(e.code)}"
            ) from e
    raise AssertionError("unreachable")


def detach(link: Link, expected_fd: int) -> None:
    """Remove the program open as `expected_fd` from `link`."""
    assert link.attached is not None
    try:
        _set_xdp(link.index, -1, _MODE_FLAGS[link.attached.mode] | _REPLACE, expected_fd)
    except NetlinkError as e:
        raise KernelError(f"detach from {link.name}: {os.strerror(e.code)}") from e


def _attached(message: Any) -> Attached | None:
    xdp = message.get_attr("IFLA_XDP")
    program = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp else None
    if not program:
        return None
    mode = xdp.get_attr("IFLA_XDP_ATTACHED")
    names = {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offload"}
    return Attached(program, names.get(mode) or _MODES.get(mode, "several modes"))


def _set_xdp(index: int, program_fd: int, flags: int, expected_fd: int | None) -> None:
    message = _LinkMessage()
    message["index"] = index
    message["attrs"] = [
        (
            "IFLA_XDP",
            {
                "attrs": [
                    ("IFLA_XDP_FD", program_fd),
                    ("IFLA_XDP_FLAGS", flags),
                    ("IFLA_XDP_EXPECTED_FD", -1 if expected_fd is None else expected_fd),
                ]
            },
        )
    ]
    with _route() as ip:
        ip.nlm_request(message, msg_type=RTM_NEWLINK, msg_flags=NLM_F_REQUEST | NLM_F_ACK)


@contextlib.contextmanager
def _route() -> Iterator[Any]:
    require_pyroute2()
    with IPRoute() as ip:
        yield ip
