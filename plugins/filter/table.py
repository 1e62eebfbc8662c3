# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter plugin: statistics as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.table import table as render


def table(balancers: Mapping[str, Any]) -> list[str]:
    """The lines of the table."""
    try:
        return render(balancers)
    except (AttributeError, KeyError, TypeError) as e:
        raise AnsibleFilterError(f"not statistics as l4lb_stats reports them: {e!r}") from e


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"table": table}
