# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packets are captured, and how many at the most."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import ConfigError
from ...model.config import Address, Config, Network
from ...printable import listed
from .packet import FATES, REASONS, Captured

LEAST_SNAPLEN, MOST_SNAPLEN = 96, 9216
"""Bytes: room for all headers that say whose a packet is; a jumbo frame."""
_MOST = 10**9


@dataclass(frozen=True)
class Wanted:
    """Which packets, and how much of them; None and empty: all.

    service, backend: by name, by address. client: the prefix that packets come from.
    fates: of FATES; default: of what is to a service. reason: of REASONS.
    sample: one in so many is looked at.
    snaplen: bytes that are kept of a frame.
    """

    service: str | None = None
    backend: Address | None = None
    client: Network | None = None
    fates: tuple[str, ...] = ()
    reason: str | None = None
    sample: int = 1
    snaplen: int = 256

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be meant."""
        limits = {
            "sample": (1, _MOST, "one packet in how many is looked at"),
            "snaplen": (LEAST_SNAPLEN, MOST_SNAPLEN, "the bytes to keep of a frame"),
        }
        _check(self, limits)
        if self.reason and self.fates and not {*self.fates} & {*self._reasons_fates()}:
            raise ConfigError(
                "--reason",
                self.reason,
                f"no reason of what is {' or '.join(self.fates)}; leave --verdict out",
            )
        if self.backend and "sent" not in self.told:
            raise ConfigError(
                "--backend",
                str(self.backend),
                "only what is sent has one; leave out --verdict and --reason, or --backend",
            )

    def _reasons_fates(self) -> tuple[str, ...]:
        number = REASONS.index(self.reason or "")
        return ("answered",) if number >= REASONS.index("echo_reply") else ("dropped",)

    @property
    def told(self) -> tuple[str, ...]:
        """What the kernel tells of."""
        if self.reason:
            return self._reasons_fates()
        if self.backend and not self.fates:
            return ("sent",)
        return self.fates or tuple(fate for fate in FATES if fate != "passed")

    def check(self, config: Config) -> None:
        """Raises ConfigError if there is no such service or backend."""
        services = [one for one in config.services if self.service in (None, one.name)]
        if self.service is not None and not services:
            names = [one.name for one in config.services]
            there = f"but {listed(names)}" if names else "as there is none"
            raise ConfigError("--service", self.service, f"there is no such service, {there}")
        backends = [one.address for service in services for one in service.backends]
        if self.backend and self.backend not in backends:
            there = f"but {listed(dict.fromkeys(backends))}" if backends else "as there is none"
            raise ConfigError("--backend", str(self.backend), f"there is no such backend, {there}")

    def takes(self, captured: Captured) -> bool:
        """Whether a packet that the kernel tells of is wanted: what it does not know itself."""
        if self.service is not None and self.service not in captured.services:
            return False
        return self.backend is None or self.backend == captured.backend

    def flags(self) -> Iterator[str]:
        """-D... of files/bpf/capture.c."""
        yield f"-DSNAPLEN={self.snaplen}"
        yield f"-DSAMPLE={self.sample}"
        yield f"-DFATES={sum(1 << FATES.index(fate) for fate in self.told)}"
        if self.reason:
            yield f"-DREASON={REASONS.index(self.reason)}"
        if self.client:
            yield f"-DCLIENT={self.client.version}"
            parts = {"CLIENT": self.client.network_address, "MASK": self.client.netmask}
            for name, address in parts.items():
                words = struct.unpack(f"={len(address.packed) // 4}I", address.packed)
                yield from (f"-D{name}_{at}={word:#x}u" for at, word in enumerate(words))


@dataclass(frozen=True)
class Bounds:
    """When it ends. count: packets. seconds: since it began. size: bytes of a file."""

    count: int = 1000
    seconds: int = 60
    size: int = 100_000_000

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        limits = {
            "count": (1, _MOST, "how many packets are enough"),
            "seconds": (1, _MOST, "how long it lasts at the most"),
            "size": (4096, 10**15, "the bytes of a file that are enough"),
        }
        _check(self, limits)


def _check(given: object, limits: dict[str, tuple[int, int, str]]) -> None:
    for name, (least, most, what) in limits.items():
        value = getattr(given, name)
        if not least <= value <= most:
            raise ConfigError(f"--{name}", value, f"give {what}, {least} to {most}")
