# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the maps hold what they should."""

from __future__ import annotations

from collections.abc import Mapping

from ..kernel.maps import Array
from ..maps.image import Image
from ..maps.manifest import checksum
from .program import DataPath


def differences(data_path: DataPath, expected: Image) -> list[str]:
    """Where the maps do not hold what they should: names of services, "services" for the service
    table, "backends" for their records."""
    found = []
    numbers = (map_.id if map_ else 0 for map_ in (data_path.manifest_map, data_path.health_map))
    if data_path.service_table() != expected.service_table(*numbers):
        found.append("services")
    for name, table in expected.manifest.tables.items():
        if checksum(data_path.lookup_tables.lookup(table.index) or b"") != table.checksum:
            found.append(name)
    if unlike(data_path.backends, expected.records):
        found.append("backends")
    return found


def unlike(backends: Array, records: Mapping[int, bytes]) -> list[int]:
    """The numbers both of whose records are not as they shall be: these, or empty."""
    expected = backends.filled({number: record * 2 for number, record in records.items()})
    return [*backends.differing(backends.read(), expected)]
