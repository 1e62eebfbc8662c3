# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of Ansible shows of a module's result without being asked."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display

_display = Display()


def show_change(result: dict[str, Any], diff: bool) -> None:
    """Have it shown what is changed, or would be in check mode. A difference says it already."""
    if result.get("changed") and not diff:
        result["_ansible_verbose_always"] = True


def warn_of_lacks(result: dict[str, Any]) -> None:
    """In check mode, of what a real run would fail for."""
    if "lacks" in result:
        _display.warning(f"a real run would stop here: {result['lacks']}")
