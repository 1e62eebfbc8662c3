# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that see what leaves by an interface: by tcx, from Linux 6.6 on, as long as the process
lives; else as a filter of the qdisc clsact (tc-bpf(8))."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from dataclasses import dataclass

from ..errors import KernelError
from ..kernel.bpf import AttachedLink, Program
from . import netlink

_NEWQDISC, _NEWFILTER, _DELFILTER, _GETFILTER = 36, 44, 45, 46
_TC = struct.Struct("=B3xiIII")  # struct tcmsg: family, index, handle, parent, info
_CLSACT, _HANDLE, _EGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF3
_KIND, _OPTIONS, _NESTED = 1, 2, 0x8000  # TCA_KIND, TCA_OPTIONS, NLA_F_NESTED
_FD, _NAME, _FLAGS, _ID = 6, 7, 8, 11  # TCA_BPF_...
_DIRECT_ACTION = 1
_TCX_EGRESS = 47  # BPF_TCX_EGRESS
_ALL_PROTOCOLS = socket.htons(3)
_PRIORITY, _NUMBER = 0x4C, 0x4C34
"""Of our filter: before most of others, which may end the way of a packet; ours does so to none but
its own."""


@dataclass(frozen=True)
class Filter:
    """A BPF program on an interface; id: of the program."""

    name: str
    priority: int
    id: int


class Attachment:
    """A program on an interface, by its index."""

    def __init__(self, interface: int, program: Program, name: str, tcx: bool = True) -> None:
        """Attach it, in place of one that was attached likewise. Raises KernelError.

        name: of the filter. tcx: where the kernel has it.
        """
        self._interface, self._program = interface, program
        self._link: AttachedLink | None = None
        if tcx:
            with contextlib.suppress(KernelError):
                self._link = AttachedLink.create(program, interface, _TCX_EGRESS)
                return
        _add_filter(interface, program.fd, name)

    @property
    def holds(self) -> bool:
        """Whether nobody has detached it. Raises KernelError."""
        if self._link:
            return self._link.holds
        return any(
            one.id == self._program.id and one.priority == _PRIORITY
            for one in attached(self._interface)
        )

    def detach(self) -> None:
        """Unless somebody else has, or another program took its place. Raises KernelError."""
        if self._link:
            self._link.close()
        elif self.holds:
            remove_filter(self._interface)


def _add_filter(interface: int, program_fd: int, name: str) -> None:
    body = _TC.pack(0, interface, _HANDLE, _CLSACT, 0) + netlink.attribute(_KIND, b"clsact\0")
    try:
        netlink.order(_NEWQDISC, body, netlink.CREATE | netlink.ONLY_IF_NEW)
    except KernelError as e:
        if e.code != errno.EEXIST:  # somebody else's is as good
            raise KernelError(f"add a qdisc clsact to {called(interface)}: {e}", e.code) from e
    options = (
        netlink.attribute(_FD, struct.pack("=I", program_fd))
        + netlink.attribute(_NAME, name.encode() + b"\0")
        + netlink.attribute(_FLAGS, struct.pack("=I", _DIRECT_ACTION))
    )
    body = _ours(interface) + netlink.attribute(_OPTIONS | _NESTED, options)
    try:
        netlink.order(_NEWFILTER, body, netlink.CREATE)
    except KernelError as e:
        raise KernelError(f"add a filter to {called(interface)}: {e}", e.code) from e


def remove_filter(interface: int) -> None:
    """Remove our filter; the qdisc stays, as it may be others' by now. Absent already is fine.

    Raises KernelError.
    """
    try:
        netlink.order(_DELFILTER, _ours(interface))
    except KernelError as e:
        if e.code not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            raise KernelError(f"remove a filter from {called(interface)}: {e}", e.code) from e


def attached(interface: int) -> list[Filter]:
    """All programs of the qdisc. Raises KernelError."""
    request = _TC.pack(0, interface, 0, _EGRESS, 0)
    found = []
    for body in netlink.dumped(_GETFILTER, request):
        _family, _index, _handle, _parent, info = _TC.unpack_from(body)
        attributes = netlink.attributes(body, _TC.size)
        options = netlink.attributes(attributes.get(_OPTIONS, b""))
        if attributes.get(_KIND) == b"bpf\0" and _ID in options:
            name = options.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
            found.append(Filter(name, info >> 16, netlink.number(options[_ID])))
    return found


def _ours(interface: int) -> bytes:
    info = _PRIORITY << 16 | _ALL_PROTOCOLS
    return _TC.pack(0, interface, _NUMBER, _EGRESS, info) + netlink.attribute(_KIND, b"bpf\0")


def called(interface: int) -> str:
    """The name of an interface, in words if it has gone."""
    try:
        return socket.if_indextoname(interface)
    except OSError:
        return f"interface {interface}"
