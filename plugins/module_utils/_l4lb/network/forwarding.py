# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel answers the data plane's route lookups."""

from __future__ import annotations

from pathlib import Path

from ..kernel.paths import Paths, told

# Route lookups


def routing_answers(paths: Paths, version: int) -> bool:
    """Whether the kernel answers the data plane's route lookups of this IP version.

    It refuses them for an interface that does not forward. The data plane asks from the loopback
    interface, where forwarding lets nothing through that was not let through before.
    """
    return _forwarding(paths, version, "lo") != "0"


def let_routing_answer(paths: Paths, version: int, answer: bool = True) -> None:
    """Make the kernel answer the data plane's route lookups of this IP version, or refuse them."""
    path = _forwarding_file(paths, version, "lo")
    with told(f"write {path}"):
        path.write_text("1\n" if answer else "0\n", encoding="ascii")


def routing_was_let(paths: Paths, version: int) -> bool:
    """Whether loopback forwards and others do not, as after `let_routing_answer`."""
    return (_forwarding(paths, version, "lo"), _forwarding(paths, version, "all")) == ("1", "0")


def restore_routing(paths: Paths, version: int) -> None:
    """Undo `let_routing_answer`: loopback forwards again as all others do."""
    if routing_was_let(paths, version):
        let_routing_answer(paths, version, answer=False)


def _forwarding(paths: Paths, version: int, interface: str) -> str | None:
    """None: the host does not have this IP version."""
    path = _forwarding_file(paths, version, interface)
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def _forwarding_file(paths: Paths, version: int, interface: str) -> Path:
    return paths.sysctl / f"net/ipv{version}/conf/{interface}/forwarding"
