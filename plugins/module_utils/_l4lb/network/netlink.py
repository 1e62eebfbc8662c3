# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netlink: requests to the kernel and what it answers (RFC 3549; linux/netlink.h)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ..errors import KernelError
from ..printable import printable

REQUEST, _ALL, _INTERRUPTED = 0x1, 0x300, 0x10  # NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR
_ACK, _CAPPED, _ACK_TLVS = 0x4, 0x100, 0x200  # NLM_F_ACK; of answers NLM_F_CAPPED, NLM_F_ACK_TLVS
ERROR, _DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_WORDS = 1  # NLMSGERR_ATTR_MSG
_TRIES = 10
_MESSAGE = struct.Struct("=IHHI4x")  # struct nlmsghdr: length, type, flags, sequence number
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type

PATIENCE = 60.0
"""Seconds; the kernel answers while it is asked, so this is for what it does not understand."""


class Message(NamedTuple):
    """What the kernel answers; number: of the request."""

    type: int
    flags: int
    number: int
    body: bytes


@contextlib.contextmanager
def connect(protocol: int = socket.NETLINK_ROUTE) -> Iterator[socket.socket]:
    """A socket. Raises KernelError also for what goes wrong while it is in use."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as route:
            route.bind((0, 0))
            route.settimeout(PATIENCE)
            yield route
    except OSError as e:
        why = e.strerror or f"no answer for {PATIENCE:g} s"
        raise KernelError(f"ask for the host's network: {why}", e.errno or 0) from e


_ADD_MEMBERSHIP = 1
_SO_ATTACH_FILTER = 26
_FILTER = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, if false, value
_LOAD_HALF, _IF_EQUAL, _RETURN = 0x28, 0x15, 0x06  # of classic BPF


def subscribe(groups: Collection[int], but_for: int) -> socket.socket:
    """A socket, which does not block, to which the kernel sends what changes (RTNLGRP_...), but for
    messages of one type. Raises KernelError."""
    try:
        route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        route.setblocking(False)
        _leave_out(route, but_for)
        route.bind((0, 0))
        for group in groups:
            route.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except OSError as e:
        raise KernelError(f"hear what changes: {e.strerror}", e.errno or 0) from e
    return route


def _leave_out(route: socket.socket, kind: int) -> None:
    """Have the kernel not even wake this process for messages of this type."""
    program = ctypes.create_string_buffer(
        _FILTER.pack(_LOAD_HALF, 0, 0, 4)  # nlmsg_type, as if it were in network byte order
        + _FILTER.pack(_IF_EQUAL, 0, 1, socket.htons(kind))
        + _FILTER.pack(_RETURN, 0, 0, 0)
        + _FILTER.pack(_RETURN, 0, 0, 0xFFFFFFFF)
    )
    count, address = ctypes.sizeof(program) // _FILTER.size, ctypes.addressof(program)
    route.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", count, address))


def message(kind: int, flags: int, serial: int, body: bytes) -> bytes:
    """A request."""
    return _MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, serial) + body


def received(route: socket.socket) -> Iterator[Message]:
    """What comes next: one message or several."""
    data = route.recv(1 << 16)
    at = 0
    while at < len(data):
        length, kind, flags, serial = _MESSAGE.unpack_from(data, at)
        yield Message(kind, flags, serial, data[at + _MESSAGE.size : at + length])
        at += (length + 3) & ~3


def dump(kind: int, family: int, head: struct.Struct, request: bytes = b"") -> list[bytes]:
    """The bodies of all that the kernel has of a kind; they begin with `head`.

    Raises KernelError.
    """
    return dumped(kind, bytes([family]).ljust(head.size, b"\0") + request)


def dumped(
    kind: int, request: bytes, protocol: int = socket.NETLINK_ROUTE, strict: bool = False
) -> list[bytes]:
    """The same, with all of the request behind its header.

    strict: the kernel itself leaves out what does not fit the request, as the routes of other
        tables, of which there may be a million (NETLINK_GET_STRICT_CHK).
    """
    with connect(protocol) as kernel:
        if strict:
            kernel.setsockopt(_SOL_NETLINK, _STRICT, 1)
        for serial in range(_TRIES):
            kernel.send(message(kind, REQUEST | _ALL, serial, request))
            messages: list[Message] = []
            while not messages or messages[-1].type not in (_DONE, ERROR):
                messages += received(kernel)
            if messages[-1].type == ERROR:
                code = -struct.unpack_from("=i", messages[-1].body)[0]
                raise KernelError(f"ask for the host's network: {os.strerror(code)}", code)
            if not any(one.flags & _INTERRUPTED for one in messages):
                return [one.body for one in messages[:-1]]
    # each time it changed meanwhile, so that something may be missing
    raise KernelError(
        f"ask for the host's network: it changed {_TRIES} times while it was read; run again"
    )


CREATE, ONLY_IF_NEW = 0x400, 0x200  # NLM_F_CREATE, NLM_F_EXCL


def order(kind: int, body: bytes, flags: int = 0, protocol: int = socket.NETLINK_ROUTE) -> None:
    """Have the kernel change something. Raises KernelError with its own words, as far as it has
    any.

    flags: more of them than each order has.
    """
    with connect(protocol) as kernel:
        for option in (_CAP_ACK, _EXT_ACK):
            kernel.setsockopt(_SOL_NETLINK, option, 1)
        kernel.send(message(kind, REQUEST | _ACK | flags, 0, body))
        (answer,) = received(kernel)
    code = -struct.unpack_from("=i", answer.body)[0]
    if code:
        words = reason(answer)
        raise KernelError(os.strerror(code) + (f" ({words})" if words else ""), code)


def reason(answer: Message) -> str:
    """What the kernel says in words of an error; empty if it says nothing."""
    if not answer.flags & _ACK_TLVS:
        return ""
    # behind the code comes the request, or only its header
    size = _MESSAGE.size if answer.flags & _CAPPED else _MESSAGE.unpack_from(answer.body, 4)[0]
    words = attributes(answer.body, 4 + (size + 3 & ~3)).get(_WORDS, b"")
    return printable(words.rstrip(b"\0").decode(errors="replace"))


def attribute(kind: int, value: bytes) -> bytes:
    """One of a request."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def each_attribute(body: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Type, without flags, and value of each."""
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        yield kind & 0x3FFF, body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def attributes(body: bytes, at: int = 0) -> dict[int, bytes]:
    """Type -> value, without flags in the type."""
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind & 0x3FFF] = body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def number(value: bytes | None) -> int:
    """Of an attribute in the host's order; 0 if there is none."""
    return int.from_bytes(value or b"", sys.byteorder)
