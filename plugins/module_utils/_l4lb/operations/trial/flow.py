# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A flow, and by what the data plane knows it."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

from ...errors import ConfigError
from ...maps.manifest import Manifest
from ...model.config import Address, Service
from ...model.options import PROTOCOLS
from ...schedulers import hashes
from ...schedulers.jhash import jhash_slot
from ...schedulers.maglev import maglev_slot


@dataclass(frozen=True)
class Flow:
    """What packets of one connection, or one exchange of datagrams, have in common."""

    protocol: str
    source: Address
    source_port: int
    destination: Address
    destination_port: int

    def __post_init__(self) -> None:
        """Raises ConfigError if there can be no such flow."""
        if self.source.version != self.destination.version:
            raise ConfigError(
                "source", str(self.source), f"not of the IP version of {self.destination}"
            )

    def service(self, manifest: Manifest) -> Service | None:
        """The one that it is to; None: there is none."""
        by_key = {service.key: service for service in manifest.config.services}
        ports = (self.destination_port, 0)
        keys = ((self.destination, port, self.protocol) for port in ports)
        return next((by_key[key] for key in keys if key in by_key), None)

    def fingerprint(self, key: int) -> int:
        """By what a flow table knows it: fingerprint() of files/bpf/choose/hash.h."""
        return hashes.fingerprint(
            _words(self.source),
            self._ports(),
            _words(self.destination),
            PROTOCOLS[self.protocol],
            key,
        )

    def slot(self, service: Service, seed: int) -> int:
        """Its slot in the lookup table of a service: slot_of() of files/bpf/choose/service.h."""
        by_source = service.affinity == "source"
        if service.scheduler == "maglev":
            ports = 0 if by_source else self._ports()
            return maglev_slot(hashes.flow_hash(_words(self.source), ports, seed))
        word = 0
        for at in range(0, len(self.source.packed), 4):
            word ^= native(self.source.packed[at : at + 4])
        return jhash_slot(word, 0 if by_source else self._ports())

    def _ports(self) -> int:
        return native(struct.pack("!HH", self.source_port, self.destination_port))


def _words(address: Address) -> list[int]:
    """As the program reads an address: one word of IPv4, two of IPv6."""
    size = 4 if address.version == 4 else 8
    packed = address.packed
    return [native(packed[at : at + size]) for at in range(0, len(packed), size)]


def native(packed: bytes) -> int:
    """A number in the order of this machine's bytes."""
    return int.from_bytes(packed, sys.byteorder)
