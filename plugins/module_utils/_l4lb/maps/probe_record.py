# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of probes: what the packets of checks get on their way through the tunnel, and what
became of them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from .backend_record import BACKEND_SIZE

_PROBE = struct.Struct(f"={BACKEND_SIZE}sI4x")
_COUNT = struct.Struct("=QII")
PROBE_SIZE, COUNT_SIZE = _PROBE.size, _COUNT.size
NO_PROBE = bytes(PROBE_SIZE)
REFUSALS = (
    "it was sent",
    "the tunnel has no record of the backend",
    "the packet is too short",
    "this host has no route to the backend",
    "net.ipv4.conf.lo.forwarding, or its IPv6 sister, is 0",
    "the backend is behind a router, which l2 cannot pass",
    "no room for the outer header",
)
"""As enum refusal of files/bpf/probe.c."""


class Count(NamedTuple):
    """What became of the packets of a record, as struct probe_count; refusal: the last one's."""

    sent: int
    refused: int
    refusal: int


def pack_probe(backend: bytes, interface: int) -> bytes:
    """As struct probe.

    backend: a struct backend. interface: the index of the balanced one.
    """
    return _PROBE.pack(backend, interface)


def unpack_count(element: bytes) -> Count:
    """From struct probe_count."""
    return Count(*_COUNT.unpack(element))
