# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What user space knows of the maps and health changes: beside the manifest, in a map of its own,
since it is written often and a manifest may be of megabytes.

A service table that has one names it, so that verdicts switch together with what they bring about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from ..errors import L4lbError
from ..model.standing import Verdict, Verdicts
from .manifest import LookupTable, Manifest


@dataclass(frozen=True)
class Health:
    """Verdicts, and what is in use because of them.

    verdicts: of services that have unhealthy backends. tables, second: as of a manifest.
    """

    verdicts: Mapping[str, Verdicts]
    tables: Mapping[str, LookupTable]
    second: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> Health | None:
        """What a manifest says of it; None if all is as if there were no checks."""
        return cls.by(manifest) if manifest.verdicts else None

    @classmethod
    def by(cls, manifest: Manifest) -> Health:
        """What a manifest says of it, if its own map says something else."""
        return cls(manifest.verdicts, manifest.tables, manifest.second)

    def onto(self, manifest: Manifest) -> Manifest:
        """The manifest as it is with this."""
        return replace(manifest, verdicts=self.verdicts, tables=self.tables, second=self.second)

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(
            {
                "verdicts": {
                    name: {
                        str(address): [one.answered, one.reason, one.since, one.share]
                        for address, one in found.items()
                    }
                    for name, found in self.verdicts.items()
                },
                "tables": {
                    name: [table.index, table.digest, table.checksum]
                    for name, table in self.tables.items()
                },
                "second": sorted(self.second),
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def load(cls, text: bytes) -> Health:
        """Read what `dump` wrote. Raises L4lbError if it is something else."""
        try:
            raw: dict[str, Any] = json.loads(text.rstrip(b"\0"))
            return cls(
                {
                    name: {ip_address(key): Verdict(*one) for key, one in found.items()}
                    for name, found in raw["verdicts"].items()
                },
                {name: LookupTable(*table) for name, table in raw["tables"].items()},
                frozenset(raw["second"]),
            )
        except (ValueError, KeyError, TypeError) as e:
            raise L4lbError(f"the health in the maps is not readable: {e}") from e
