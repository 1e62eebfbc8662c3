# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How frames leave by the host's interfaces, in the map of a data path."""

from __future__ import annotations

from collections.abc import Mapping

from ..kernel.maps import HashTable
from ..maps.egress_record import Egress, EgressKey, pack_egress, unpack_egress
from .program import DataPath


def read(data_path: DataPath) -> dict[EgressKey, Egress]:
    """What was settled; nothing if the program is of a version that has no such map."""
    table = _table(data_path)
    found = table.items() if table else {}
    return dict(unpack_egress(*item) for item in found.items())


def write(data_path: DataPath, wanted: Mapping[EgressKey, Egress]) -> None:
    """Add and change these. Packets see them at once: what is true of the host's interfaces holds
    for any state."""
    table, there = _table(data_path), read(data_path)
    for key, egress in wanted.items():
        if table and there.get(key) != egress:
            table.update(*pack_egress(key, egress))


def replace(data_path: DataPath, wanted: Mapping[EgressKey, Egress]) -> None:
    """Have these, and no others."""
    write(data_path, wanted)
    table = _table(data_path)
    for key, egress in read(data_path).items():
        if table and key not in wanted:
            table.delete(pack_egress(key, egress)[0])


def _table(data_path: DataPath) -> HashTable | None:
    found = data_path.maps.get("egresses")
    return found if isinstance(found, HashTable) else None
