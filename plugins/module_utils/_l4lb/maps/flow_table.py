# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flow table: flows that are remembered."""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Collection, Iterator
from typing import NamedTuple

FLOW_BLOCK_SIZE = 16384
FLOW_BLOCK_FLOWS = 1024
FLOW_BLOCK_SETS = 256
FLOW_KEY_SIZE = 8
FLOW_TAKEN = 0x4000
FLOW_CONFIRMED = 0x8000
FLOW_SECONDS_TO_CONFIRM = 5


def flow_block(fingerprint: int, blocks: int) -> int:
    """In which of the blocks of a flow table a flow is; `blocks` is a power of two."""
    return fingerprint * blocks >> 64


FlowOwner = tuple  # (number of a backend, id of its service)


class RememberedFlow(NamedTuple):
    """A place of a flow table that is taken.

    tick: of the last packet. confirmed: more than a single packet was seen.
    """

    owner: FlowOwner
    fingerprint: int
    tick: int
    confirmed: bool


def flows_of(owners: Collection[FlowOwner], blocks: bytes) -> Iterator[RememberedFlow]:
    """The flows of these owners in some struct flow_block."""
    by_word = {
        int.from_bytes(struct.pack("=2H", number, service | state), sys.byteorder): (owner, state)
        for owner in owners
        for number, service in (owner,)
        for state in (FLOW_TAKEN, FLOW_TAKEN | FLOW_CONFIRMED)
    }
    words = memoryview(blocks).cast("I")
    found = words[3::4].tolist()
    if by_word.keys().isdisjoint(found):
        return
    flows = zip(found, memoryview(blocks).cast("Q")[0::2], words[2::4])
    for word, fingerprint, tick in itertools.compress(flows, map(by_word.__contains__, found)):
        owner, state = by_word[word]
        yield RememberedFlow(owner, fingerprint, tick, bool(state & FLOW_CONFIRMED))


def confirmed_owner(word: int) -> FlowOwner | None:
    """Whose flow it is that has this word at its end (number and service); None if it is none, or
    tentative."""
    number, service = struct.unpack("=2H", word.to_bytes(4, sys.byteorder))
    if not service & FLOW_CONFIRMED:
        return None
    return number, service & ~(FLOW_TAKEN | FLOW_CONFIRMED)
